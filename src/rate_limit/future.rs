use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::limiter::Permit;
use super::queue::Ticket;
use crate::classify::Classify;
use crate::error::BoxError;
use crate::scope::{self, CallScope};
use crate::spare::CallWhenReady;

pin_project! {
    /// The future of a [`RateLimit`](super::RateLimit).
    pub struct ResponseFuture<S, Req, C>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req>,
        permit: Option<Permit>,
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
        // In the line; with a permit it becomes `Called`.
        Waiting { #[pin] ticket: Ticket, call: Option<(S, Req)> },
        // Has its permit: readying the inner service if it waited, then waiting for the answer.
        Called { #[pin] call: CallWhenReady<S, Req> },
        // Turned away: answers at the first poll.
        Failed { error: Option<BoxError> },
    }
}

impl<S: Service<Req>, Req, C> ResponseFuture<S, Req, C> {
    pub(super) fn calling(future: S::Future, permit: Permit, classifier: C) -> Self {
        let state = State::Called { call: CallWhenReady::calling(future) };
        Self { state, permit: Some(permit), classifier: Some(classifier), scoped: false }
    }

    pub(super) fn waiting(ticket: Ticket, service: S, request: Req, classifier: C) -> Self {
        let scoped = CallScope::offered().is_some();
        let state = State::Waiting { ticket, call: Some((service, request)) };
        Self { state, permit: None, classifier: Some(classifier), scoped }
    }

    pub(super) fn failed(error: BoxError) -> Self {
        let state = State::Failed { error: Some(error) };
        Self { state, permit: None, classifier: None, scoped: false }
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
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProject::Waiting { ticket, call } => match ready!(ticket.poll(cx)) {
                    Ok(permit) => {
                        *this.permit = Some(permit);
                        let (service, request) = call.take().expect("polled after it was done");
                        let call = CallWhenReady::new(service, request);
                        this.state.set(State::Called { call });
                    }
                    Err(rejection) => return Poll::Ready(Err(rejection.into())),
                },
                StateProject::Called { call } => {
                    let (scoped, permit) = (*this.scoped, &mut *this.permit);
                    let result = ready!(call.poll_with(cx, |service, request| {
                        if let Some(permit) = permit {
                            permit.sent();
                        }
                        scope::call_later(scoped, || service.call(request))
                    }));
                    let result = result.map_err(Into::into);
                    if let (Some(permit), Some(classifier)) =
                        (this.permit.take(), this.classifier.take())
                    {
                        let seen = result.as_ref().map_err(|error| &**error as _);
                        permit.settle(&classifier.classify(seen));
                    }
                    return Poll::Ready(result);
                }
                StateProject::Failed { error } => {
                    let error = error.take().expect("polled after it was done");
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl<S: Service<Req>, Req, C> fmt::Debug for ResponseFuture<S, Req, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
