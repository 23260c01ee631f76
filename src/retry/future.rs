use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_service::Service;

use super::decision::is_rejected_locally;
use super::progress::{CallProgress, PollOutcome};
use super::service::Shared;
use crate::classify::Classify;
use crate::error::{AttemptTimedOut, BoxError, CredentialRejected, DeadlineExceeded};
use crate::event::{Decision, StopReason};
use crate::replay::Replay;
use crate::scope;
use crate::sharded::ShardRef;
use crate::time::{self, Instant, Sleep};
use crate::verdict::{Class, Verdict};

/// How many steps one poll takes at most. A call whose attempts fail at once, without a wait between
/// them, must let the other tasks of its thread run.
const STEPS_AT_ONCE: u32 = 64;

pin_project! {
    /// The future of a [`Retry`](super::Retry).
    #[project = Project]
    pub struct ResponseFuture<S, Req, C, R>
    where
        S: Service<Req>,
        R: Replay<Req>,
    {
        #[pin]
        state: State<S, Req>,
        // Ends an attempt that takes too long, or the wait between two attempts.
        #[pin]
        timer: Option<Sleep>,
        saved: Option<R::SavedRequest>,
        // `None`: the answer is only passed on, as a retry above counts the attempts, or as the
        // call's deadline has passed.
        progress: Option<CallProgress<S::Response>>,
        shared: ShardRef<Shared<S, C, R>>,
    }
}

pin_project! {
    #[project = StateProject]
    pub(super) enum State<S, Req>
    where
        S: Service<Req>,
    {
        // An attempt is in flight, or readies the service that it will use. An answer that isn't
        // retried ends the call; another leads to → `Waiting`.
        Attempting { #[pin] call: CallWhenReady<S, Req> },
        // Between two attempts, with the next request. The timer ends it → `Attempting`.
        // Boxed: it is rare, and a request is as large as all the rest.
        Waiting { request: Option<Box<Req>> },
        // The first attempt failed before it was made, as the service didn't get ready. Goes on as
        // after an answer. Without an error the call is over.
        Unready { error: Option<BoxError>, request: Option<Box<Req>> },
    }
}

impl<S, Req, C, R> ResponseFuture<S, Req, C, R>
where
    S: Service<Req>,
    R: Replay<Req>,
{
    #[inline]
    pub(super) fn new(
        state: State<S, Req>,
        saved: Option<R::SavedRequest>,
        progress: Option<CallProgress<S::Response>>,
        shared: ShardRef<Shared<S, C, R>>,
    ) -> Self {
        Self { state, timer: None, saved, progress, shared }
    }
}

impl<S: Service<Req>, Req> State<S, Req> {
    #[inline]
    pub(super) fn calling(future: S::Future) -> Self {
        Self::Attempting { call: CallWhenReady::calling(future) }
    }

    pub(super) fn readying(service: S, request: Req) -> Self {
        Self::Attempting { call: CallWhenReady::new(service, request) }
    }

    /// Returns the request of an attempt whose service didn't get ready, so that it was never sent.
    fn take_unsent(self: Pin<&mut Self>) -> Option<Req> {
        match self.project() {
            StateProject::Attempting { call } => call.take_unsent(),
            StateProject::Unready { request, .. } => request.take().map(|request| *request),
            StateProject::Waiting { .. } => None,
        }
    }

    /// Whether the attempt's service got ready and was called.
    fn was_called(&self) -> bool {
        matches!(self, Self::Attempting { call } if call.was_called())
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
        for _ in 0..STEPS_AT_ONCE {
            let mut answer = match (this.state.as_mut().project(), &mut *this.progress) {
                (StateProject::Attempting { call }, Some(progress)) => {
                    progress.poll(&this.shared.config, call, cx)
                }
                _ => match ready!(this.rare_step(cx)) {
                    Some(result) => Poll::Ready(result),
                    None => continue,
                },
            };
            if answer.is_pending() {
                answer = this.poll_limits(cx);
            }
            // Classified in place: an answer is large, and each move copies it.
            let verdict = match (&answer, &this.progress) {
                (Poll::Ready(result), Some(_)) => this.verdict(result),
                // There is no answer yet, or nothing to decide about it.
                _ => return answer,
            };
            if verdict.is_success() {
                return answer;
            }
            let failed = ready!(answer);
            if let Some(output) = this.failed(failed, verdict) {
                return Poll::Ready(output);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S, Req, C, R> Project<'_, S, Req, C, R>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    R: Replay<Req>,
{
    /// Takes a step that most calls don't take. `None`: → `Attempting`.
    #[inline(never)]
    fn rare_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<S::Response, BoxError>>> {
        match self.state.as_mut().project() {
            // A retry above decides: the answer is only passed on.
            StateProject::Attempting { call } => {
                let call_now =
                    |service: &mut S, request| scope::call_later(true, || service.call(request));
                call.poll_with(cx, call_now).map(|result| Some(result.map_err(Into::into)))
            }
            StateProject::Waiting { request } => {
                ready!(time::poll_timer(self.timer.as_mut(), cx));
                let request = request.take().expect("polled after it was done");
                if let Some(progress) = self.progress {
                    progress.next_attempt();
                }
                self.state.set(State::readying(self.shared.unready.unready_clone(), *request));
                Poll::Ready(None)
            }
            StateProject::Unready { error, .. } => {
                Poll::Ready(Some(Err(error.take().expect("polled after it was done"))))
            }
        }
    }

    /// Ends an attempt, or the whole call, that has taken too long.
    #[inline(never)]
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Result<S::Response, BoxError>> {
        let (StateProject::Attempting { call }, Some(progress)) =
            (self.state.as_mut().project(), &mut self.progress)
        else {
            return Poll::Pending;
        };
        let config = &self.shared.config;
        let passed = ready!(progress.poll_limits(config, call, self.timer.as_mut(), cx));
        Poll::Ready(match passed {
            PollOutcome::Timeout(timeout) => Err(AttemptTimedOut::new(timeout).into()),
            PollOutcome::Deadline { in_flight } => self.past_deadline(in_flight),
        })
    }

    #[inline]
    fn verdict(&self, result: &Result<S::Response, BoxError>) -> Verdict {
        let seen = result.as_ref().map_err(|error| &**error as _);
        self.shared.config.classifier.classify(seen)
    }

    /// Returns what goes to the caller after an answer that isn't a success. `None`: → `Waiting`.
    #[cold]
    #[inline(never)]
    fn failed(
        &mut self,
        result: Result<S::Response, BoxError>,
        verdict: Verdict,
    ) -> Option<Result<S::Response, BoxError>> {
        let Some(progress) = self.progress else {
            return Some(result);
        };
        let config = &self.shared.config;
        let called = self.state.was_called() || progress.is_timed();
        let verdict = if called { verdict } else { unsent(verdict) };
        let now = time::now();
        let unsent = self.state.as_mut().take_unsent();
        let saved = unsent.is_some() || self.saved.is_some();
        let mut decision = progress.decide(config, &verdict, saved, now);
        if let Decision::Retry { wait } = decision {
            // Made now, while the answer can still be returned if the request turns out not to be
            // repeatable.
            let last = progress.next_is_last();
            let again = match (unsent, self.saved.take()) {
                (Some(request), saved) => Some((request, saved)),
                (None, saved) => saved.and_then(|saved| config.replay.again(saved, last)),
            };
            if let Some((mut request, saved)) = again {
                config.count(&mut request, progress.made());
                progress.emit(config, verdict, decision);
                *self.saved = saved;
                progress.set_aside(config, result, &verdict, !wait.is_zero());
                self.wait(now, wait, request);
                return None;
            }
            progress.call_off();
            decision = Decision::Stop(StopReason::NotReplayable);
        }
        progress.emit(config, verdict, decision);
        if config.credential_error && verdict.class() == Class::CredentialRejected {
            let mut rejected = CredentialRejected::new(verdict.cause());
            if let Err(error) = result {
                rejected = rejected.with_source(error);
            }
            return Some(Err(rejected.into()));
        }
        Some(progress.last_answer(result, !is_rejected_locally(&verdict)))
    }

    /// → `Waiting`. The last attempt is dropped now, not after the wait.
    fn wait(&mut self, now: Instant, wait: Duration, request: Req) {
        self.state.set(State::Waiting { request: Some(Box::new(request)) });
        let timer = (!wait.is_zero()).then(|| time::sleep_until(time::after(now, wait)));
        self.timer.set(timer);
    }

    /// Ends the call at its deadline. Drops the attempt, if one is `in_flight`.
    fn past_deadline(&mut self, in_flight: bool) -> Result<S::Response, BoxError> {
        self.state.set(State::Unready { error: None, request: None });
        let mut progress = self.progress.take();
        let error = DeadlineExceeded::new(progress.as_ref().map_or(1, CallProgress::attempt));
        let Some(progress) = &mut progress else { return Err(error.into()) };
        progress.call_off();
        let stop = Decision::Stop(StopReason::Deadline);
        progress.emit(&self.shared.config, error.verdict(), stop);
        progress.last_answer(Err(error.into()), in_flight)
    }
}

/// Corrects the verdict on a service that failed before it was called: the request was never sent,
/// whatever the error says.
fn unsent(verdict: Verdict) -> Verdict {
    match verdict.class() {
        Class::Transient => {
            Verdict::not_sent().with_cause(verdict.cause()).with_hint(verdict.hint())
        }
        _ => verdict,
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

pin_project! {
    /// An attempt: readies a service of its own, then calls it.
    #[project = CallProject]
    pub(super) enum CallWhenReady<S, Req>
    where
        S: Service<Req>,
    {
        // Boxed: it is rare, and unboxed every call's future would have room for a request.
        Readying { waiting: Box<(S, Option<Req>)> },
        Calling { #[pin] future: S::Future },
        // Ended before its answer. Nothing is held any more.
        Ended,
    }
}

impl<S, Req> CallWhenReady<S, Req>
where
    S: Service<Req>,
{
    pub(super) fn new(service: S, request: Req) -> Self {
        Self::Readying { waiting: Box::new((service, Some(request))) }
    }

    /// An attempt whose service was ready and has been called.
    #[inline]
    pub(super) fn calling(future: S::Future) -> Self {
        Self::Calling { future }
    }

    /// Drops the service, or the call to it, now.
    pub(super) fn end(mut self: Pin<&mut Self>) {
        self.set(Self::Ended);
    }

    /// Returns the request if the service didn't get ready, so that it was never sent.
    pub(super) fn take_unsent(self: Pin<&mut Self>) -> Option<Req> {
        match self.project() {
            CallProject::Readying { waiting } => waiting.1.take(),
            CallProject::Calling { .. } | CallProject::Ended => None,
        }
    }

    /// Whether the service got ready and was called.
    pub(super) fn was_called(&self) -> bool {
        matches!(self, Self::Calling { .. })
    }

    /// Polls the attempt. `call` makes the call when the service is ready.
    #[inline]
    pub(super) fn poll_with(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut S, Req) -> S::Future,
    ) -> Poll<Result<S::Response, S::Error>> {
        if !self.was_called() {
            ready!(self.as_mut().poll_ready(cx, call))?;
        }
        self.poll_called(cx)
    }

    /// Polls the call that was made.
    #[inline]
    pub(super) fn poll_called(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, S::Error>> {
        match self.project() {
            CallProject::Calling { future } => future.poll(cx),
            CallProject::Readying { .. } | CallProject::Ended => panic!("polled after it was done"),
        }
    }

    /// Readies the service and makes the call. SavedRequest out of line: most calls were made before the
    /// first poll.
    #[cold]
    pub(super) fn poll_ready(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut S, Req) -> S::Future,
    ) -> Poll<Result<(), S::Error>> {
        let CallProject::Readying { waiting } = self.as_mut().project() else {
            return Poll::Ready(Ok(()));
        };
        let (service, request) = &mut **waiting;
        ready!(service.poll_ready(cx))?;
        // Without a request it is polled after its end, which no future allows.
        let request = request.take().expect("polled after it was done");
        let future = call(service, request);
        self.set(Self::Calling { future });
        Poll::Ready(Ok(()))
    }
}
