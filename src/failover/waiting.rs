//! A call that waits for a region.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::time::{self, Instant, Sleep};

/// Keeps a request until a region may be fit to take it.
pub(super) struct Waiting<Req> {
    timer: Pin<Box<Sleep>>,
    request: Option<Req>,
}

impl<Req> Waiting<Req> {
    pub(super) fn new(until: Instant, request: Req) -> Self {
        Self { timer: Box::pin(time::sleep_until(until)), request: Some(request) }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Req> {
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(self.request.take().expect("polled after it was done"))
    }
}
