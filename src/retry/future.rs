use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_service::Service;

use super::attempt::Attempt;
use super::config::Shared;
use super::decision::is_rejected_locally;
use super::progress::CallProgress;
use crate::classify::Classify;
use crate::error::{AttemptTimedOut, BoxError, CredentialRejected, DeadlineExceeded};
use crate::event::{Decision, StopReason};
use crate::replay::Replay;
use crate::scope;
use crate::sharded::ShardRef;
use crate::time::{self, Instant, Sleep};
use crate::verdict::{Class, Verdict};

/// The number of steps after which a poll yields to the other tasks of its thread: attempts can fail
/// at once and without a wait between them.
const MAX_STEPS_PER_POLL: u32 = 64;

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
        // Ends an attempt at its timeout or deadline, or the wait between two attempts.
        #[pin]
        timer: Option<Sleep>,
        saved: Option<R::SavedRequest>,
        // `None`: the result is returned without a decision, because an outer retry counts the
        // attempts or the call's deadline has passed.
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
        // An attempt is in flight, or readies its service. A result that is retried → `Waiting`.
        Attempting { #[pin] attempt: Attempt<S, Req> },
        // Between two attempts, with the next request. The timer ends it → `Attempting`.
        // Boxed: it is rare, and a request is as large as all the rest.
        Waiting { request: Option<Box<Req>> },
        // `poll_ready` failed before the first attempt. A retry of that error → `Waiting`. Without
        // an error the call is over.
        Unready { error: Option<BoxError>, request: Option<Box<Req>> },
    }
}

impl<S, Req, C, R> ResponseFuture<S, Req, C, R>
where
    S: Service<Req>,
    R: Replay<Req>,
{
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
    pub(super) fn called(future: S::Future) -> Self {
        Self::Attempting { attempt: Attempt::called(future) }
    }

    pub(super) fn readying(service: S, request: Req) -> Self {
        Self::Attempting { attempt: Attempt::new(service, request) }
    }

    /// Returns the request of an attempt whose service didn't get ready, so that it was never sent.
    fn take_unsent(self: Pin<&mut Self>) -> Option<Req> {
        match self.project() {
            StateProject::Attempting { attempt } => attempt.take_unsent(),
            StateProject::Unready { request, .. } => request.take().map(|request| *request),
            StateProject::Waiting { .. } => None,
        }
    }

    /// Returns whether the attempt's service got ready and was called.
    fn was_called(&self) -> bool {
        matches!(self, Self::Attempting { attempt } if attempt.was_called())
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
        for _ in 0..MAX_STEPS_PER_POLL {
            let mut result = match (this.state.as_mut().project(), &mut *this.progress) {
                (StateProject::Attempting { attempt }, Some(progress)) => {
                    progress.poll(attempt, this.shared.config.attempt_timeout, cx)
                }
                _ => match ready!(this.poll_rare_state(cx)) {
                    Some(result) => Poll::Ready(result),
                    None => continue,
                },
            };
            if result.is_pending() {
                result = this.poll_limits(cx);
            }
            // Classified in place: a response is large, and each move copies it.
            let verdict = match (&result, &this.progress) {
                (Poll::Ready(result), Some(_)) => this.verdict(result),
                _ => return result,
            };
            if verdict.is_success() {
                return result;
            }
            let failed = ready!(result);
            if let Some(output) = this.retry_or_return(failed, verdict) {
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
    /// Polls all but an attempt of this layer's own. Returns `None` when the next attempt starts.
    fn poll_rare_state(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<S::Response, BoxError>>> {
        match self.state.as_mut().project() {
            StateProject::Attempting { attempt } => {
                let call =
                    |service: &mut S, request| scope::call_later(true, || service.call(request));
                attempt.poll(cx, call).map(|result| Some(result.map_err(Into::into)))
            }
            StateProject::Waiting { request } => {
                ready!(time::poll_timer(self.timer.as_mut(), cx));
                let request = request.take().expect("future polled after completion");
                if let Some(progress) = self.progress {
                    progress.start_next_attempt();
                }
                self.state.set(State::readying(self.shared.unready.unready_clone(), *request));
                Poll::Ready(None)
            }
            StateProject::Unready { error, .. } => {
                Poll::Ready(Some(Err(error.take().expect("future polled after completion"))))
            }
        }
    }

    /// Ends an attempt at its timeout, or the whole call at its deadline.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Result<S::Response, BoxError>> {
        let (StateProject::Attempting { attempt }, Some(progress)) =
            (self.state.as_mut().project(), &mut self.progress)
        else {
            return Poll::Pending;
        };
        // The attempt may be waiting for something that the previous response holds.
        progress.drop_previous_response();
        let Some(limit) = progress.next_limit() else { return Poll::Pending };
        if self.timer.as_ref().as_pin_ref().is_none_or(|timer| timer.deadline() != limit) {
            self.timer.set(Some(time::sleep_until(limit)));
        }
        ready!(time::poll_timer(self.timer.as_mut(), cx));
        let was_called = attempt.was_called();
        let timeout = progress.end_at(limit, attempt, &self.shared.config);
        Poll::Ready(match timeout {
            Some(timeout) => Err(AttemptTimedOut::new(timeout).into()),
            None => self.deadline_exceeded(was_called),
        })
    }

    fn verdict(&self, result: &Result<S::Response, BoxError>) -> Verdict {
        let result = result.as_ref().map_err(|error| &**error as _);
        self.shared.config.classifier.classify(result)
    }

    /// Decides about a result that isn't a success. Returns the caller's result, or `None` if another
    /// attempt follows (→ `Waiting`).
    fn retry_or_return(
        &mut self,
        result: Result<S::Response, BoxError>,
        verdict: Verdict,
    ) -> Option<Result<S::Response, BoxError>> {
        let Some(progress) = self.progress else {
            return Some(result);
        };
        let config = &self.shared.config;
        let was_called = self.state.was_called() || progress.has_timeout();
        let verdict = if was_called { verdict } else { as_unsent(verdict) };
        let now = time::now();
        let unsent = self.state.as_mut().take_unsent();
        let replayable = unsent.is_some() || self.saved.is_some();
        let mut decision = progress.decide(config, &verdict, replayable, now);
        if let Decision::Retry { wait } = decision {
            // The next request is made now, while this result can still be returned if the request
            // turns out not to be repeatable.
            let next = match (unsent, self.saved.take()) {
                (Some(request), saved) => Some((request, saved)),
                (None, saved) => {
                    let last = progress.is_next_last();
                    saved.and_then(|saved| config.replay.restore(saved, last))
                }
            };
            if let Some((mut request, saved)) = next {
                config.write_retry_count(&mut request, progress.attempts_made());
                progress.emit(config, verdict, decision);
                *self.saved = saved;
                progress.keep_result(result, &verdict);
                if !wait.is_zero() && !config.keep_last_response {
                    // Frees what the response holds during the wait.
                    progress.drop_previous_response();
                }
                self.wait(now, wait, request);
                return None;
            }
            progress.cancel_retry();
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
        Some(progress.final_result(result, !is_rejected_locally(&verdict)))
    }

    /// → `Waiting`. Drops the last attempt before the wait.
    fn wait(&mut self, now: Instant, wait: Duration, request: Req) {
        self.state.set(State::Waiting { request: Some(Box::new(request)) });
        let timer = (!wait.is_zero()).then(|| time::sleep_until(time::after(now, wait)));
        self.timer.set(timer);
    }

    /// Ends the call at its deadline. `was_called`: whether an attempt was in flight.
    fn deadline_exceeded(&mut self, was_called: bool) -> Result<S::Response, BoxError> {
        self.state.set(State::Unready { error: None, request: None });
        let mut progress = self.progress.take();
        let error = DeadlineExceeded::new(progress.as_ref().map_or(1, CallProgress::attempt));
        let Some(progress) = &mut progress else { return Err(error.into()) };
        progress.cancel_retry();
        let stop = Decision::Stop(StopReason::Deadline);
        progress.emit(&self.shared.config, error.verdict(), stop);
        progress.final_result(Err(error.into()), was_called)
    }
}

/// Corrects the verdict on an error of `poll_ready`: the request was never sent, whatever the class of
/// the error.
fn as_unsent(verdict: Verdict) -> Verdict {
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
