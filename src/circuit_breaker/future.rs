use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::permit::Passage;
use crate::classify::Classify;
use crate::error::BoxError;
use crate::scope;
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
        // Sent: waiting for the answer.
        Called { #[pin] future: S::Future, passage: Passage, classifier: C },
        // Not sent, or not yet. None: it has answered.
        Uncalled { uncalled: Option<Uncalled<S, Req, C>> },
    }
}

/// A call that isn't sent.
pub(super) enum Uncalled<S, Req, C> {
    /// Let through, and waiting for the inner service to get ready. Boxed: it is rare, and as
    /// large as a request, which every call's future would be.
    Waiting(Box<Waiting<S, Req, C>>),
    /// Turned away, or failed to get ready: answers at the first poll.
    Failed(BoxError),
}

/// A call that is sent when its service is ready.
pub(super) struct Waiting<S, Req, C> {
    pub(super) service: S,
    pub(super) request: Req,
    pub(super) passage: Passage,
    pub(super) classifier: C,
    /// Whether it belongs to a call that layers above know of.
    pub(super) scoped: bool,
}

impl<S: Service<Req>, Req, C> ResponseFuture<S, Req, C> {
    #[inline]
    pub(super) fn called(future: S::Future, passage: Passage, classifier: C) -> Self {
        Self { state: State::Called { future, passage, classifier } }
    }

    #[inline]
    pub(super) fn uncalled(uncalled: Uncalled<S, Req, C>) -> Self {
        Self { state: State::Uncalled { uncalled: Some(uncalled) } }
    }
}

impl<S, Req, C> Future for ResponseFuture<S, Req, C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
{
    type Output = Result<S::Response, BoxError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.state, State::Uncalled { .. }) {
            ready!(self.as_mut().project().state.poll_called(cx))?;
        }
        let Project::Called { future, passage, classifier } = self.project().state.project() else {
            unreachable!("it has been called")
        };
        let answer = future.poll(cx);
        // Judged where it lies: an answer is large, and each move of it a copy.
        if let Poll::Ready(Ok(response)) = &answer {
            passage.report(&classifier.classify(Ok(response)));
        }
        answer.map_err(|error| passage.failed(error.into(), classifier))
    }
}

impl<S, Req, C> State<S, Req, C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
{
    /// Goes on until the call is sent. Apart, as most calls were sent before the first poll.
    #[cold]
    fn poll_called(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let Project::Uncalled { uncalled } = self.as_mut().project() else {
            return Poll::Ready(Ok(()));
        };
        // Polled on after its end: a misuse by the caller, as with every future.
        let mut waiting = match uncalled.take().expect("polled after it was done") {
            Uncalled::Waiting(waiting) => waiting,
            Uncalled::Failed(error) => return Poll::Ready(Err(error)),
        };
        let Poll::Ready(ready) = waiting.service.poll_ready(cx) else {
            *uncalled = Some(Uncalled::Waiting(waiting));
            return Poll::Pending;
        };
        let Waiting { mut service, request, mut passage, classifier, scoped } = *waiting;
        ready.map_err(|error| passage.failed(error.into(), &classifier))?;
        // Getting ready took its time: the circuit may have opened meanwhile.
        passage.renew().map_err(|open| open as BoxError)?;
        passage.sent();
        let future = scope::call_later(scoped, || {
            if scoped {
                scope::note_sent(time::now());
            }
            service.call(request)
        });
        self.set(Self::Called { future, passage, classifier });
        Poll::Ready(Ok(()))
    }
}

impl<S: Service<Req>, Req, C> fmt::Debug for ResponseFuture<S, Req, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
