use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

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
        state: State<S, Req>,
        passage: Option<Passage>,
        classifier: Option<C>,
        scoped: bool,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<S, Req>
    where
        S: Service<Req>,
    {
        // Let through: readying the inner service if need be, then waiting for its answer.
        Called { #[pin] call: CallWhenReady<S, Req> },
        // Turned away, or failed to get ready: answers at the first poll.
        Failed { error: Option<BoxError> },
    }
}

impl<S: Service<Req>, Req, C> ResponseFuture<S, Req, C> {
    pub(super) fn calling(future: S::Future, passage: Passage, classifier: C) -> Self {
        Self::called(CallWhenReady::calling(future), passage, classifier)
    }

    pub(super) fn readying(service: S, request: Req, passage: Passage, classifier: C) -> Self {
        Self::called(CallWhenReady::new(service, request), passage, classifier)
    }

    fn called(call: CallWhenReady<S, Req>, passage: Passage, classifier: C) -> Self {
        let scoped = CallScope::offered().is_some();
        let state = State::Called { call };
        Self { state, passage: Some(passage), classifier: Some(classifier), scoped }
    }

    pub(super) fn failed(error: BoxError) -> Self {
        let state = State::Failed { error: Some(error) };
        Self { state, passage: None, classifier: None, scoped: false }
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
        let this = self.project();
        let call = match this.state.project() {
            StateProject::Called { call } => call,
            StateProject::Failed { error } => {
                let error = error.take().expect("polled after it was done");
                return Poll::Ready(Err(error));
            }
        };
        let (scoped, passage) = (*this.scoped, &mut *this.passage);
        let result = ready!(call.poll_unless(cx, |service, request| {
            // Getting ready took its time: the circuit may have opened meanwhile.
            if let Some(granted) = passage.take() {
                let renewed = granted.renew().map_err(|open| open as BoxError)?;
                passage.insert(renewed).sent();
            }
            Ok::<_, BoxError>(scope::call_later(scoped, || {
                if scoped {
                    scope::note_sent(time::now());
                }
                service.call(request)
            }))
        }));
        if let (Some(passage), Some(classifier)) = (this.passage.take(), this.classifier.take()) {
            passage.report(&classifier.classify(result.as_ref().map_err(|error| &**error as _)));
        }
        Poll::Ready(result)
    }
}

impl<S: Service<Req>, Req, C> fmt::Debug for ResponseFuture<S, Req, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
