use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::permit::CallPermit;
use crate::call_state::{CallState, InFlight, PendingCall};
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
        pub(super) state: CallState<S::Future, SentCall<C>, WaitingCall<S, Req, C>>,
    }
}

/// A call that was sent.
pub(super) struct SentCall<C> {
    pub(super) permit: CallPermit,
    pub(super) classifier: C,
}

/// A call that is sent when its service is ready.
pub(super) struct WaitingCall<S, Req, C> {
    pub(super) service: S,
    pub(super) request: Req,
    pub(super) passed: SentCall<C>,
    /// Whether a layer above offered its call scope to this call.
    pub(super) scoped: bool,
}

impl<S, Req, C> Future for ResponseFuture<S, Req, C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
{
    type Output = Result<S::Response, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx)
    }
}

impl<Res, C: Classify<Res>> InFlight<Res> for SentCall<C> {
    // Without it LLVM doesn't inline this into `poll`, its only caller, and the whole verdict has
    // to be built.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn on_response(&mut self, response: &mut Res) {
        self.permit.report(&self.classifier.classify(Ok(response)));
    }

    #[cold]
    fn on_error(&mut self, error: BoxError) -> BoxError {
        self.permit.report(&self.classifier.classify(Err(&*error)));
        error
    }
}

impl<S, Req, C> PendingCall for WaitingCall<S, Req, C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
{
    type Future = S::Future;
    type InFlight = SentCall<C>;
    type Permit = ();

    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let ready = ready!(self.service.poll_ready(cx));
        ready.map_err(|error| InFlight::<S::Response>::on_error(&mut self.passed, error.into()))?;
        // WaitingCall for readiness took time, in which the circuit may have opened.
        Poll::Ready(self.passed.permit.renew().map_err(|open| open as BoxError))
    }

    fn send(self, (): ()) -> (S::Future, SentCall<C>) {
        let Self { mut service, request, mut passed, scoped } = self;
        passed.permit.sent();
        let future = scope::call_later(scoped, || {
            if scoped {
                scope::note_sent(time::now());
            }
            service.call(request)
        });
        (future, passed)
    }
}

impl<S: Service<Req>, Req, C> fmt::Debug for ResponseFuture<S, Req, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
