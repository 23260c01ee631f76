use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

pin_project! {
    /// An attempt: readies a service of its own, then calls it.
    #[project = Project]
    pub(super) enum CallWhenReady<S, Req>
    where
        S: Service<Req>,
    {
        // Boxed: it is rare, and unboxed every call's future would have room for a request.
        Readying { waiting: Box<(S, Option<Req>)> },
        Calling { #[pin] future: S::Future },
        // Ended before its answer. Nothing is held any more.
        Ended,
    }
}

impl<S, Req> CallWhenReady<S, Req>
where
    S: Service<Req>,
{
    pub(super) fn new(service: S, request: Req) -> Self {
        Self::Readying { waiting: Box::new((service, Some(request))) }
    }

    /// An attempt whose service was ready and has been called.
    #[inline]
    pub(super) fn calling(future: S::Future) -> Self {
        Self::Calling { future }
    }

    /// Drops the service, or the call to it, now.
    pub(super) fn end(mut self: Pin<&mut Self>) {
        self.set(Self::Ended);
    }

    /// Returns the request if the service didn't get ready, so that it was never sent.
    pub(super) fn take_unsent(self: Pin<&mut Self>) -> Option<Req> {
        match self.project() {
            Project::Readying { waiting } => waiting.1.take(),
            Project::Calling { .. } | Project::Ended => None,
        }
    }

    /// Whether the service got ready and was called.
    pub(super) fn was_called(&self) -> bool {
        matches!(self, Self::Calling { .. })
    }

    /// Polls the attempt. `call` makes the call when the service is ready.
    #[inline]
    pub(super) fn poll_with(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut S, Req) -> S::Future,
    ) -> Poll<Result<S::Response, S::Error>> {
        if !self.was_called() {
            ready!(self.as_mut().poll_ready(cx, call))?;
        }
        self.poll_called(cx)
    }

    /// Polls the call that was made.
    #[inline]
    pub(super) fn poll_called(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, S::Error>> {
        match self.project() {
            Project::Calling { future } => future.poll(cx),
            Project::Readying { .. } | Project::Ended => panic!("polled after it was done"),
        }
    }

    /// Readies the service and makes the call. SavedRequest out of line: most calls were made before the
    /// first poll.
    #[cold]
    pub(super) fn poll_ready(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut S, Req) -> S::Future,
    ) -> Poll<Result<(), S::Error>> {
        let Project::Readying { waiting } = self.as_mut().project() else {
            return Poll::Ready(Ok(()));
        };
        let (service, request) = &mut **waiting;
        ready!(service.poll_ready(cx))?;
        // Without a request it is polled after its end, which no future allows.
        let request = request.take().expect("polled after it was done");
        let future = call(service, request);
        self.set(Self::Calling { future });
        Poll::Ready(Ok(()))
    }
}
