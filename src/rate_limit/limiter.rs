use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Quota;
use super::config::Config;
use super::cost::Costs;
use super::fast_path::{FastCharge, LendingMutex};
use super::quota_state::QuotaState;
use super::state::{Charges, LimiterState, Rejection};
use crate::error::{BoxError, CostAboveQuota, RateLimited, RateLimitedReason};
use crate::event::{Event, GateClosed, LimitAboveQuota, LimitRejected, PermitRefunded};
use crate::key::Keyed;
use crate::sharded::ShardedArc;
use crate::time::{self, Instant, TimeOrigin};
use crate::verdict::{Class, Verdict};

/// The pause after an exhausted quota without a hint.
const EXHAUSTED_PAUSE: Duration = Duration::from_secs(60);

/// The limiter of one key, shared by all calls under it.
#[derive(Debug)]
pub(super) struct Limiter {
    pub(super) name: Arc<str>,
    start: TimeOrigin,
    pub(super) state: LendingMutex<LimiterState>,
    pub(super) queue: WaitQueue,
    pub(super) config: Arc<Config>,
}

/// The notifications of the waiting calls, which are served first in, first out. The limiter's state
/// counts the calls.
#[derive(Debug)]
pub(super) struct WaitQueue {
    /// Notifies the next call that it is the head. A stored notification means that the queue has no
    /// head.
    pub(super) head: Arc<Notify>,
    /// Wakes the head, as more or fewer units may be available than was predicted.
    pub(super) changed: Arc<Notify>,
}

/// How long a call may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitLimit {
    since: Instant,
    pub(super) until: Instant,
    reason: RateLimitedReason,
}

impl WaitQueue {
    fn new() -> Self {
        let head = Notify::new();
        head.notify_one();
        Self { head: Arc::new(head), changed: Arc::new(Notify::new()) }
    }
}

impl Limiter {
    pub(super) fn new(name: Arc<str>, config: Arc<Config>) -> Self {
        let state = LendingMutex::new(LimiterState::new(&config.quotas.lock()));
        let start = TimeOrigin::new(time::now());
        Self { name, start, state, queue: WaitQueue::new(), config }
    }

    /// Returns the time in nanoseconds since the start.
    #[inline]
    fn nanos(&self, at: Instant) -> u64 {
        self.start.nanos(at)
    }

    /// Returns the present time in nanoseconds since the start.
    pub(super) fn now(&self) -> u64 {
        self.nanos(time::now())
    }

    pub(super) fn instant(&self, nanos: u64) -> Instant {
        self.start.instant(nanos)
    }

    /// Takes and sends a call's units by the fast path, if it admits them.
    #[inline]
    pub(super) fn try_send_fast(&self, at: Instant, costs: &Costs) -> Option<FastCharge> {
        self.state.fast_path.as_ref()?.try_send(self.nanos(at), costs.units[0])
    }

    /// Takes and sends a call's units, if the state admits them.
    pub(super) fn try_send(&self, at: Instant, costs: &Costs) -> Option<Charges> {
        self.state.lock().try_send(self.nanos(at), costs)
    }

    /// Returns the limit of a wait that starts now: the layer's `max_wait` or the call's deadline.
    pub(super) fn wait_limit(&self, now: Instant, deadline: Option<Instant>) -> WaitLimit {
        let max_wait = time::after(now, self.config.settings.max_wait);
        match deadline {
            Some(until) if until < max_wait => {
                WaitLimit { since: now, until, reason: RateLimitedReason::Deadline }
            }
            _ => WaitLimit { since: now, until: max_wait, reason: RateLimitedReason::MaxWait },
        }
    }

    /// Adds a call to the queue. Returns the estimated wait and the number of calls ahead.
    ///
    /// # Errors
    ///
    /// If the request costs too much, would wait too long, or the queue is full.
    pub(super) fn join_queue(
        &self,
        costs: &Costs,
        at: Instant,
        wait_limit: WaitLimit,
    ) -> Result<(Duration, usize), BoxError> {
        let mut state = self.state.lock();
        if let Some(error) = self.above_capacity(&state, costs) {
            drop(state);
            return Err(self.reject_cost(error));
        }
        let predicted = state.predict(self.nanos(at), costs);
        let ahead = state.waiting;
        let reason = if predicted.at > self.nanos(wait_limit.until) {
            wait_limit.reason
        } else if ahead >= self.config.settings.max_waiting {
            RateLimitedReason::QueueFull
        } else {
            state.join_queue(costs);
            let wait = self.instant(predicted.at).saturating_duration_since(at);
            return Ok((wait, ahead));
        };
        drop(state);
        Err(self.reject(reason, at, predicted))
    }

    /// Takes the units of the call at the head of the queue. Returns `None` if they are taken, or
    /// when to try again.
    ///
    /// # Errors
    ///
    /// If the request costs too much after a change of the quota, or would exceed its wait limit.
    pub(super) fn take(
        &self,
        costs: &Costs,
        wait_limit: WaitLimit,
    ) -> Result<Option<Instant>, BoxError> {
        let now = time::now();
        let mut state = self.state.lock();
        if let Some(error) = self.above_capacity(&state, costs) {
            drop(state);
            return Err(self.reject_cost(error));
        }
        let Err(rejection) = state.take(self.nanos(now), costs) else {
            state.last_wait = Some(now.saturating_duration_since(wait_limit.since));
            return Ok(None);
        };
        drop(state);
        let at = self.instant(rejection.at);
        if at > wait_limit.until {
            return Err(self.reject(wait_limit.reason, now, rejection));
        }
        Ok(Some(at))
    }

    /// Rejects a call in the queue whose wait limit has expired. It may be behind a head that may
    /// wait longer, if the server requested a pause after both had joined.
    pub(super) fn reject_expired(&self, costs: &Costs, wait_limit: WaitLimit) -> BoxError {
        let now = time::now();
        let predicted = self.state.lock().predict_queued(self.nanos(now), costs);
        self.reject(wait_limit.reason, now, predicted)
    }

    fn reject(&self, reason: RateLimitedReason, now: Instant, rejection: Rejection) -> BoxError {
        let retry_after = self.instant(rejection.at).saturating_duration_since(now);
        self.emit(|| LimitRejected::new(&self.name, retry_after));
        let error = RateLimited::new(Arc::clone(&self.name), reason, retry_after);
        match rejection.quota {
            Some(quota) => error.with_limit(Arc::clone(&self.config.names[quota])).into(),
            None => error.into(),
        }
    }

    /// Returns the error of a request that costs more than a quota ever passes at once.
    fn above_capacity(&self, state: &LimiterState, costs: &Costs) -> Option<CostAboveQuota> {
        let mut quotas = state.quotas.iter().zip(costs.units).zip(&self.config.names);
        quotas.find_map(|((quota, cost), name)| {
            let capacity = quota.capacity();
            (cost > capacity).then(|| CostAboveQuota::new(cost, capacity, Arc::clone(name)))
        })
    }

    fn reject_cost(&self, error: CostAboveQuota) -> BoxError {
        self.emit(|| LimitAboveQuota::new(&self.name, error.cost(), error.capacity()));
        error.into()
    }

    /// Closes the gate if a verdict requests a pause.
    pub(super) fn apply_verdict(&self, verdict: &Verdict) {
        let pause = match verdict.class() {
            Class::Throttled => verdict.hint().retry_after,
            // The latch of a circuit breaker below repeats an earlier response, and ends when it is
            // reset.
            _ if verdict.is_unsent() => None,
            Class::QuotaExhausted => Some(verdict.hint().retry_after.unwrap_or(EXHAUSTED_PAUSE)),
            _ => None,
        };
        let pause = pause.unwrap_or_default().min(self.config.settings.max_pause);
        if pause.is_zero() {
            return;
        }
        let opens_at = self.now().saturating_add(time::nanos(pause));
        let ramp = time::nanos(self.config.ramp(pause));
        // By `change`, so that the head of the queue learns now if its wait has become too long.
        if self.change(|state| state.gate.close(opens_at, ramp)) {
            self.emit(|| GateClosed::new(&self.name, pause));
        }
    }

    /// Opens the gate, and discards the learned limits.
    pub(super) fn resume(&self) {
        self.change(|state| {
            state.gate.open();
            state.quotas.iter_mut().for_each(QuotaState::reset_learned);
        });
    }

    /// Replaces one quota from now on.
    pub(super) fn set_quota(&self, index: usize, quota: &Quota) {
        let now = self.now();
        self.change(|state| state.set_quota(now, index, quota));
    }

    /// Emits the event that a call's units were refunded.
    pub(super) fn emit_refunded(&self, units: u32) {
        self.emit(|| PermitRefunded::new(&self.name, units));
    }

    /// Changes the state, and wakes the head of the queue. A call that joins later sees the change
    /// when it becomes the head.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut LimiterState) -> R) -> R {
        let mut state = self.state.lock();
        let result = change(&mut state);
        let has_waiters = state.waiting > 0;
        drop(state);
        if has_waiters {
            self.queue.changed.notify_one();
        }
        result
    }

    pub(super) fn emit<'a, E: Into<Event<'a>>>(&self, event: impl FnOnce() -> E) {
        self.config.settings.observers.emit(event);
    }
}

impl Keyed for ShardedArc<Limiter> {
    fn is_referenced(limiter: &Arc<Self>) -> bool {
        Arc::strong_count(limiter) > 1 || ShardedArc::is_referenced(limiter)
    }

    fn retires(&self, now: Instant) -> bool {
        self.state.lock().retire(self.nanos(now))
    }
}
