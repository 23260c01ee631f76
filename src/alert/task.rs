//! Background tasks that start on demand, and waits with a timeout.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::time::{self, Instant, Sleep};

/// A task that starts when it is needed within a runtime, and starts again if its runtime ended.
#[derive(Debug, Default)]
pub(super) struct BackgroundTask {
    running: AtomicBool,
    notify: Notify,
}

impl BackgroundTask {
    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    pub(super) fn notify(&self) {
        self.notify.notify_one();
    }

    /// Completes once the task is notified, or at once if it was since the last wait.
    pub(super) async fn notified(&self) {
        self.notify.notified().await;
    }

    /// Starts the task if it is not running and the caller is in a runtime; otherwise notifies it. It
    /// may run in another runtime than the caller's.
    pub(super) fn start_or_notify<F>(self: &Arc<Self>, task: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match Handle::try_current() {
            Ok(runtime) if !self.running.swap(true, Ordering::AcqRel) => {
                let running = Running(Arc::clone(self));
                let task = task();
                runtime.spawn(async move {
                    let _running = running;
                    task.await;
                });
            }
            _ => self.notify(),
        }
    }
}

/// Clears the task's flag, however the task ends.
struct Running(Arc<BackgroundTask>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

pin_project! {
    /// The output of a future, or `None` after a deadline.
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
