use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

pin_project! {
    /// An attempt: readies a service of its own, then calls it.
    #[project = AttemptProject]
    pub(super) enum Attempt<S, Req>
    where
        S: Service<Req>,
    {
        // Boxed: it is rare, and every call's future would have room for a request otherwise.
        Readying { unready: Box<(S, Option<Req>)> },
        Called { #[pin] future: S::Future },
        // Dropped at a timeout or a deadline.
        Ended,
    }
}

impl<S, Req> Attempt<S, Req>
where
    S: Service<Req>,
{
    /// An attempt whose service is not ready yet.
    pub(super) fn new(service: S, request: Req) -> Self {
        Self::Readying { unready: Box::new((service, Some(request))) }
    }

    /// An attempt whose service was ready and has been called.
    pub(super) fn called(future: S::Future) -> Self {
        Self::Called { future }
    }

    /// Returns whether the service got ready and was called.
    pub(super) fn was_called(&self) -> bool {
        matches!(self, Self::Called { .. })
    }

    /// Returns the request if the service didn't get ready, so that the request was never sent.
    pub(super) fn take_unsent(self: Pin<&mut Self>) -> Option<Req> {
        match self.project() {
            AttemptProject::Readying { unready } => unready.1.take(),
            AttemptProject::Called { .. } | AttemptProject::Ended => None,
        }
    }

    /// Drops the service, or the call to it.
    pub(super) fn end(mut self: Pin<&mut Self>) {
        self.set(Self::Ended);
    }

    /// Polls the attempt. `call` calls the service once it is ready.
    pub(super) fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut S, Req) -> S::Future,
    ) -> Poll<Result<S::Response, S::Error>> {
        if !self.was_called() {
            ready!(self.as_mut().poll_ready(cx, call))?;
        }
        match self.project() {
            AttemptProject::Called { future } => future.poll(cx),
            _ => panic!("future polled after completion"),
        }
    }

    fn poll_ready(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut S, Req) -> S::Future,
    ) -> Poll<Result<(), S::Error>> {
        if let AttemptProject::Readying { unready } = self.as_mut().project() {
            let (service, request) = &mut **unready;
            ready!(service.poll_ready(cx))?;
            let request = request.take().expect("future polled after completion");
            let future = call(service, request);
            self.set(Self::Called { future });
        }
        Poll::Ready(Ok(()))
    }
}
