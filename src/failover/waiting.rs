//! A call that waits for a region.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;

use crate::time::{self, Instant, Sleep};

pin_project! {
    /// Keeps a request until a region may be fit to take it.
    pub(super) struct Waiting<Req> {
        #[pin]
        timer: Sleep,
        // One may be sooner than that.
        #[pin]
        sooner: OwnedNotified,
        request: Option<Req>,
    }
}

impl<Req> Waiting<Req> {
    pub(super) fn new(until: Instant, sooner: OwnedNotified, request: Req) -> Self {
        Self { timer: time::sleep_until(until), sooner, request: Some(request) }
    }

    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Req> {
        let this = self.project();
        if this.sooner.poll(cx).is_pending() && this.timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(this.request.take().expect("polled after it was done"))
    }
}
