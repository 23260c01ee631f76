//! How far a call has come: which attempt it is at, when that must end, and what it has cost.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tower_service::Service;

use super::Backoff;
use super::budget::Budget;
use super::config::Config;
use super::decision::{AttemptFacts, is_rejected_locally};
use super::future::CallWhenReady;
use crate::error::BoxError;
use crate::event::{Decision, RetryDecided};
use crate::replay::Replay;
use crate::scope::{self, CallScope, Within};
use crate::time::{self, Instant, Sleep};
use crate::verdict::{Class, Verdict};

/// How far a call has come.
pub(super) struct CallProgress<Res> {
    scope: CallScope,
    max_attempts: u32,
    idempotent: bool,
    /// Whether the attempt in flight began with all the time that the layer gives to a call.
    has_it_all: bool,
    /// When the attempt in flight times out. `None` if it doesn't, or isn't called yet.
    attempt_ends: Option<Instant>,
    previous: Option<Box<PreviousResult<Res>>>,
}

/// Which limit has passed during an attempt.
pub(super) enum PollOutcome {
    /// The timeout of attempts.
    Timeout(Duration),
    /// The deadline of the whole call. The attempt was called only if it is `in_flight`.
    Deadline { in_flight: bool },
}

impl<Res> CallProgress<Res> {
    /// Begins a call: reads its overrides and writes headers into its request.
    #[inline]
    pub(super) fn begin<Req, C, R>(config: &Config<C, R>, request: &mut Req) -> Self
    where
        R: Replay<Req>,
    {
        if let Some(budget) = &config.budget {
            budget.deposit();
        }
        let asked = config.replay.overrides(request);
        let deadline = asked.deadline.or(config.deadline);
        let max_attempts = asked.max_attempts.unwrap_or(config.policy.max_attempts);
        let has_key = config.attempt_headers.any() && config.stamp(request, max_attempts > 1);
        Self {
            scope: CallScope::begin(CallScope::offered(), ends(deadline)).with_retry(),
            max_attempts,
            idempotent: has_key || config.replay.is_idempotent(request),
            has_it_all: asked.deadline.is_none(),
            attempt_ends: None,
            previous: None,
        }
    }

    /// Whether a second attempt can follow the first.
    #[inline]
    pub(super) fn may_retry(&self) -> bool {
        self.max_attempts > 1
    }

    /// Returns which attempt this is; the first is 1.
    pub(super) fn attempt(&self) -> u32 {
        self.scope.attempt()
    }

    /// Returns how many attempts were made, not counting those that an open circuit here turned away.
    pub(super) fn made(&self) -> u32 {
        let rejected_locally =
            self.previous.as_ref().map_or(0, |previous| previous.rejected_locally);
        self.attempt().saturating_sub(rejected_locally)
    }

    /// Whether no other attempt can follow the next one. Where calls wait for circuits, or a failover
    /// below has other regions, the next attempt may be turned away, and then it isn't the last.
    pub(super) fn next_is_last(&self) -> bool {
        let may_go_on = self.scope.deadline().is_some() || self.scope.tried().len() > 0;
        !may_go_on && self.made().saturating_add(1) >= self.max_attempts
    }

    /// Makes the first attempt, through a service that is ready.
    #[inline]
    pub(super) fn calling(&mut self, timeout: Option<Duration>) -> Within<'_> {
        self.attempt_ends = ends(timeout);
        self.scope.calling()
    }

    /// Polls the attempt in flight, or readies the service that it will use.
    #[inline]
    pub(super) fn poll<S, Req, C, R>(
        &mut self,
        config: &Config<C, R>,
        mut call: Pin<&mut CallWhenReady<S, Req>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, BoxError>>
    where
        S: Service<Req>,
        S::Error: Into<BoxError>,
    {
        let Self { scope, attempt_ends, has_it_all, previous, .. } = self;
        scope.poll(|| {
            if !call.was_called() {
                if is_past_deadline() {
                    // Woken too late, as on a machine that was suspended: nobody would wait for the
                    // answer. `poll_limits` ends the call.
                    return Poll::Pending;
                }
                // The timeout begins only now, as tower's does. If getting ready were included, a
                // queue for a place below would turn into timeouts, and those into retries.
                let when_ready = |service: &mut S, request| {
                    *attempt_ends = ends(config.attempt_timeout);
                    *has_it_all = false;
                    if let Some(previous) = previous {
                        previous.spend();
                    }
                    scope::call_later(true, || service.call(request))
                };
                ready!(call.as_mut().poll_ready(cx, when_ready)).map_err(Into::into)?;
            }
            call.poll_called(cx).map_err(Into::into)
        })
    }

    /// Ends an attempt that takes too long, and returns which limit it passed.
    pub(super) fn poll_limits<S, Req, C, R>(
        &mut self,
        config: &Config<C, R>,
        mut call: Pin<&mut CallWhenReady<S, Req>>,
        mut timer: Pin<&mut Option<Sleep>>,
        cx: &mut Context<'_>,
    ) -> Poll<PollOutcome>
    where
        S: Service<Req>,
    {
        if let Some(previous) = &mut self.previous {
            // The attempt may be waiting for something that an earlier response holds.
            previous.let_go();
        }
        let deadline = self.scope.deadline();
        let Some(limit) = self.attempt_ends.into_iter().chain(deadline).min() else {
            return Poll::Pending;
        };
        if timer.as_ref().as_pin_ref().is_none_or(|timer| timer.deadline() != limit) {
            timer.set(Some(time::sleep_until(limit)));
        }
        ready!(time::poll_timer(timer, cx));
        let in_flight = call.was_called();
        let timeout = config.attempt_timeout;
        let timeout = timeout.filter(|_| deadline.is_none_or(|deadline| limit < deadline));
        // A breaker below learns that the upstream took too long, and that it wasn't the caller who
        // dropped the attempt. If the request's own deadline or earlier attempts left it little time,
        // that isn't known, and it is dropped like an abandoned one.
        if timeout.is_some() || self.has_it_all && !config.attempts_end() {
            self.scope.expire(|| call.as_mut().end());
        } else {
            self.scope.poll(|| call.as_mut().end());
        }
        Poll::Ready(timeout.map_or(PollOutcome::Deadline { in_flight }, PollOutcome::Timeout))
    }

    /// Decides whether another attempt is made, and after what wait. Keeps what the budget paid for
    /// it until it is made.
    pub(super) fn decide<C, R>(
        &mut self,
        config: &Config<C, R>,
        verdict: &Verdict,
        saved: bool,
        now: Instant,
    ) -> Decision {
        self.previous.get_or_insert_default().takes_in(verdict);
        let made = self.made();
        let Self { scope, previous, .. } = self;
        let previous = previous.get_or_insert_default();
        let facts = AttemptFacts {
            made,
            max_attempts: self.max_attempts,
            idempotent: self.idempotent,
            saved,
            elsewhere: scope.goes_elsewhere(),
            answered: previous.answer.is_some(),
            owes: previous.owed.is_some(),
            now,
            deadline: scope.deadline(),
        };
        let PreviousResult { last_wait, owed, withdrawal, .. } = &mut **previous;
        let failed = || {
            if let Some(budget) = &config.budget {
                budget.failed(verdict);
            }
        };
        let wait = |backoff: &Backoff| {
            let retry = scope.attempt() - 1;
            let wait = config.random.draw(|random| backoff.wait(retry, *last_wait, random));
            *last_wait = Some(wait);
            wait
        };
        let withdraw = || match &config.budget {
            None => true,
            Some(budget) => {
                *withdrawal = Withdrawal::from(budget, &owed.unwrap_or(*verdict));
                let is_paid = withdrawal.is_some();
                owed.take_if(|_| is_paid);
                is_paid
            }
        };
        config.policy.decide(verdict, facts, failed, wait, withdraw)
    }

    /// Keeps this answer while another attempt follows, after a wait if `waits`.
    pub(super) fn set_aside<C, R>(
        &mut self,
        config: &Config<C, R>,
        result: Result<Res, BoxError>,
        verdict: &Verdict,
        waits: bool,
    ) {
        let previous = self.previous.get_or_insert_default();
        if !is_rejected_locally(verdict) {
            previous.answer = Some(result);
        }
        // A response is dropped before the wait, which frees what it holds.
        if waits && !config.keep_last_response {
            previous.let_go();
        }
    }

    /// Returns what goes to the caller when no attempt follows: this answer, or that of an earlier
    /// attempt if this one wasn't `sent`.
    pub(super) fn last_answer(
        &mut self,
        result: Result<Res, BoxError>,
        sent: bool,
    ) -> Result<Res, BoxError> {
        let previous = self.previous.as_mut().filter(|_| !sent);
        previous.and_then(|previous| previous.answer.take()).unwrap_or(result)
    }

    /// Calls off the attempt that was decided on, and gives back what the budget paid, unless it was
    /// made already.
    pub(super) fn call_off(&mut self) {
        if let Some(previous) = &mut self.previous {
            previous.withdrawal = None;
        }
    }

    /// Begins the next attempt, for which the inner service must get ready.
    pub(super) fn next_attempt(&mut self) {
        self.scope = self.scope.next_attempt();
        self.attempt_ends = None;
    }

    /// Whether the attempt in flight was called and has a timeout.
    pub(super) fn is_timed(&self) -> bool {
        self.attempt_ends.is_some()
    }

    /// Tells observers what was decided about an attempt that failed.
    pub(super) fn emit<C, R>(&self, config: &Config<C, R>, verdict: Verdict, decision: Decision) {
        if decision != Decision::Return {
            let attempt = self.scope.attempt();
            config.observers.emit(|| RetryDecided::new(&config.name, attempt, verdict, decision));
        }
    }
}

/// Whether the deadline of the current call has passed.
#[cold]
fn is_past_deadline() -> bool {
    let deadline = CallScope::current().and_then(|scope| scope.deadline());
    deadline.is_some_and(|deadline| deadline <= time::now())
}

/// Returns when something that begins now and may take this long must end; `Duration::MAX` is no
/// limit.
#[inline]
fn ends(after: Option<Duration>) -> Option<Instant> {
    after.and_then(from_now)
}

/// SavedRequest out of line, so that reading the clock isn't compiled into every call.
#[inline(never)]
fn from_now(after: Duration) -> Option<Instant> {
    (after < Duration::MAX).then(|| time::after(time::now(), after))
}

/// What a call remembers of the attempts that have failed. Most calls have none, so it is boxed.
pub(super) struct PreviousResult<Res> {
    /// How many attempts an open circuit here turned away.
    pub(super) rejected_locally: u32,
    pub(super) last_wait: Option<Duration>,
    /// The verdict on the last attempt that was sent, if the budget paid for no retry since.
    pub(super) owed: Option<Verdict>,
    /// What the budget paid for the attempt that is in flight or comes next.
    pub(super) withdrawal: Option<Withdrawal>,
    /// The answer to the last attempt that wasn't turned away, for when no other follows.
    pub(super) answer: Option<Result<Res, BoxError>>,
}

impl<Res> PreviousResult<Res> {
    /// Notes that the next attempt is made, so that its cost isn't given back.
    pub(super) fn spend(&mut self) {
        if let Some(withdrawal) = &mut self.withdrawal {
            withdrawal.spent = true;
        }
    }

    /// Takes in the verdict on an attempt. An attempt whose service failed to get ready costs as much
    /// as any other; the cost of an attempt that was turned away is saved for the next one.
    pub(super) fn takes_in(&mut self, verdict: &Verdict) {
        if verdict.class() == Class::CircuitOpen {
            self.rejected_locally = self.rejected_locally.saturating_add(1);
        }
        let spent = !is_rejected_locally(verdict);
        if spent {
            self.owed = Some(*verdict);
        }
        if let Some(mut withdrawal) = self.withdrawal.take() {
            withdrawal.spent = spent;
            self.withdrawal = (!spent).then_some(withdrawal);
        }
    }

    /// Drops a response, but not an error, which holds nothing.
    pub(super) fn let_go(&mut self) {
        self.answer.take_if(|answer| answer.is_ok());
    }
}

impl<Res> Default for PreviousResult<Res> {
    fn default() -> Self {
        Self { rejected_locally: 0, last_wait: None, owed: None, withdrawal: None, answer: None }
    }
}

/// What the budget paid for an attempt. Given back if that is never made.
pub(super) struct Withdrawal {
    budget: Arc<dyn Budget>,
    verdict: Verdict,
    spent: bool,
}

impl Withdrawal {
    /// Takes what a retry after this verdict costs from the budget, if there is enough.
    pub(super) fn from(budget: &Arc<dyn Budget>, verdict: &Verdict) -> Option<Self> {
        budget.withdraw(verdict).then(|| Self {
            budget: Arc::clone(budget),
            verdict: *verdict,
            spent: false,
        })
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if !self.spent {
            self.budget.release(&self.verdict);
        }
    }
}
