use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_service::Service;

use super::decision::{Decision, StopReason, is_turned_away};
use super::progress::{Ended, Progress, poll_timer};
use super::service::Shared;
use super::{CredentialRejected, DeadlineExceeded};
use crate::classify::{Class, Classify, Verdict};
use crate::error::BoxError;
use crate::replay::Replay;
use crate::scope;
use crate::spare::CallWhenReady;
use crate::time::{self, Instant, Sleep};

/// How many steps are taken in one poll. Attempts that fail at once, one after
/// the other without a wait, must let the other tasks of the thread run.
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
        // Ends an attempt that takes too long, or a wait between two.
        #[pin]
        timer: Option<Sleep>,
        kept: Option<R::Kept>,
        // What the last attempt that wasn't turned away came to, for when none follows.
        earlier: Option<Box<Result<S::Response, BoxError>>>,
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
        // didn't get ready. As after an answer. Without an error the call is over.
        Unready { error: Option<BoxError> },
    }
}

impl<S, Req, C, R> ResponseFuture<S, Req, C, R>
where
    S: Service<Req>,
    R: Replay<Req>,
{
    /// `progress`: `None` if a retry above counts the attempts, and this one only passes on.
    pub(super) fn new(
        attempt: Result<CallWhenReady<S, Req>, BoxError>,
        kept: Option<R::Kept>,
        progress: Option<Progress>,
        shared: Arc<Shared<S, C, R>>,
    ) -> Self {
        let state = match attempt {
            Ok(call) => State::Attempting { call },
            Err(error) => State::Unready { error: Some(error) },
        };
        Self { state, timer: None, kept, earlier: None, progress, shared }
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
            let (result, called) = match this.state.as_mut().project() {
                StateProject::Attempting { call } => {
                    let Some(progress) = this.progress else {
                        let call_now = |service: &mut S, request| {
                            scope::call_later(true, || service.call(request))
                        };
                        return call.poll_with(cx, call_now).map_err(Into::into);
                    };
                    let timeout = this.shared.config.attempt_timeout;
                    match progress.poll_attempt(call, this.timer.as_mut(), timeout, cx) {
                        Poll::Ready(Ended::Answered { result, called }) => (result, called),
                        Poll::Ready(Ended::PastDeadline) => {
                            return Poll::Ready(Err(this.past_deadline()));
                        }
                        Poll::Pending => {
                            // It may wait for what an earlier response holds.
                            this.let_go();
                            return Poll::Pending;
                        }
                    }
                }
                StateProject::Waiting { request } => {
                    ready!(poll_timer(this.timer.as_mut(), cx));
                    let request = request.take().expect("polled after it was done");
                    this.attempt(request);
                    continue;
                }
                StateProject::Unready { error } => {
                    (Err(error.take().expect("polled after it was done")), false)
                }
            };
            if let Some(output) = this.answered(result, called) {
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
    C: Classify<S::Response>,
    R: Replay<Req>,
{
    /// `Waiting` → `Attempting`.
    fn attempt(&mut self, request: Req) {
        if let Some(progress) = self.progress {
            progress.next_attempt();
        }
        let call = CallWhenReady::new(self.shared.spare.fresh(), request);
        self.state.set(State::Attempting { call });
    }

    /// What goes to the caller after an answer. `None`: nothing yet, but → `Waiting`.
    fn answered(
        &mut self,
        result: Result<S::Response, BoxError>,
        called: bool,
    ) -> Option<Result<S::Response, BoxError>> {
        let Some(progress) = self.progress else {
            return Some(result);
        };
        let config = &self.shared.config;
        let seen = result.as_ref().map_err(|error| &**error as _);
        let verdict = config.classifier.classify(seen);
        if verdict.is_success() {
            return Some(result);
        }
        let verdict = if called { verdict } else { unsent(verdict) };
        let now = time::now();
        let (kept, answered) = (self.kept.is_some(), self.earlier.is_some());
        let mut decision = progress.decide(config, &verdict, kept, answered, now);
        if let Decision::Retry { wait } = decision {
            // Made now, while the answer is still here to be returned if the
            // request turns out not to be repeatable.
            let last = progress.next_is_last();
            let again = self.kept.take().and_then(|kept| config.replay.again(kept, last));
            if let Some((mut request, kept)) = again {
                config.count(&mut request, progress.attempt());
                progress.tell(config, verdict, decision);
                *self.kept = kept;
                if !is_turned_away(&verdict) {
                    *self.earlier = Some(Box::new(result));
                }
                // A response goes before the wait: what it holds is free meanwhile.
                if !wait.is_zero() && !config.hold_answers {
                    self.let_go();
                }
                self.wait(now, wait, request);
                return None;
            }
            progress.call_off();
            decision = Decision::Stop(StopReason::NotReplayable);
        }
        progress.tell(config, verdict, decision);
        if config.credential_error && verdict.class() == Class::CredentialRejected {
            return Some(Err(CredentialRejected::new(verdict.cause(), result.err()).into()));
        }
        if is_turned_away(&verdict)
            && let Some(earlier) = self.earlier.take()
        {
            return Some(*earlier);
        }
        Some(result)
    }

    /// Lets go of an earlier response. An error holds nothing.
    fn let_go(&mut self) {
        self.earlier.take_if(|earlier| earlier.is_ok());
    }

    /// → `Waiting`. What is left of the last attempt goes now, not after the wait.
    fn wait(&mut self, now: Instant, wait: Duration, request: Req) {
        self.state.set(State::Waiting { request: Some(request) });
        let timer = (!wait.is_zero()).then(|| time::sleep_until(time::after(now, wait)));
        self.timer.set(timer);
    }

    /// The deadline has passed during an attempt, which goes now.
    fn past_deadline(&mut self) -> BoxError {
        self.state.set(State::Unready { error: None });
        let attempt = self.progress.as_ref().map_or(1, Progress::attempt);
        let error = DeadlineExceeded::new(attempt);
        if let Some(progress) = self.progress {
            let stop = Decision::Stop(StopReason::Deadline);
            progress.call_off();
            progress.tell(&self.shared.config, error.verdict(), stop);
        }
        error.into()
    }
}

/// What failed before it was called was never sent, whatever its error says.
fn unsent(verdict: Verdict) -> Verdict {
    match verdict.class() {
        Class::Transient => Verdict::not_sent().cause_is(verdict.cause()).hint_is(verdict.hint()),
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
