use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_service::Service;

use super::budget::Budget;
use super::decision::{Decision, Facts, StopReason};
use super::service::Shared;
use super::layer::Config;
use super::{AttemptTimedOut, Backoff, CredentialRejected, DeadlineExceeded, RetryEvent};
use crate::classify::{Class, Classify, Verdict};
use crate::error::BoxError;
use crate::event::Event;
use crate::replay::Replay;
use crate::scope::{self, CallScope};
use crate::spare::CallWhenReady;
use crate::time::{self, Instant, Sleep};

pin_project! {
    /// The future of a [`Retry`](super::Retry).
    pub struct ResponseFuture<S, Req, C, R>
    where
        S: Service<Req>,
        R: Replay<Req>,
    {
        #[pin]
        state: State<S, Req>,
        // Ends an attempt that takes too long, or a wait between two.
        #[pin]
        timer: Option<Sleep>,
        kept: Option<R::Kept>,
        progress: Option<Progress>,
        shared: Arc<Shared<S, C, R>>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<S, Req>
    where
        S: Service<Req>,
    {
        // An attempt is in flight, or readying the service it will use.
        // An answer that isn't retried ends the call; else → `Waiting`.
        Attempting { #[pin] call: CallWhenReady<S, Req> },
        // Between two attempts, the next request in hand. The timer ends it → `Attempting`.
        Waiting { request: Option<Req> },
        // The first attempt failed before it could be made, as the service
        // didn't get ready. As after an answer.
        Unready { error: Option<BoxError> },
    }
}

/// How far a call has come.
pub(super) struct Progress {
    scope: CallScope,
    idempotent: bool,
    attempt_ends: Option<Instant>,
    last_wait: Duration,
    /// What the next attempt has cost, until it is made.
    withdrawal: Option<Withdrawal>,
}

/// Taken from the budget for an attempt; given back if that is never made.
struct Withdrawal(Option<Arc<dyn Budget>>);

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some(budget) = &self.0 {
            budget.give_back();
        }
    }
}

impl<S, Req, C, R> ResponseFuture<S, Req, C, R>
where
    S: Service<Req>,
    R: Replay<Req>,
{
    /// `progress`: `None` if a retry above counts the attempts, and this one only passes on.
    pub(super) fn new(
        attempt: Result<S::Future, BoxError>,
        kept: Option<R::Kept>,
        progress: Option<Progress>,
        shared: Arc<Shared<S, C, R>>,
    ) -> Self {
        let state = match attempt {
            Ok(future) => State::Attempting { call: CallWhenReady::calling(future) },
            Err(error) => State::Unready { error: Some(error) },
        };
        Self { state, timer: None, kept, progress, shared }
    }
}

impl<S, Req, C, R> Future for ResponseFuture<S, Req, C, R>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    R: Replay<Req>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let config = &this.shared.config;
        loop {
            let (result, sent) = match this.state.as_mut().project() {
                StateProject::Attempting { mut call } => {
                    let later = |service: &mut S, request| {
                        scope::call_later(true, || service.call(request))
                    };
                    let polled = match this.progress {
                        Some(progress) => {
                            progress.scope.poll(|| call.as_mut().poll_with(cx, later))
                        }
                        None => call.as_mut().poll_with(cx, later),
                    };
                    match (polled, &this.progress) {
                        (Poll::Ready(result), _) => {
                            (result.map_err(Into::into), call.was_called())
                        }
                        (Poll::Pending, None) => return Poll::Pending,
                        (Poll::Pending, Some(progress)) => {
                            let Some(limit) = progress.limit() else { return Poll::Pending };
                            if this.timer.is_none() {
                                this.timer.set(Some(time::sleep_until(limit)));
                            }
                            ready!(poll_timer(this.timer.as_mut(), cx));
                            match config.attempt_timeout.filter(|_| !progress.is_over(limit)) {
                                Some(timeout) => (Err(AttemptTimedOut::new(timeout).into()), true),
                                None => {
                                    let attempt = progress.scope.attempt();
                                    return Poll::Ready(Err(DeadlineExceeded::new(attempt).into()));
                                }
                            }
                        }
                    }
                }
                StateProject::Waiting { request } => {
                    ready!(poll_timer(this.timer.as_mut(), cx));
                    let request = request.take().expect("polled after it was done");
                    let call = CallWhenReady::new(this.shared.spare.fresh(), request);
                    if let Some(progress) = this.progress {
                        progress.begin_attempt(config.attempt_timeout);
                    }
                    this.timer.set(None);
                    this.state.set(State::Attempting { call });
                    continue;
                }
                StateProject::Unready { error } => {
                    (Err(error.take().expect("polled after it was done")), false)
                }
            };
            let Some(progress) = this.progress else { return Poll::Ready(result) };
            let seen = result.as_ref().map_err(|error: &BoxError| &**error as _);
            let verdict = config.classifier.classify(seen);
            if verdict.is_success() {
                return Poll::Ready(result);
            }
            let verdict = if sent { verdict } else { unsent(verdict) };
            let now = time::now();
            let mut decision = progress.decide(config, &verdict, this.kept.is_some(), now);
            if let Decision::Retry { wait } = decision {
                // Made now, while the answer is still here to be returned if
                // the request turns out not to be repeatable.
                let last = progress.scope.attempt() + 1 >= config.policy.max_attempts;
                match this.kept.take().and_then(|kept| config.replay.again(kept, last)) {
                    Some((request, kept)) => {
                        progress.tell(config, verdict, decision);
                        *this.kept = kept;
                        // The answer, and what is left of the attempt, go before the wait:
                        // whatever they hold is free meanwhile.
                        drop(result);
                        this.state.set(State::Waiting { request: Some(request) });
                        let timer = (!wait.is_zero())
                            .then(|| time::sleep_until(time::after(now, wait)));
                        this.timer.set(timer);
                        continue;
                    }
                    None => {
                        progress.withdrawal = None;
                        decision = Decision::Stop(StopReason::NotReplayable);
                    }
                }
            }
            progress.tell(config, verdict, decision);
            if config.credential_error && verdict.class() == Class::CredentialRejected {
                return Poll::Ready(Err(CredentialRejected::new(verdict.cause()).into()));
            }
            return Poll::Ready(result);
        }
    }
}

/// Ready when there is no timer.
fn poll_timer(timer: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
    timer.as_pin_mut().map_or(Poll::Ready(()), |timer| timer.poll(cx))
}

/// What failed before it was called was never sent, whatever its error says.
fn unsent(verdict: Verdict) -> Verdict {
    match verdict.class() {
        Class::Transient => Verdict::not_sent().cause_is(verdict.cause()).hint_is(verdict.hint()),
        _ => verdict,
    }
}

impl Progress {
    pub(super) fn new(scope: CallScope, idempotent: bool, attempt_ends: Option<Instant>) -> Self {
        Self { scope, idempotent, attempt_ends, last_wait: Duration::ZERO, withdrawal: None }
    }

    /// When the attempt in flight must end: in time for itself, and for the call.
    fn limit(&self) -> Option<Instant> {
        let deadline = self.scope.deadline();
        self.attempt_ends.into_iter().chain(deadline).min()
    }

    /// Whether the whole call is over at that time.
    fn is_over(&self, at: Instant) -> bool {
        self.scope.deadline().is_some_and(|deadline| deadline <= at)
    }

    fn begin_attempt(&mut self, timeout: Option<Duration>) {
        if let Some(mut withdrawal) = self.withdrawal.take() {
            withdrawal.0 = None;
        }
        self.scope = self.scope.next_attempt();
        self.attempt_ends = timeout.map(|timeout| time::after(time::now(), timeout));
    }

    fn decide<C, R>(
        &mut self,
        config: &Config<C, R>,
        verdict: &Verdict,
        kept: bool,
        now: Instant,
    ) -> Decision {
        let facts = Facts {
            attempt: self.scope.attempt(),
            idempotent: self.idempotent,
            kept,
            now,
            deadline: self.scope.deadline(),
        };
        let Self { last_wait, withdrawal, .. } = self;
        let wait = |backoff: &Backoff| {
            let retry = facts.attempt - 1;
            let wait = config.random(|random| backoff.wait(retry, *last_wait, random));
            *last_wait = wait;
            wait
        };
        let withdraw = || match &config.budget {
            None => true,
            Some(budget) if budget.withdraw() => {
                *withdrawal = Some(Withdrawal(Some(Arc::clone(budget))));
                true
            }
            Some(_) => false,
        };
        config.policy.decide(verdict, facts, wait, withdraw)
    }

    fn tell<C, R>(&self, config: &Config<C, R>, verdict: Verdict, decision: Decision) {
        if decision != Decision::Return {
            let attempt = self.scope.attempt();
            config.listener.tell(|| Event::Retry(RetryEvent { attempt, verdict, decision }));
        }
    }
}

impl<S, Req, C, R> fmt::Debug for ResponseFuture<S, Req, C, R>
where
    S: Service<Req>,
    R: Replay<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
