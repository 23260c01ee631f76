//! How a layer calls its inner service more than in place.
//!
//! `poll_ready` readies the inner service, and `call` uses that readiness in
//! place. Two things need another handle on the inner service: a call that is
//! turned away must let go of the readiness that was taken for it (tower's
//! `ConcurrencyLimit` holds a permit with it, a `Buffer` a place), and a future
//! that calls later must ready a handle of its own.
//!
//! Cloning the inner service for each call would do, and cost as many counted
//! references as there are layers below. Instead one spare handle, never
//! readied, waits behind a lock that only the slow paths take.

use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

/// A handle on the inner service that is never readied, only cloned.
#[derive(Debug)]
pub(crate) struct Spare<S>(std::sync::Mutex<S>);

impl<S: Clone> Spare<S> {
    pub(crate) fn new(inner: &S) -> Self {
        Self(std::sync::Mutex::new(inner.clone()))
    }

    /// A fresh handle, not ready.
    pub(crate) fn fresh(&self) -> S {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on fresh handles are clones of this one.
    pub(crate) fn replace(&self, inner: &S) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = inner.clone();
    }
}

pin_project! {
    /// Readies a service of its own, then calls it.
    #[project = Project]
    pub(crate) enum CallWhenReady<S, Req>
    where
        S: Service<Req>,
    {
        // Boxed: it is rare, and as large as a request, which every call's future would be.
        Readying { waiting: Box<(S, Option<Req>)> },
        Calling { #[pin] future: S::Future },
        // It was ended before its answer: what it held is let go of.
        Ended,
    }
}

impl<S, Req> CallWhenReady<S, Req>
where
    S: Service<Req>,
{
    pub(crate) fn new(service: S, request: Req) -> Self {
        Self::Readying { waiting: Box::new((service, Some(request))) }
    }

    /// The future of a service that was ready and has been called.
    #[inline]
    pub(crate) fn calling(future: S::Future) -> Self {
        Self::Calling { future }
    }

    /// Drops the service, or the call to it, now.
    pub(crate) fn end(mut self: Pin<&mut Self>) {
        self.set(Self::Ended);
    }

    /// Whether the service got ready and was called.
    pub(crate) fn was_called(&self) -> bool {
        matches!(self, Self::Calling { .. })
    }

    /// Goes on; `call` makes the call when the service is ready.
    #[inline]
    pub(crate) fn poll_with(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut S, Req) -> S::Future,
    ) -> Poll<Result<S::Response, S::Error>> {
        if !self.was_called() {
            ready!(self.as_mut().poll_ready(cx, call))?;
        }
        self.poll_called(cx)
    }

    /// Goes on with the call that was made.
    #[inline]
    pub(crate) fn poll_called(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, S::Error>> {
        match self.project() {
            Project::Calling { future } => future.poll(cx),
            Project::Readying { .. } | Project::Ended => panic!("polled after it was done"),
        }
    }

    /// Goes on until the call is made. Apart, as most calls were made before the first poll.
    #[cold]
    pub(crate) fn poll_ready(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut S, Req) -> S::Future,
    ) -> Poll<Result<(), S::Error>> {
        let Project::Readying { waiting } = self.as_mut().project() else {
            return Poll::Ready(Ok(()));
        };
        let (service, request) = &mut **waiting;
        ready!(service.poll_ready(cx))?;
        // Polled on after its end it stays at "readying" without a request:
        // a misuse by the caller, as with every future.
        let request = request.take().expect("polled after it was done");
        let future = call(service, request);
        self.set(Self::Calling { future });
        Poll::Ready(Ok(()))
    }
}
