//! How far a call has come: which attempt, until when, at what cost.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tower_service::Service;

use super::budget::Budget;
use super::config::Config;
use super::decision::{Decision, Facts};
use super::{AttemptTimedOut, Backoff, RetryEvent};
use crate::classify::{Class, Verdict};
use crate::error::BoxError;
use crate::event::Event;
use crate::scope::{self, CallScope};
use crate::spare::CallWhenReady;
use crate::time::{self, Instant, Sleep};

/// How far a call has come.
pub(super) struct Progress {
    scope: CallScope,
    /// How many attempts an open circuit here turned away.
    turned_away: u32,
    max_attempts: u32,
    idempotent: bool,
    /// When the attempt in flight has taken too long; `None` also before it is called.
    attempt_ends: Option<Instant>,
    last_wait: Option<Duration>,
    /// What the next attempt has cost, until it is made.
    withdrawal: Option<Withdrawal>,
}

/// How an attempt ended.
pub(super) enum Ended<T> {
    /// With an answer from below, or for want of one in time.
    Answered {
        result: Result<T, BoxError>,
        /// Whether the inner service got ready and was called.
        called: bool,
    },
    /// By the deadline of the whole call.
    PastDeadline,
}

/// Taken from the budget for an attempt; given back if that is never made.
struct Withdrawal(Option<(Arc<dyn Budget>, Verdict)>);

impl Withdrawal {
    /// The attempt is made, and has cost what it costs.
    fn spend(mut self) {
        self.0 = None;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some((budget, verdict)) = &self.0 {
            budget.give_back(verdict);
        }
    }
}

impl Progress {
    pub(super) fn new(
        scope: CallScope,
        max_attempts: u32,
        idempotent: bool,
        attempt_ends: Option<Instant>,
    ) -> Self {
        Self {
            scope,
            turned_away: 0,
            max_attempts,
            idempotent,
            attempt_ends,
            last_wait: None,
            withdrawal: None,
        }
    }

    /// Which attempt this is, or was; the first is 1.
    pub(super) fn attempt(&self) -> u32 {
        self.scope.attempt()
    }

    /// Whether nothing can follow the next attempt. Where calls wait for circuits, it may be
    /// turned away, and then isn't the last.
    pub(super) fn next_is_last(&self) -> bool {
        let next = self.attempt().saturating_sub(self.turned_away).saturating_add(1);
        self.scope.deadline().is_none() && next >= self.max_attempts
    }

    /// Goes on with the attempt in flight, and ends one that takes too long.
    pub(super) fn poll_attempt<S, Req>(
        &mut self,
        mut call: Pin<&mut CallWhenReady<S, Req>>,
        mut timer: Pin<&mut Option<Sleep>>,
        timeout: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Ended<S::Response>>
    where
        S: Service<Req>,
        S::Error: Into<BoxError>,
    {
        let Self { scope, attempt_ends, withdrawal, .. } = self;
        // As with tower's own timeout, getting ready isn't counted: a queue for
        // a place below would otherwise turn into timeouts, and those into retries.
        let when_ready = |service: &mut S, request| {
            *attempt_ends = ends(timeout);
            spend(withdrawal);
            scope::call_later(true, || service.call(request))
        };
        if let Poll::Ready(result) = scope.poll(|| call.as_mut().poll_with(cx, when_ready)) {
            let result = result.map_err(Into::into);
            return Poll::Ready(Ended::Answered { result, called: call.was_called() });
        }
        let deadline = self.scope.deadline();
        let Some(limit) = self.attempt_ends.into_iter().chain(deadline).min() else {
            return Poll::Pending;
        };
        if timer.as_ref().as_pin_ref().is_none_or(|timer| timer.deadline() != limit) {
            timer.set(Some(time::sleep_until(limit)));
        }
        ready!(poll_timer(timer, cx));
        // Dropped here and not by the caller, so that a breaker below knows that
        // the upstream took too long.
        self.scope.expire(|| call.as_mut().end());
        let timeout = timeout.filter(|_| deadline.is_none_or(|deadline| limit < deadline));
        Poll::Ready(match timeout {
            Some(timeout) => {
                Ended::Answered { result: Err(AttemptTimedOut::new(timeout).into()), called: true }
            }
            None => Ended::PastDeadline,
        })
    }

    /// Whether, and after what wait, another attempt is made. Of what a retry
    /// costs it keeps hold until that is made.
    pub(super) fn decide<C, R>(
        &mut self,
        config: &Config<C, R>,
        verdict: &Verdict,
        kept: bool,
        answered: bool,
        now: Instant,
    ) -> Decision {
        if verdict.class() == Class::CircuitOpen {
            self.turned_away = self.turned_away.saturating_add(1);
        }
        let facts = Facts {
            made: self.scope.attempt().saturating_sub(self.turned_away),
            max_attempts: self.max_attempts,
            idempotent: self.idempotent,
            kept,
            elsewhere: self.scope.goes_elsewhere(),
            answered,
            now,
            deadline: self.scope.deadline(),
        };
        let Self { scope, last_wait, withdrawal, .. } = self;
        // An attempt whose service failed to get ready has cost as much as another.
        spend(withdrawal);
        let failed = || {
            if let Some(budget) = &config.budget {
                budget.failed(verdict);
            }
        };
        let wait = |backoff: &Backoff| {
            let retry = scope.attempt() - 1;
            let wait = config.random(|random| backoff.wait(retry, *last_wait, random));
            *last_wait = Some(wait);
            wait
        };
        let withdraw = || match &config.budget {
            None => true,
            Some(budget) if budget.withdraw(verdict) => {
                *withdrawal = Some(Withdrawal(Some((Arc::clone(budget), *verdict))));
                true
            }
            Some(_) => false,
        };
        config.policy.decide(verdict, facts, failed, wait, withdraw)
    }

    /// The attempt that was decided on isn't made, if it wasn't already.
    pub(super) fn call_off(&mut self) {
        self.withdrawal = None;
    }

    /// The next attempt begins, with the inner service getting ready for it.
    pub(super) fn next_attempt(&mut self) {
        self.scope = self.scope.next_attempt();
        self.attempt_ends = None;
    }

    /// Tells what was decided about an attempt, if that had failed.
    pub(super) fn tell<C, R>(&self, config: &Config<C, R>, verdict: Verdict, decision: Decision) {
        if decision != Decision::Return {
            let attempt = self.scope.attempt();
            config.listener.tell(|| {
                Event::Retry(RetryEvent { name: &config.name, attempt, verdict, decision })
            });
        }
    }
}

fn spend(withdrawal: &mut Option<Withdrawal>) {
    if let Some(withdrawal) = withdrawal.take() {
        withdrawal.spend();
    }
}

/// When what may take this long, and begins now, must end.
pub(super) fn ends(after: Option<Duration>) -> Option<Instant> {
    after.map(|after| time::after(time::now(), after))
}

/// Ready when there is no timer.
pub(super) fn poll_timer(timer: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
    timer.as_pin_mut().map_or(Poll::Ready(()), |timer| timer.poll(cx))
}
