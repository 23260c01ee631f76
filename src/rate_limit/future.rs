use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::cost::{Settle, UnitCost};
use super::permit::{Permit, Reservation};
use super::queue::QueuedCall;
use crate::call_state::{CallState, InFlight, PendingCall};
use crate::classify::Classify;
use crate::error::BoxError;
use crate::scope;

pin_project! {
    /// The future of a [`RateLimit`](super::RateLimit).
    pub struct ResponseFuture<S, Req, C, W = UnitCost>
    where
        S: Service<Req>,
    {
        #[pin]
        pub(super) state: CallState<S::Future, SentCall<C, W>, WaitingCall<S, Req, C, W>>,
    }
}

/// A call that was sent.
pub(super) struct SentCall<C, W> {
    pub(super) permit: Permit,
    pub(super) classifier: C,
    pub(super) cost: W,
}

/// A call that is sent when it has passed and its service is ready.
pub(super) struct WaitingCall<S, Req, C, W> {
    pub(super) entry: Entry,
    pub(super) service: S,
    pub(super) request: Req,
    pub(super) classifier: C,
    pub(super) cost: W,
    /// Whether a layer above_capacity offered its call scope to this call.
    pub(super) scoped: bool,
}

/// How far a call has got past the limiter.
pub(super) enum Entry {
    InLine(Pin<Box<QueuedCall>>),
    SentCall(Reservation),
}

impl<S, Req, C, W> Future for ResponseFuture<S, Req, C, W>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    W: Settle<S::Response>,
{
    type Output = Result<S::Response, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx)
    }
}

impl<Res, C, W> InFlight<Res> for SentCall<C, W>
where
    C: Classify<Res>,
    W: Settle<Res>,
{
    #[inline]
    fn on_response(&mut self, response: &mut Res) {
        self.permit.take_in(response, &self.classifier, &self.cost);
    }

    #[cold]
    fn on_error(&mut self, error: BoxError) -> BoxError {
        self.permit.settle(&self.classifier.classify(Err(&*error)));
        error
    }
}

impl<S, Req, C, W> PendingCall for WaitingCall<S, Req, C, W>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
{
    type Future = S::Future;
    type InFlight = SentCall<C, W>;
    type Permit = Permit;

    /// PendingCall for the call's turn, and then for its service to get ready. The call is sent if the
    /// gate is still open then.
    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, BoxError>> {
        loop {
            match &mut self.entry {
                Entry::InLine(ticket) => {
                    self.entry = Entry::SentCall(ready!(ticket.as_mut().poll(cx))?);
                }
                Entry::SentCall(reservation) => {
                    if let Err(error) = ready!(self.service.poll_ready(cx)) {
                        let error = error.into();
                        reservation.settle(&self.classifier.classify(Err(&*error)));
                        return Poll::Ready(Err(error));
                    }
                    if let Some(permit) = reservation.send() {
                        return Poll::Ready(Ok(permit));
                    }
                    // The gate has closed meanwhile. Dropping the old handle lets go of its
                    // readiness.
                    self.service = self.service.clone();
                    self.entry = Entry::InLine(Box::pin(reservation.line_up_anew()?));
                }
            }
        }
    }

    fn send(self, permit: Permit) -> (S::Future, SentCall<C, W>) {
        let Self { entry: _, mut service, request, classifier, cost, scoped } = self;
        if scoped {
            scope::note_queued(false);
        }
        let future = scope::call_later(scoped, || service.call(request));
        (future, SentCall { permit, classifier, cost })
    }
}

impl<S: Service<Req>, Req, C, W> fmt::Debug for ResponseFuture<S, Req, C, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
