use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::permit::Passage;
use crate::classify::Classify;
use crate::error::BoxError;
use crate::scope::{self, CallScope};
use crate::spare::CallWhenReady;
use crate::time;

pin_project! {
    /// The future of a [`CircuitBreaker`](super::CircuitBreaker).
    pub struct ResponseFuture<S, Req, C>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req, C>,
    }
}

pin_project! {
    #[project = Project]
    enum State<S, Req, C>
    where
        S: Service<Req>,
    {
        // Let through: readying the inner service if need be, then waiting for its answer.
        Called { #[pin] call: CallWhenReady<S, Req>, passage: Passage, classifier: C, scoped: bool },
        // Turned away, or failed to get ready: answers at the first poll.
        Failed { error: Option<BoxError> },
    }
}

impl<S: Service<Req>, Req, C> ResponseFuture<S, Req, C> {
    #[inline]
    pub(super) fn calling(future: S::Future, passage: Passage, classifier: C) -> Self {
        let call = CallWhenReady::calling(future);
        Self { state: State::Called { call, passage, classifier, scoped: false } }
    }

    pub(super) fn readying(service: S, request: Req, passage: Passage, classifier: C) -> Self {
        let call = CallWhenReady::new(service, request);
        let scoped = CallScope::offered().is_some();
        Self { state: State::Called { call, passage, classifier, scoped } }
    }

    pub(super) fn failed(error: BoxError) -> Self {
        Self { state: State::Failed { error: Some(error) } }
    }
}

impl<S, Req, C> Future for ResponseFuture<S, Req, C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (call, passage, classifier, scoped) = match self.project().state.project() {
            Project::Called { call, passage, classifier, scoped } => {
                (call, passage, classifier, *scoped)
            }
            Project::Failed { error } => {
                let error = error.take().expect("polled after it was done");
                return Poll::Ready(Err(error));
            }
        };
        let answer = call.poll_unless(cx, |service, request| {
            // Getting ready took its time: the circuit may have opened meanwhile.
            passage.renew().map_err(|open| open as BoxError)?;
            passage.sent();
            Ok::<_, BoxError>(scope::call_later(scoped, || {
                if scoped {
                    scope::note_sent(time::now());
                }
                service.call(request)
            }))
        });
        // Judged where it lies: an answer is large, and each move of it a copy.
        if let Poll::Ready(result) = &answer {
            passage.report(&classifier.classify(result.as_ref().map_err(|error| &**error as _)));
        }
        answer
    }
}

impl<S: Service<Req>, Req, C> fmt::Debug for ResponseFuture<S, Req, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
