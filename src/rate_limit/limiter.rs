//! One key's limits, shared by all calls under it.

use std::sync::Arc;
use std::time::Duration;

use super::Quota;
use super::RateLimitStatus;
use super::account::Account;
use super::books::{Above, Books, Receipts, Refusal};
use super::cost::Costs;
use super::desk::Desk;
use super::lane::Passage;
use super::queue::{Line, Place, Ticket};
use super::rules::Rules;
use crate::error::BoxError;
use crate::error::{CostAboveQuota, RateLimited, RateLimitedReason};
use crate::event::{
    Event, GateClosed, LimitAboveQuota, LimitRejected, LimitWaiting, PermitRefunded,
};
use crate::key::Keyed;
use crate::sharded::{ShardRef, ShardedArc};
use crate::time::{self, Instant, TimeOrigin};
use crate::verdict::{Class, Verdict};

/// The pause after a provider says that the quota is exhausted, but not until when.
const EXHAUSTED: Duration = Duration::from_secs(60);

/// What is left of the quotas, and the line of waiting calls.
#[derive(Debug)]
pub(super) struct Limiter {
    pub(super) name: Arc<str>,
    start: TimeOrigin,
    pub(super) desk: Desk<Books>,
    pub(super) line: Line,
    pub(super) rules: Arc<Rules>,
}

/// A call that doesn't pass by the lane.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) limiter: ShardRef<Limiter>,
    pub(super) costs: Costs,
    pub(super) at: Instant,
}

/// How long a waiting call waits at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    since: Instant,
    pub(super) until: Instant,
    reason: RateLimitedReason,
}

impl Limiter {
    pub(super) fn new(name: Arc<str>, rules: Arc<Rules>) -> Self {
        let desk = Desk::new(Books::new(&rules.quotas.lock()));
        Self { name, start: TimeOrigin::new(time::now()), desk, line: Line::new(), rules }
    }

    /// Nanoseconds from the start.
    #[inline]
    pub(super) fn nanos(&self, instant: Instant) -> u64 {
        self.start.nanos(instant)
    }

    /// Nanoseconds from the start to now. Code that gives units back calls this while it holds the
    /// books, so that the time is no earlier than any state.
    pub(super) fn now(&self) -> u64 {
        self.nanos(time::now())
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.start.instant(nanos)
    }

    /// Lets a call that is being sent pass by the lane, if that can be.
    #[inline]
    pub(super) fn pass_by_lane(&self, at: Instant, costs: &Costs) -> Option<Passage> {
        self.desk.lane.as_ref()?.pass(self.nanos(at), costs.units[0])
    }

    fn patience(&self, now: Instant, deadline: Option<Instant>) -> Patience {
        let until = time::after(now, self.rules.settings.max_wait);
        match deadline {
            Some(deadline) if deadline < until => {
                Patience { since: now, until: deadline, reason: RateLimitedReason::Deadline }
            }
            _ => Patience { since: now, until, reason: RateLimitedReason::MaxWait },
        }
    }

    /// The next try of the call at the head of the line to take what it costs. If it can't, the
    /// error is when to try again or, if that is past its patience, the rejection.
    pub(super) fn retake(
        &self,
        costs: Costs,
        patience: Patience,
    ) -> Result<(), Result<Instant, BoxError>> {
        let now = time::now();
        let mut books = self.desk.books();
        // A quota may have been lowered meanwhile.
        if let Some(above) = books.above(&costs) {
            drop(books);
            return Err(Err(self.reject_above(above).into()));
        }
        let refusal = match books.take(self.nanos(now), &costs) {
            Ok(()) => {
                books.line.last_wait = Some(now.saturating_duration_since(patience.since));
                return Ok(());
            }
            Err(refusal) => refusal,
        };
        drop(books);
        let at = self.instant(refusal.at);
        if at > patience.until {
            return Err(Err(self.reject(patience.reason, now, refusal).into()));
        }
        Err(Ok(at))
    }

    /// Turns away a call in the line that has no patience left. It may stand behind a head that has
    /// some, if the server's pause came after both had joined.
    pub(super) fn give_up(&self, costs: Costs, patience: Patience) -> BoxError {
        let now = time::now();
        let foreseen = self.desk.books().foresee_waiting(self.nanos(now), &costs);
        self.reject(patience.reason, now, foreseen).into()
    }

    fn reject(&self, reason: RateLimitedReason, now: Instant, refusal: Refusal) -> RateLimited {
        let retry_after = self.instant(refusal.at).saturating_duration_since(now);
        self.emit(|| LimitRejected::new(&self.name, retry_after));
        let rejected = RateLimited::new(Arc::clone(&self.name), reason, retry_after);
        match refusal.limit {
            Some(limit) => rejected.with_limit(limit),
            None => rejected,
        }
    }

    fn reject_above(&self, above: Above) -> CostAboveQuota {
        let Above { cost, capacity, limit } = above;
        self.emit(|| LimitAboveQuota::new(&self.name, cost, capacity));
        CostAboveQuota::new(cost, capacity, limit)
    }

    /// Does what an answer asks for.
    pub(super) fn obey(&self, verdict: &Verdict) {
        let pause = match verdict.class() {
            Class::Throttled => verdict.hint().retry_after,
            // A circuit breaker's latch repeats what the server said before, and ends when it is
            // reset.
            _ if verdict.is_unsent() => None,
            Class::QuotaExhausted => Some(verdict.hint().retry_after.unwrap_or(EXHAUSTED)),
            _ => None,
        };
        let pause = pause.unwrap_or_default().min(self.rules.settings.max_pause);
        if !pause.is_zero() {
            self.close_gate(pause);
        }
    }

    fn close_gate(&self, pause: Duration) {
        let opens = self.now().saturating_add(time::nanos(pause));
        let ramp = time::nanos(self.rules.ramp(pause));
        // By `change`, so that the head of the line finds out now if its wait has become too long.
        if self.change(|books| books.gate.close(opens, ramp)) {
            self.emit(|| GateClosed::new(&self.name, pause));
        }
    }

    /// Lets calls pass again, whatever the server asked for or told.
    pub(super) fn resume(&self) {
        self.change(|books| {
            books.gate.open();
            books.accounts.iter_mut().for_each(Account::unlearn);
        });
    }

    /// Puts another quota in this place from now on.
    pub(super) fn set_quota(&self, at: usize, quota: &Quota) {
        let now = self.now();
        self.change(|books| books.set_quota(now, at, quota));
    }

    /// Tells that units came back.
    pub(super) fn refunded(&self, costs: &Costs) {
        self.emit(|| PermitRefunded::new(&self.name, costs.units[0]));
    }

    /// Changes the books, and makes the head of the line look again. A call that joins later finds
    /// the change at its first look.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Books) -> R) -> R {
        let mut books = self.desk.books();
        let result = change(&mut books);
        let somebody_waits = books.line.calls > 0;
        drop(books);
        if somebody_waits {
            self.line.stir();
        }
        result
    }

    pub(super) fn emit<'a, E: Into<Event<'a>>>(&self, event: impl FnOnce() -> E) {
        self.rules.settings.observers.emit(event);
    }

    pub(super) fn status(&self) -> RateLimitStatus {
        let now = self.now();
        let books = self.desk.books();
        RateLimitStatus {
            name: Arc::clone(&self.name),
            remaining: books.accounts[0].remaining(now),
            limits: books.accounts.iter().map(|account| account.status(now)).collect(),
            waiting: books.line.calls,
            last_wait: books.line.last_wait,
            paused_until: books.gate.closed_until(now).map(|until| self.instant(until)),
        }
    }
}

impl Arrival {
    /// Lets the call pass at once, as it is being sent.
    pub(super) fn pass(&self) -> Option<Receipts> {
        let now = self.limiter.nanos(self.at);
        self.limiter.desk.books().pass(now, &self.costs)
    }

    /// Lets the call wait in the line, or turns it away.
    pub(super) fn line_up(self, deadline: Option<Instant>) -> Result<Ticket, BoxError> {
        let patience = self.limiter.patience(self.at, deadline);
        self.wait(patience)
    }

    /// The same for a call with this patience. One that would wait too long is turned away here,
    /// and not after the wait.
    pub(super) fn wait(self, patience: Patience) -> Result<Ticket, BoxError> {
        let Self { limiter, costs, at } = self;
        let now = limiter.nanos(at);
        let mut books = limiter.desk.books();
        if let Some(above) = books.above(&costs) {
            drop(books);
            return Err(limiter.reject_above(above).into());
        }
        let foreseen = books.foresee(now, &costs);
        let reason = match foreseen.at > limiter.nanos(patience.until) {
            true => Some(patience.reason),
            false if books.line.calls >= limiter.rules.settings.max_waiting => {
                Some(RateLimitedReason::QueueFull)
            }
            false => None,
        };
        if let Some(reason) = reason {
            drop(books);
            return Err(limiter.reject(reason, at, foreseen).into());
        }
        let ahead = books.line.calls;
        books.join(&costs);
        drop(books);
        let wait = limiter.instant(foreseen.at).saturating_duration_since(at);
        let place = Place::joined(limiter.clone(), costs);
        limiter.emit(|| LimitWaiting::new(&limiter.name, wait, ahead));
        Ok(Ticket::new(place, patience))
    }
}

impl Keyed for ShardedArc<Limiter> {
    fn is_referenced(limiter: &Arc<Self>) -> bool {
        Arc::strong_count(limiter) > 1 || ShardedArc::is_referenced(limiter)
    }

    fn retires(&self, now: Instant) -> bool {
        self.desk.books().retire(self.nanos(now))
    }
}
