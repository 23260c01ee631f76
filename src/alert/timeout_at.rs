use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::time::{self, Instant, Sleep};

pin_project! {
    /// What a future answers until a deadline; `None` after that.
    pub(super) struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        deadline: Sleep,
    }
}

/// Waits for `future` until `deadline`. Needs a runtime with time.
pub(super) fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout { future, deadline: time::sleep_until(deadline) }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        this.deadline.poll(cx).map(|()| None)
    }
}
