//! One key's limits, shared by all calls under it.

use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use super::cost::Costs;
use super::fast_path::{FastPermit, StateLock};
use super::queue::{QueueEntry, QueuedCall, WaitQueue};
use super::quota_state::QuotaState;
use super::state::{AboveCapacity, Charges, LimiterState, Rejection};
use super::{Quota, RateLimitStatus};
use crate::error::{BoxError, CostAboveQuota, RateLimited, RateLimitedReason};
use crate::event::{
    Event, GateClosed, LimitAboveQuota, LimitRejected, LimitWaiting, PermitRefunded,
};
use crate::key::Keyed;
use crate::sharded::{ShardRef, ShardedArc};
use crate::time::{self, Instant, TimeOrigin};
use crate::verdict::{Class, Verdict};

/// The pause after a provider says that the quota is exhausted, but not until when.
const EXHAUSTED: Duration = Duration::from_secs(60);

/// What is left of the quotas, and the queue of waiting calls.
#[derive(Debug)]
pub(super) struct Limiter {
    pub(super) name: Arc<str>,
    start: TimeOrigin,
    pub(super) state_lock: StateLock<LimiterState>,
    pub(super) queue: WaitQueue,
    pub(super) config: Arc<Config>,
}

/// A call that doesn't pass by the fast path.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) limiter: ShardRef<Limiter>,
    pub(super) costs: Costs,
    pub(super) at: Instant,
}

/// How long a waiting call waits at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitLimit {
    since: Instant,
    pub(super) until: Instant,
    reason: RateLimitedReason,
}

impl Limiter {
    pub(super) fn new(name: Arc<str>, config: Arc<Config>) -> Self {
        let state_lock = StateLock::new(LimiterState::new(&config.quotas.lock()));
        Self {
            name,
            start: TimeOrigin::new(time::now()),
            state_lock,
            queue: WaitQueue::new(),
            config,
        }
    }

    /// Nanoseconds from the start.
    #[inline]
    pub(super) fn nanos(&self, instant: Instant) -> u64 {
        self.start.nanos(instant)
    }

    /// Nanoseconds from the start to now. Code that gives units back calls this while it holds the
    /// state, so that the time is no earlier than any state.
    pub(super) fn now(&self) -> u64 {
        self.nanos(time::now())
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.start.instant(nanos)
    }

    /// Lets a call that is being sent pass by the fast path, if that can be.
    #[inline]
    pub(super) fn pass_fast(&self, at: Instant, costs: &Costs) -> Option<FastPermit> {
        self.state_lock.fast_path.as_ref()?.pass(self.nanos(at), costs.units[0])
    }

    fn wait_limit(&self, now: Instant, deadline: Option<Instant>) -> WaitLimit {
        let until = time::after(now, self.config.settings.max_wait);
        match deadline {
            Some(deadline) if deadline < until => {
                WaitLimit { since: now, until: deadline, reason: RateLimitedReason::Deadline }
            }
            _ => WaitLimit { since: now, until, reason: RateLimitedReason::MaxWait },
        }
    }

    /// The next try of the call at the head of the queue to take what it costs. If it can't, the
    /// error is when to try again or, if that is past its wait limit, the rejection.
    pub(super) fn retake(
        &self,
        costs: Costs,
        wait_limit: WaitLimit,
    ) -> Result<(), Result<Instant, BoxError>> {
        let now = time::now();
        let mut state = self.state_lock.state();
        // A quota may have been lowered meanwhile.
        if let Some(above_capacity) = state.above_capacity(&costs) {
            drop(state);
            return Err(Err(self.reject_above(above_capacity).into()));
        }
        let rejection = match state.take(self.nanos(now), &costs) {
            Ok(()) => {
                state.queue.last_wait = Some(now.saturating_duration_since(wait_limit.since));
                return Ok(());
            }
            Err(rejection) => rejection,
        };
        drop(state);
        let at = self.instant(rejection.at);
        if at > wait_limit.until {
            return Err(Err(self.reject(wait_limit.reason, now, rejection).into()));
        }
        Err(Ok(at))
    }

    /// Turns away a call in the queue that has no wait limit left. It may stand behind a head that has
    /// some, if the server's pause came after both had joined.
    pub(super) fn give_up(&self, costs: Costs, wait_limit: WaitLimit) -> BoxError {
        let now = time::now();
        let predicted = self.state_lock.state().predict_queued(self.nanos(now), &costs);
        self.reject(wait_limit.reason, now, predicted).into()
    }

    fn reject(&self, reason: RateLimitedReason, now: Instant, rejection: Rejection) -> RateLimited {
        let retry_after = self.instant(rejection.at).saturating_duration_since(now);
        self.emit(|| LimitRejected::new(&self.name, retry_after));
        let rejected = RateLimited::new(Arc::clone(&self.name), reason, retry_after);
        match rejection.limit {
            Some(limit) => rejected.with_limit(limit),
            None => rejected,
        }
    }

    fn reject_above(&self, above_capacity: AboveCapacity) -> CostAboveQuota {
        let AboveCapacity { cost, capacity, limit } = above_capacity;
        self.emit(|| LimitAboveQuota::new(&self.name, cost, capacity));
        CostAboveQuota::new(cost, capacity, limit)
    }

    /// Does what an answer asks for.
    pub(super) fn apply_verdict(&self, verdict: &Verdict) {
        let pause = match verdict.class() {
            Class::Throttled => verdict.hint().retry_after,
            // A circuit breaker's latch repeats what the server said before, and ends when it is
            // reset.
            _ if verdict.is_unsent() => None,
            Class::QuotaExhausted => Some(verdict.hint().retry_after.unwrap_or(EXHAUSTED)),
            _ => None,
        };
        let pause = pause.unwrap_or_default().min(self.config.settings.max_pause);
        if !pause.is_zero() {
            self.close_gate(pause);
        }
    }

    fn close_gate(&self, pause: Duration) {
        let opens = self.now().saturating_add(time::nanos(pause));
        let ramp = time::nanos(self.config.ramp(pause));
        // By `change`, so that the head of the queue finds out now if its wait has become too long.
        if self.change(|state| state.gate.close(opens, ramp)) {
            self.emit(|| GateClosed::new(&self.name, pause));
        }
    }

    /// Lets calls pass again, whatever the server asked for or observed.
    pub(super) fn resume(&self) {
        self.change(|state| {
            state.gate.open();
            state.quotas.iter_mut().for_each(QuotaState::clear_learned);
        });
    }

    /// Puts another quota in this entry from now on.
    pub(super) fn set_quota(&self, at: usize, quota: &Quota) {
        let now = self.now();
        self.change(|state| state.set_quota(now, at, quota));
    }

    /// Tells that units came back.
    pub(super) fn refunded(&self, costs: &Costs) {
        self.emit(|| PermitRefunded::new(&self.name, costs.units[0]));
    }

    /// Changes the state, and makes the head of the queue look again. A call that joins later finds
    /// the change at its first look.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut LimiterState) -> R) -> R {
        let mut state = self.state_lock.state();
        let result = change(&mut state);
        let has_waiters = state.queue.calls > 0;
        drop(state);
        if has_waiters {
            self.queue.notify_head();
        }
        result
    }

    pub(super) fn emit<'a, E: Into<Event<'a>>>(&self, event: impl FnOnce() -> E) {
        self.config.settings.observers.emit(event);
    }

    pub(super) fn status(&self) -> RateLimitStatus {
        let now = self.now();
        let state = self.state_lock.state();
        RateLimitStatus {
            name: Arc::clone(&self.name),
            remaining: state.quotas[0].remaining(now),
            limits: state.quotas.iter().map(|quota_state| quota_state.status(now)).collect(),
            waiting: state.queue.calls,
            last_wait: state.queue.last_wait,
            paused_until: state.gate.closed_until(now).map(|until| self.instant(until)),
        }
    }
}

impl Arrival {
    /// Lets the call pass at once, as it is being sent.
    pub(super) fn pass(&self) -> Option<Charges> {
        let now = self.limiter.nanos(self.at);
        self.limiter.state_lock.state().pass(now, &self.costs)
    }

    /// Lets the call wait in the queue, or turns it away.
    pub(super) fn line_up(self, deadline: Option<Instant>) -> Result<QueuedCall, BoxError> {
        let wait_limit = self.limiter.wait_limit(self.at, deadline);
        self.wait(wait_limit)
    }

    /// The same for a call with this wait limit. One that would wait too long is turned away here,
    /// and not after the wait.
    pub(super) fn wait(self, wait_limit: WaitLimit) -> Result<QueuedCall, BoxError> {
        let Self { limiter, costs, at } = self;
        let now = limiter.nanos(at);
        let mut state = limiter.state_lock.state();
        if let Some(above_capacity) = state.above_capacity(&costs) {
            drop(state);
            return Err(limiter.reject_above(above_capacity).into());
        }
        let predicted = state.predict(now, &costs);
        let reason = match predicted.at > limiter.nanos(wait_limit.until) {
            true => Some(wait_limit.reason),
            false if state.queue.calls >= limiter.config.settings.max_waiting => {
                Some(RateLimitedReason::QueueFull)
            }
            false => None,
        };
        if let Some(reason) = reason {
            drop(state);
            return Err(limiter.reject(reason, at, predicted).into());
        }
        let ahead = state.queue.calls;
        state.join(&costs);
        drop(state);
        let wait = limiter.instant(predicted.at).saturating_duration_since(at);
        let entry = QueueEntry::joined(limiter.clone(), costs);
        limiter.emit(|| LimitWaiting::new(&limiter.name, wait, ahead));
        Ok(QueuedCall::new(entry, wait_limit))
    }
}

impl Keyed for ShardedArc<Limiter> {
    fn is_referenced(limiter: &Arc<Self>) -> bool {
        Arc::strong_count(limiter) > 1 || ShardedArc::is_referenced(limiter)
    }

    fn retires(&self, now: Instant) -> bool {
        self.state_lock.state().retire(self.nanos(now))
    }
}
