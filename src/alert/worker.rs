//! A task that runs where there is a runtime, and is started anew when its runtime is gone.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Whether the task runs, and what wakes it.
#[derive(Debug, Default)]
pub(super) struct Worker {
    runs: AtomicBool,
    stirred: Notify,
}

impl Worker {
    #[inline]
    pub(super) fn runs(&self) -> bool {
        self.runs.load(Ordering::Acquire)
    }

    pub(super) fn stir(&self) {
        self.stirred.notify_one();
    }

    /// Completes once the task was stirred, now or since it waited last.
    pub(super) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// Starts the task if it doesn't run and the caller is in a runtime, and stirs it otherwise: it may
    /// run in a runtime that the caller isn't in.
    pub(super) fn wake<F>(self: &Arc<Self>, task: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match Handle::try_current() {
            Ok(runtime) if !self.runs.swap(true, Ordering::AcqRel) => {
                let runs = Runs(Arc::clone(self));
                let task = task();
                runtime.spawn(async move {
                    let _runs = runs;
                    task.await;
                });
            }
            _ => self.stir(),
        }
    }
}

/// Says that the task runs no more, however it ends.
struct Runs(Arc<Worker>);

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.runs.store(false, Ordering::Release);
    }
}
