//! The state of a call in a layer that sends it at once, sends it later, or rejects it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::error::BoxError;

pin_project! {
    /// The state of a call; `F` is the inner service's future.
    #[project = CallStateProject]
    pub(crate) enum CallState<F, H, W> {
        // The inner service was called. `in_flight` is notified of the result.
        Sent { #[pin] future: F, in_flight: H },
        // Not sent yet, or rejected. `None` after completion.
        Unsent { unsent: Option<Unsent<W>> },
    }
}

/// A call that has not been sent.
pub(crate) enum Unsent<W> {
    /// Boxed: it holds the request, and is rare.
    Pending(Box<W>),
    /// The first poll returns this error.
    Rejected(BoxError),
}

/// What a layer holds for a call from when it is sent until its future is dropped.
pub(crate) trait InFlight<Res> {
    /// Observes the response in place.
    fn on_response(&mut self, response: &mut Res);

    /// Observes the error and returns it.
    fn on_error(&mut self, error: BoxError) -> BoxError;
}

/// A call that waits to be sent.
pub(crate) trait PendingCall: Sized {
    /// The inner service's future.
    type Future;
    /// What the layer holds once the call is sent.
    type InFlight;
    /// The permission to send the call.
    type Permit;

    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Permit, BoxError>>;

    /// Calls the inner service, which is ready.
    fn send(self, permit: Self::Permit) -> (Self::Future, Self::InFlight);
}

impl<F, H, W> CallState<F, H, W> {
    #[inline]
    pub(crate) fn sent(future: F, in_flight: H) -> Self {
        Self::Sent { future, in_flight }
    }

    pub(crate) fn pending(call: W) -> Self {
        Self::Unsent { unsent: Some(Unsent::Pending(Box::new(call))) }
    }

    pub(crate) fn rejected(error: BoxError) -> Self {
        Self::Unsent { unsent: Some(Unsent::Rejected(error)) }
    }
}

impl<F, H, W, Res, E> Future for CallState<F, H, W>
where
    F: Future<Output = Result<Res, E>>,
    E: Into<BoxError>,
    H: InFlight<Res>,
    W: PendingCall<Future = F, InFlight = H>,
{
    type Output = Result<Res, BoxError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project() {
                CallStateProject::Sent { future, in_flight } => {
                    // Observed in place: a response is large, and each move copies it.
                    let mut result = future.poll(cx);
                    if let Poll::Ready(Ok(response)) = &mut result {
                        in_flight.on_response(response);
                    }
                    return result.map_err(|error| in_flight.on_error(error.into()));
                }
                CallStateProject::Unsent { unsent } => {
                    let (future, in_flight) = ready!(poll_send(unsent, cx))?;
                    self.set(Self::Sent { future, in_flight });
                }
            }
        }
    }
}

/// The inner service's future, and what the layer holds for the call.
type SentCall<W> = (<W as PendingCall>::Future, <W as PendingCall>::InFlight);

/// Sends a pending call once it has a permit.
#[cold]
fn poll_send<W: PendingCall>(
    unsent: &mut Option<Unsent<W>>,
    cx: &mut Context<'_>,
) -> Poll<Result<SentCall<W>, BoxError>> {
    let mut pending = match unsent.take().expect("future polled after completion") {
        Unsent::Pending(pending) => pending,
        Unsent::Rejected(error) => return Poll::Ready(Err(error)),
    };
    let Poll::Ready(permit) = pending.poll_permit(cx) else {
        *unsent = Some(Unsent::Pending(pending));
        return Poll::Pending;
    };
    Poll::Ready(permit.map(|permit| pending.send(permit)))
}
