//! How far a call has come: which attempt, until when, at what cost.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tower_service::Service;

use super::attempt::CallWhenReady;
use super::config::Config;
use super::decision::{Decision, Facts, is_turned_away};
use super::past::{Past, Withdrawal};
use super::{Backoff, RetryEvent};
use crate::classify::Verdict;
use crate::error::BoxError;
use crate::event::Event;
use crate::replay::Replay;
use crate::scope::{self, CallScope, Within};
use crate::time::{self, Instant, Sleep};

/// How far a call has come.
pub(super) struct Progress<Res> {
    scope: CallScope,
    max_attempts: u32,
    idempotent: bool,
    /// Whether the attempt in flight was called with all the time that the layer gives to a call.
    has_it_all: bool,
    /// When the attempt in flight has taken too long; `None` also before it is called.
    attempt_ends: Option<Instant>,
    past: Option<Box<Past<Res>>>,
}

/// What has passed while an attempt was in flight.
pub(super) enum Passed {
    /// As long as one attempt may take.
    Timeout(Duration),
    /// The deadline of the whole call, with an attempt in flight or one that never was.
    Deadline { in_flight: bool },
}

impl<Res> Progress<Res> {
    /// A call begins: what it asks for, and what is written into its request.
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
        let has_key = config.stamps.any() && config.stamp(request, max_attempts > 1);
        Self {
            scope: CallScope::begin(CallScope::offered(), ends(deadline)).with_retry(),
            max_attempts,
            idempotent: has_key || config.replay.is_idempotent(request),
            has_it_all: asked.deadline.is_none(),
            attempt_ends: None,
            past: None,
        }
    }

    /// Whether a second attempt can follow the first.
    #[inline]
    pub(super) fn may_retry(&self) -> bool {
        self.max_attempts > 1
    }

    /// Which attempt this is, or was; the first is 1.
    pub(super) fn attempt(&self) -> u32 {
        self.scope.attempt()
    }

    /// How many attempts were made: those that an open circuit here turned away weren't.
    pub(super) fn made(&self) -> u32 {
        let turned_away = self.past.as_ref().map_or(0, |past| past.turned_away);
        self.attempt().saturating_sub(turned_away)
    }

    /// Whether nothing can follow the next attempt. Where calls wait for circuits, or a failover
    /// below has other regions, it may be turned away, and then isn't the last.
    pub(super) fn next_is_last(&self) -> bool {
        let may_go_on = self.scope.deadline().is_some() || self.scope.tried().len() > 0;
        !may_go_on && self.made().saturating_add(1) >= self.max_attempts
    }

    /// The first attempt is made, through a service that is ready.
    #[inline]
    pub(super) fn calling(&mut self, timeout: Option<Duration>) -> Within<'_> {
        self.attempt_ends = ends(timeout);
        self.scope.calling()
    }

    /// Goes on with the attempt in flight, or with readying the service that it will use.
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
        let Self { scope, attempt_ends, has_it_all, past, .. } = self;
        scope.poll(|| {
            if !call.was_called() {
                if is_past_deadline() {
                    // Woken too late, as on a machine that was suspended: nobody waits for what
                    // would be sent, and `poll_limits` ends the call.
                    return Poll::Pending;
                }
                // As with tower's own timeout, getting ready isn't counted: a queue for
                // a place below would otherwise turn into timeouts, and those into retries.
                let when_ready = |service: &mut S, request| {
                    *attempt_ends = ends(config.attempt_timeout);
                    *has_it_all = false;
                    if let Some(past) = past {
                        past.spend();
                    }
                    scope::call_later(true, || service.call(request))
                };
                ready!(call.as_mut().poll_ready(cx, when_ready)).map_err(Into::into)?;
            }
            call.poll_called(cx).map_err(Into::into)
        })
    }

    /// Ends an attempt that takes too long.
    pub(super) fn poll_limits<S, Req, C, R>(
        &mut self,
        config: &Config<C, R>,
        mut call: Pin<&mut CallWhenReady<S, Req>>,
        mut timer: Pin<&mut Option<Sleep>>,
        cx: &mut Context<'_>,
    ) -> Poll<Passed>
    where
        S: Service<Req>,
    {
        if let Some(past) = &mut self.past {
            // The attempt may wait for what an earlier response holds.
            past.let_go();
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
        // Dropped here and not by the caller, so that a breaker below knows that the upstream took too
        // long. Of an attempt to which its caller, others or queues left little time nobody knows that.
        if timeout.is_some() || self.has_it_all && !config.attempts_end() {
            self.scope.expire(|| call.as_mut().end());
        } else {
            self.scope.poll(|| call.as_mut().end());
        }
        Poll::Ready(timeout.map_or(Passed::Deadline { in_flight }, Passed::Timeout))
    }

    /// Whether, and after what wait, another attempt is made. Of what a retry
    /// costs it keeps hold until that is made.
    pub(super) fn decide<C, R>(
        &mut self,
        config: &Config<C, R>,
        verdict: &Verdict,
        kept: bool,
        now: Instant,
    ) -> Decision {
        self.past.get_or_insert_default().takes_in(verdict);
        let made = self.made();
        let Self { scope, past, .. } = self;
        let past = past.get_or_insert_default();
        let facts = Facts {
            made,
            max_attempts: self.max_attempts,
            idempotent: self.idempotent,
            kept,
            elsewhere: scope.goes_elsewhere(),
            answered: past.answer.is_some(),
            owes: past.owed.is_some(),
            now,
            deadline: scope.deadline(),
        };
        let Past { last_wait, owed, withdrawal, .. } = &mut **past;
        let failed = || {
            if let Some(budget) = &config.budget {
                budget.failed(verdict);
            }
        };
        let wait = |backoff: &Backoff| {
            let retry = scope.attempt() - 1;
            let wait = config.chance.draw(|random| backoff.wait(retry, *last_wait, random));
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

    /// Another attempt follows this answer, after a wait if `waits`.
    pub(super) fn set_aside<C, R>(
        &mut self,
        config: &Config<C, R>,
        result: Result<Res, BoxError>,
        verdict: &Verdict,
        waits: bool,
    ) {
        let past = self.past.get_or_insert_default();
        if !is_turned_away(verdict) {
            past.answer = Some(result);
        }
        // A response goes before the wait: what it holds is free meanwhile.
        if waits && !config.hold_answers {
            past.let_go();
        }
    }

    /// What goes to the caller when no attempt follows this answer: that of an earlier one if
    /// this one's wasn't `sent`.
    pub(super) fn last_answer(
        &mut self,
        result: Result<Res, BoxError>,
        sent: bool,
    ) -> Result<Res, BoxError> {
        let past = self.past.as_mut().filter(|_| !sent);
        past.and_then(|past| past.answer.take()).unwrap_or(result)
    }

    /// The attempt that was decided on isn't made, if it wasn't already.
    pub(super) fn call_off(&mut self) {
        if let Some(past) = &mut self.past {
            past.withdrawal = None;
        }
    }

    /// The next attempt begins, with the inner service getting ready for it.
    pub(super) fn next_attempt(&mut self) {
        self.scope = self.scope.next_attempt();
        self.attempt_ends = None;
    }

    /// Whether the attempt in flight was called, and is timed.
    pub(super) fn is_timed(&self) -> bool {
        self.attempt_ends.is_some()
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

/// Whether the deadline of the current call has passed.
#[cold]
fn is_past_deadline() -> bool {
    let deadline = CallScope::current().and_then(|scope| scope.deadline());
    deadline.is_some_and(|deadline| deadline <= time::now())
}

/// When what may take this long, and begins now, must end; the longest time there is has no end.
#[inline]
fn ends(after: Option<Duration>) -> Option<Instant> {
    after.and_then(from_now)
}

/// Apart, so that the clock's reading isn't compiled into every call.
#[inline(never)]
fn from_now(after: Duration) -> Option<Instant> {
    (after < Duration::MAX).then(|| time::after(time::now(), after))
}
