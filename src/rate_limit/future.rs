use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::cost::{OneEach, Settle};
use super::permit::{Permit, Reservation};
use super::queue::Ticket;
use crate::classify::Classify;
use crate::error::BoxError;
use crate::scope;

pin_project! {
    /// The future of a [`RateLimit`](super::RateLimit).
    pub struct ResponseFuture<S, Req, C, W = OneEach>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req, C, W>,
    }
}

pin_project! {
    #[project = Project]
    enum State<S, Req, C, W>
    where
        S: Service<Req>,
    {
        // Sent: waiting for the answer.
        Called { #[pin] future: S::Future, permit: Permit, classifier: C, cost: W },
        // Not sent, or not yet. None: it has answered.
        Uncalled { uncalled: Option<Uncalled<S, Req, C, W>> },
    }
}

/// A call that isn't sent.
pub(super) enum Uncalled<S, Req, C, W> {
    /// Boxed: it is rare, and larger than all else that every call's future holds.
    Waiting(Box<Waiting<S, Req, C, W>>),
    /// Turned away: answers at the first poll.
    Refused(BoxError),
}

/// A call that is sent when it has passed and its service is ready.
pub(super) struct Waiting<S, Req, C, W> {
    pub(super) entry: Entry,
    pub(super) service: S,
    pub(super) request: Req,
    pub(super) classifier: C,
    pub(super) cost: W,
    /// Whether it belongs to a call that layers above know of.
    pub(super) scoped: bool,
}

/// How far it has got past the limiter.
pub(super) enum Entry {
    InLine(Pin<Box<Ticket>>),
    Passed(Reservation),
}

impl<S: Service<Req>, Req, C, W> ResponseFuture<S, Req, C, W> {
    #[inline]
    pub(super) fn called(future: S::Future, permit: Permit, classifier: C, cost: W) -> Self {
        Self { state: State::Called { future, permit, classifier, cost } }
    }

    pub(super) fn uncalled(uncalled: Uncalled<S, Req, C, W>) -> Self {
        Self { state: State::Uncalled { uncalled: Some(uncalled) } }
    }
}

impl<S, Req, C, W> Future for ResponseFuture<S, Req, C, W>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    W: Settle<S::Response>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.state, State::Uncalled { .. }) {
            ready!(self.as_mut().project().state.poll_called(cx))?;
        }
        let Project::Called { future, permit, classifier, cost } = self.project().state.project()
        else {
            unreachable!("it has been called")
        };
        let mut answer = future.poll(cx);
        // Judged where it lies: an answer is large, and each move of it a copy.
        if let Poll::Ready(Ok(response)) = &mut answer {
            permit.take_in(response, classifier, cost);
        }
        answer.map_err(|error| permit.failed(error.into(), classifier))
    }
}

impl<S, Req, C, W> State<S, Req, C, W>
where
    S: Service<Req> + Clone,
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
            Uncalled::Refused(error) => return Poll::Ready(Err(error)),
        };
        let Poll::Ready(permit) = waiting.poll_permit(cx) else {
            *uncalled = Some(Uncalled::Waiting(waiting));
            return Poll::Pending;
        };
        let permit = permit?;
        let Waiting { entry: _, mut service, request, classifier, cost, scoped } = *waiting;
        let future = scope::call_later(scoped, || service.call(request));
        self.set(Self::Called { future, permit, classifier, cost });
        Poll::Ready(Ok(()))
    }
}

impl<S, Req, C, W> Waiting<S, Req, C, W>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
{
    /// Waits for its turn, and then for its service to get ready; sent, if the gate is open still.
    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, BoxError>> {
        loop {
            match &mut self.entry {
                Entry::InLine(ticket) => {
                    self.entry = Entry::Passed(ready!(ticket.as_mut().poll(cx))?);
                }
                Entry::Passed(reservation) => {
                    if let Err(error) = ready!(self.service.poll_ready(cx)) {
                        let error = error.into();
                        reservation.settle(&self.classifier.classify(Err(&*error)));
                        return Poll::Ready(Err(error));
                    }
                    if let Some(permit) = reservation.send() {
                        return Poll::Ready(Ok(permit));
                    }
                    // The gate has closed meanwhile. The readiness goes with the old handle.
                    self.service = self.service.clone();
                    self.entry = Entry::InLine(Box::pin(reservation.line_up_anew()?));
                }
            }
        }
    }
}

impl<S: Service<Req>, Req, C, W> fmt::Debug for ResponseFuture<S, Req, C, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
