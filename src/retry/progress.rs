//! The progress of one call: its attempts, their limits, and what the budget paid for them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_service::Service;

use super::attempt::Attempt;
use super::backoff::Backoff;
use super::budget::Budget;
use super::config::Config;
use super::decision::{AttemptFacts, is_rejected_locally};
use crate::error::BoxError;
use crate::event::{Decision, RetryDecided};
use crate::replay::Replay;
use crate::scope::{self, CallScope, Within};
use crate::time::{self, Instant};
use crate::verdict::{Class, Verdict};

/// The progress of one call.
pub(super) struct CallProgress<Res> {
    scope: CallScope,
    max_attempts: u32,
    idempotent: bool,
    /// Whether the attempt in flight started with the whole deadline that the layer gives to a call.
    has_full_time: bool,
    /// The time at which the attempt in flight times out. `None` without a timeout, and before the
    /// service is called.
    times_out_at: Option<Instant>,
    /// Boxed: most calls succeed at once and have none.
    previous: Option<Box<PreviousResult<Res>>>,
}

impl<Res> CallProgress<Res> {
    /// Begins a call: reads the request's overrides and adds the layer's headers.
    pub(super) fn begin<Req, C, R>(config: &Config<C, R>, request: &mut Req) -> Self
    where
        R: Replay<Req>,
    {
        if let Some(budget) = &config.budget {
            budget.deposit();
        }
        let overrides = config.replay.overrides(request);
        let deadline = overrides.deadline.or(config.deadline).and_then(deadline_after);
        let max_attempts = overrides.max_attempts.unwrap_or(config.policy.max_attempts);
        let has_key =
            config.attempt_headers.any() && config.write_headers(request, max_attempts > 1);
        Self {
            scope: CallScope::begin(CallScope::offered(), deadline).with_retry(),
            max_attempts,
            idempotent: has_key || config.replay.is_idempotent(request),
            has_full_time: overrides.deadline.is_none(),
            times_out_at: None,
            previous: None,
        }
    }

    /// Returns whether a second attempt can follow the first.
    pub(super) fn may_retry(&self) -> bool {
        self.max_attempts > 1
    }

    /// Returns the number of the current attempt; the first is 1.
    pub(super) fn attempt(&self) -> u32 {
        self.scope.attempt()
    }

    /// Returns the number of attempts made, without those that an open circuit rejected locally.
    pub(super) fn attempts_made(&self) -> u32 {
        let rejected = self.previous.as_ref().map_or(0, |previous| previous.rejected_locally);
        self.attempt().saturating_sub(rejected)
    }

    /// Returns whether no attempt can follow the next one. Where calls wait for circuits, or a failover
    /// below has other regions, the next attempt may be rejected locally, and then it isn't the last.
    pub(super) fn is_next_last(&self) -> bool {
        let may_be_rejected = self.scope.deadline().is_some() || self.scope.tried().len() > 0;
        !may_be_rejected && self.attempts_made().saturating_add(1) >= self.max_attempts
    }

    /// Enters the call's scope for the first attempt, whose service is ready.
    pub(super) fn start_first_attempt(&mut self, timeout: Option<Duration>) -> Within<'_> {
        self.times_out_at = timeout.and_then(deadline_after);
        self.scope.calling()
    }

    /// Begins the next attempt, for which the inner service must get ready.
    pub(super) fn start_next_attempt(&mut self) {
        self.scope = self.scope.next_attempt();
        self.times_out_at = None;
    }

    /// Polls the attempt, within the call's scope.
    pub(super) fn poll<S, Req>(
        &mut self,
        attempt: Pin<&mut Attempt<S, Req>>,
        timeout: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, BoxError>>
    where
        S: Service<Req>,
        S::Error: Into<BoxError>,
    {
        let Self { scope, times_out_at, has_full_time, previous, .. } = self;
        scope.poll(|| {
            if !attempt.was_called() && is_past_deadline() {
                // Polled too late, as on a machine that was suspended. `poll_limits` ends the call.
                return Poll::Pending;
            }
            let call = |service: &mut S, request| {
                // The timeout starts here, as tower's does. If it included readiness, a queue below
                // would turn into timeouts, and those into retries.
                *times_out_at = timeout.and_then(deadline_after);
                *has_full_time = false;
                if let Some(withdrawal) = previous.as_mut().and_then(|it| it.withdrawal.as_mut()) {
                    withdrawal.spent = true;
                }
                scope::call_later(true, || service.call(request))
            };
            attempt.poll(cx, call).map_err(Into::into)
        })
    }

    /// Returns the time at which the attempt or the call ends.
    pub(super) fn next_limit(&self) -> Option<Instant> {
        self.times_out_at.into_iter().chain(self.scope.deadline()).min()
    }

    /// Drops an attempt that reached this limit. Returns the timeout of the attempt if that was the
    /// limit, or `None` if it was the deadline of the call.
    pub(super) fn end_at<S, Req, C, R>(
        &mut self,
        limit: Instant,
        attempt: Pin<&mut Attempt<S, Req>>,
        config: &Config<C, R>,
    ) -> Option<Duration>
    where
        S: Service<Req>,
    {
        let before_deadline = self.scope.deadline().is_none_or(|deadline| limit < deadline);
        let timeout = config.attempt_timeout.filter(|_| before_deadline);
        // A breaker below then counts a timeout of the upstream. If the request's own deadline or
        // earlier attempts left this attempt little time, it counts like one that the caller dropped.
        if timeout.is_some() || self.has_full_time && !config.has_attempt_timeout() {
            self.scope.expire(|| attempt.end());
        } else {
            self.scope.poll(|| attempt.end());
        }
        timeout
    }

    /// Returns whether the attempt in flight was called and has a timeout.
    pub(super) fn has_timeout(&self) -> bool {
        self.times_out_at.is_some()
    }

    /// Decides whether another attempt is made, and after what wait. Holds what the budget paid for
    /// it.
    pub(super) fn decide<C, R>(
        &mut self,
        config: &Config<C, R>,
        verdict: &Verdict,
        replayable: bool,
        now: Instant,
    ) -> Decision {
        self.previous.get_or_insert_default().record(verdict);
        let attempts_made = self.attempts_made();
        let Self { scope, previous, .. } = self;
        let PreviousResult { last_wait, unpaid, withdrawal, result, .. } =
            &mut **previous.get_or_insert_default();
        let facts = AttemptFacts {
            attempts_made,
            max_attempts: self.max_attempts,
            idempotent: self.idempotent,
            replayable,
            other_region: scope.goes_elsewhere(),
            has_previous_result: result.is_some(),
            has_unpaid_attempt: unpaid.is_some(),
            now,
            deadline: scope.deadline(),
        };
        let failed = || {
            if let Some(budget) = &config.budget {
                budget.failed(verdict);
            }
        };
        let backoff = |backoff: &Backoff| {
            let retry = scope.attempt() - 1;
            let wait = config.random.draw(|random| backoff.wait(retry, *last_wait, random));
            *last_wait = Some(wait);
            wait
        };
        let withdraw = || {
            let Some(budget) = &config.budget else { return true };
            *withdrawal = Withdrawal::from(budget, &unpaid.unwrap_or(*verdict));
            unpaid.take_if(|_| withdrawal.is_some());
            withdrawal.is_some()
        };
        config.policy.decide(verdict, facts, failed, backoff, withdraw)
    }

    /// Keeps the result of a sent attempt while another one follows.
    pub(super) fn keep_result(&mut self, result: Result<Res, BoxError>, verdict: &Verdict) {
        if !is_rejected_locally(verdict) {
            self.previous.get_or_insert_default().result = Some(result);
        }
    }

    /// Drops the previous response. An error is kept, since it holds no resources.
    pub(super) fn drop_previous_response(&mut self) {
        if let Some(previous) = &mut self.previous {
            previous.result.take_if(|result| result.is_ok());
        }
    }

    /// Returns the caller's result when no attempt follows: this one, or the previous one if this
    /// attempt wasn't sent.
    pub(super) fn final_result(
        &mut self,
        result: Result<Res, BoxError>,
        sent: bool,
    ) -> Result<Res, BoxError> {
        let previous = self.previous.as_mut().filter(|_| !sent);
        previous.and_then(|previous| previous.result.take()).unwrap_or(result)
    }

    /// Releases what the budget paid for an attempt that was decided on, unless it was sent.
    pub(super) fn cancel_retry(&mut self) {
        if let Some(previous) = &mut self.previous {
            previous.withdrawal = None;
        }
    }

    /// Emits the decision about a failed attempt.
    pub(super) fn emit<C, R>(&self, config: &Config<C, R>, verdict: Verdict, decision: Decision) {
        if decision != Decision::Return {
            let attempt = self.attempt();
            config.observers.emit(|| RetryDecided::new(&config.name, attempt, verdict, decision));
        }
    }
}

/// Returns whether the deadline of the current call has passed.
fn is_past_deadline() -> bool {
    let deadline = CallScope::current().and_then(|scope| scope.deadline());
    deadline.is_some_and(|deadline| deadline <= time::now())
}

/// Returns the end of something that starts now. `Duration::MAX` is no limit.
fn deadline_after(limit: Duration) -> Option<Instant> {
    (limit < Duration::MAX).then(|| time::after(time::now(), limit))
}

/// The result of the previous attempt, and what is known of all failed ones.
struct PreviousResult<Res> {
    /// The number of attempts that an open circuit rejected locally.
    rejected_locally: u32,
    last_wait: Option<Duration>,
    /// The verdict on the last attempt that was sent, until the budget pays for a retry.
    unpaid: Option<Verdict>,
    /// What the budget paid for the attempt that is in flight or comes next.
    withdrawal: Option<Withdrawal>,
    /// The result of the last attempt that wasn't rejected locally.
    result: Option<Result<Res, BoxError>>,
}

impl<Res> PreviousResult<Res> {
    /// Records the verdict on an attempt. An attempt whose service failed to get ready costs as much
    /// as any other; what was paid for a locally rejected attempt is kept for the next one.
    fn record(&mut self, verdict: &Verdict) {
        if verdict.class() == Class::CircuitOpen {
            self.rejected_locally = self.rejected_locally.saturating_add(1);
        }
        if is_rejected_locally(verdict) {
            if let Some(withdrawal) = &mut self.withdrawal {
                withdrawal.spent = false;
            }
        } else {
            self.unpaid = Some(*verdict);
            if let Some(mut withdrawal) = self.withdrawal.take() {
                withdrawal.spent = true;
            }
        }
    }
}

impl<Res> Default for PreviousResult<Res> {
    fn default() -> Self {
        Self { rejected_locally: 0, last_wait: None, unpaid: None, withdrawal: None, result: None }
    }
}

/// What the budget paid for an attempt. Released on drop unless spent.
struct Withdrawal {
    budget: Arc<dyn Budget>,
    verdict: Verdict,
    spent: bool,
}

impl Withdrawal {
    /// Withdraws the cost of a retry after this verdict, if the budget allows.
    fn from(budget: &Arc<dyn Budget>, verdict: &Verdict) -> Option<Self> {
        let withdrawal = || Self { budget: Arc::clone(budget), verdict: *verdict, spent: false };
        budget.withdraw(verdict).then(withdrawal)
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if !self.spent {
            self.budget.release(&self.verdict);
        }
    }
}
