use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Notify;

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
