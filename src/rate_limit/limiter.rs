//! One limit, shared by all calls under one key.

use std::sync::Arc;
use std::time::Duration;

use super::meter::{Meter, Receipt};
use super::queue::{Line, Place};
use super::{CostAboveQuota, Quota, RateLimitEvent, RateLimitEventKind};
use super::{RateLimitStatus, RateLimited, RateLimitedReason};
use crate::classify::{Class, Verdict};
use crate::error::BoxError;
use crate::event::{Event, Listener};
use crate::key::Keyed;
use crate::sync::{AtomicU64, Ordering};
use crate::time::{self, Instant};

/// What all limiters of one layer go by.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) max_wait: Duration,
    pub(super) max_waiting: usize,
    pub(super) max_pause: Duration,
    pub(super) listener: Listener,
}

/// How long nobody passes when a provider says that the quota is exhausted,
/// and not until when.
const EXHAUSTED: Duration = Duration::from_secs(60);

/// One limit: what is left of the quota, the gate that the server closes, and
/// the line of those who wait.
#[derive(Debug)]
pub(super) struct Limiter {
    name: Arc<str>,
    meter: Meter,
    start: Instant,
    /// Until when nobody passes, in nanoseconds from `start`. It only moves later.
    gate: AtomicU64,
    pub(super) line: Line,
    rules: Rules,
}

/// What a call that wants to pass gets.
pub(super) enum Entry {
    Pass(Permit),
    /// A place in the line, and until when it is worth keeping.
    Wait(Place, Patience),
    Reject(BoxError),
}

/// How long a waiting call waits at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) until: Instant,
    reason: RateLimitedReason,
}

impl Limiter {
    pub(super) fn new(name: Arc<str>, quota: Quota, rules: Rules) -> Self {
        Self {
            name,
            meter: Meter::new(quota),
            start: time::now(),
            gate: AtomicU64::new(0),
            line: Line::new(),
            rules,
        }
    }

    /// Lets a call pass, wait or go. That it would wait too long is found here,
    /// on arrival, and not after the wait.
    pub(super) fn enter(self: &Arc<Self>, cost: u32, deadline: Option<Instant>) -> Entry {
        let capacity = self.meter.capacity();
        if cost > capacity {
            self.tell(|| RateLimitEventKind::AboveQuota { cost, capacity });
            return Entry::Reject(CostAboveQuota::new(cost, capacity).into());
        }
        // What costs nothing takes nothing from those who wait.
        if (cost == 0 || self.line.is_empty())
            && let Ok(permit) = self.take(cost)
        {
            return Entry::Pass(permit);
        }
        let now = time::now();
        let patience = self.patience(now, deadline);
        let at = self.available_at(now, self.line.units(), cost);
        if at > patience.until {
            return Entry::Reject(self.reject(patience.reason, now, at).into());
        }
        let Some(place) = Place::take(self, cost, self.rules.max_waiting) else {
            return Entry::Reject(self.reject(RateLimitedReason::QueueFull, now, at).into());
        };
        let wait = at.saturating_duration_since(now);
        self.tell(|| RateLimitEventKind::Waiting { wait, ahead: self.line.len() - 1 });
        Entry::Wait(place, patience)
    }

    fn available_at(&self, now: Instant, ahead: u64, cost: u32) -> Instant {
        self.meter.available_at(now.max(self.gate_until()), ahead, cost)
    }

    fn patience(&self, now: Instant, deadline: Option<Instant>) -> Patience {
        let until = time::after(now, self.rules.max_wait);
        match deadline {
            Some(deadline) if deadline < until => {
                Patience { until: deadline, reason: RateLimitedReason::Deadline }
            }
            _ => Patience { until, reason: RateLimitedReason::MaxWait },
        }
    }

    /// Takes from the quota, or tells when to try again.
    pub(super) fn take(self: &Arc<Self>, cost: u32) -> Result<Permit, Instant> {
        let gate = self.gate.load(Ordering::Acquire);
        if gate != 0 {
            let until = time::after(self.start, Duration::from_nanos(gate));
            if until > time::now() {
                return Err(until);
            }
        }
        if cost > 0 {
            self.meter.take(cost)?;
        }
        Ok(Permit { limiter: Arc::clone(self), cost, receipt: None })
    }

    /// The next try of the call at the head of the line: the permit, when to
    /// try again, or that it isn't worth waiting for.
    pub(super) fn retake(
        self: &Arc<Self>,
        cost: u32,
        patience: Patience,
    ) -> Result<Permit, Result<Instant, RateLimited>> {
        self.take(cost).map_err(|at| {
            if at > patience.until {
                Err(self.reject(patience.reason, time::now(), at))
            } else {
                Ok(at)
            }
        })
    }

    /// Turns away a call in the line that has no more patience. It may be one
    /// behind a head that has: the server's pause came after both.
    pub(super) fn give_up(&self, cost: u32, patience: Patience) -> RateLimited {
        let now = time::now();
        let ahead = self.line.units().saturating_sub(cost.into());
        self.reject(patience.reason, now, self.available_at(now, ahead, cost))
    }

    fn reject(&self, reason: RateLimitedReason, now: Instant, at: Instant) -> RateLimited {
        let retry_after = at.saturating_duration_since(now);
        self.tell(|| RateLimitEventKind::Rejected { retry_after });
        RateLimited::new(Arc::clone(&self.name), reason, retry_after)
    }

    /// Does what an answer asks for.
    pub(super) fn learn(&self, verdict: &Verdict) {
        let pause = match verdict.class() {
            Class::Throttled => verdict.hint().retry_after,
            // A circuit breaker's latch is no news, and ends when it is reset.
            _ if verdict.never_left() => None,
            Class::QuotaExhausted => Some(verdict.hint().retry_after.unwrap_or(EXHAUSTED)),
            _ => None,
        };
        let pause = pause.unwrap_or_default().min(self.rules.max_pause);
        if !pause.is_zero() {
            self.close_gate(pause);
        }
    }

    fn close_gate(&self, pause: Duration) {
        let until = time::after(time::now(), pause).saturating_duration_since(self.start);
        let until = time::nanos(until);
        if self.gate.fetch_max(until, Ordering::AcqRel) < until {
            // Those who wait find out now whether it is still worth it.
            self.line.stir();
            self.tell(|| RateLimitEventKind::GateClosed { pause });
        }
    }

    /// Lets calls pass again, whatever the server asked for.
    pub(super) fn open_gate(&self) {
        self.gate.store(0, Ordering::Release);
        self.line.stir();
    }

    fn gate_until(&self) -> Instant {
        time::after(self.start, Duration::from_nanos(self.gate.load(Ordering::Acquire)))
    }

    /// Tells that units came back.
    fn refunded(&self, cost: u32) {
        self.line.stir();
        self.tell(|| RateLimitEventKind::Refunded { cost });
    }

    fn tell(&self, kind: impl FnOnce() -> RateLimitEventKind) {
        self.rules
            .listener
            .tell(|| Event::RateLimit(RateLimitEvent { limiter: &self.name, kind: kind() }));
    }

    pub(super) fn status(&self) -> RateLimitStatus {
        let gate = self.gate_until();
        RateLimitStatus {
            name: Arc::clone(&self.name),
            remaining: self.meter.remaining(),
            waiting: self.line.len(),
            paused_until: (gate > time::now()).then_some(gate),
        }
    }
}

impl Keyed for Limiter {
    fn is_idle(&self, now: Instant) -> bool {
        self.line.is_empty()
            && self.gate_until() <= now
            && self.meter.remaining() == self.meter.capacity()
    }
}

/// Units taken for one call. Dropped before it was sent, they are given back.
#[derive(Debug)]
pub(super) struct Permit {
    limiter: Arc<Limiter>,
    cost: u32,
    /// Of the units, once they were sent.
    receipt: Option<Receipt>,
}

impl Permit {
    /// The call is being sent: from here on only its answer can tell that it never left.
    pub(super) fn sent(&mut self) {
        if self.cost > 0 && self.receipt.is_none() {
            self.receipt = Some(self.limiter.meter.send(self.cost));
        }
    }

    /// Takes in how the call ended.
    pub(super) fn settle(self, verdict: &Verdict) {
        self.limiter.learn(verdict);
        if let Some(receipt) = self.receipt
            && verdict.never_left()
        {
            self.limiter.meter.give_back(self.cost, receipt);
            self.limiter.refunded(self.cost);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.cost > 0 && self.receipt.is_none() {
            self.limiter.meter.put_back(self.cost);
            self.limiter.refunded(self.cost);
        }
    }
}
