//! The tasks that check the regions.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::HealthChecks;
use super::set::RegionSet;
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::time;

/// Starts one task per region, once there are calls and a runtime.
#[derive(Debug)]
pub(super) struct WaiterHandle {
    checks: HealthChecks,
    /// Whether a region may have no task: before the first call, when a region was added, and when the
    /// runtime of the tasks has ended.
    wanting: AtomicBool,
}

/// A region's task.
#[derive(Debug, Default)]
pub(super) struct Task {
    /// Whether there is one.
    running: AtomicBool,
    handle: Mutex<Option<AbortHandle>>,
}

impl WaiterHandle {
    pub(super) fn new(checks: HealthChecks) -> Self {
        Self { checks, wanting: AtomicBool::new(true) }
    }

    pub(super) fn checks(&self) -> &HealthChecks {
        &self.checks
    }

    /// Says that a region may have no task. The next call starts it.
    pub(super) fn wants(&self) {
        self.wanting.store(true, Ordering::Release);
    }

    /// Starts the tasks that are missing. If none is, this costs one load.
    pub(super) fn start(&self, set: &Arc<RegionSet>) {
        if self.wanting.load(Ordering::Acquire) {
            self.start_missing(set);
        }
    }

    #[cold]
    fn start_missing(&self, set: &Arc<RegionSet>) {
        // Outside a runtime a later call will do it.
        let Ok(runtime) = Handle::try_current() else { return };
        self.wanting.store(false, Ordering::Release);
        for (region, region_state) in set.slots.iter().enumerate() {
            if region_state.is_removed() || region_state.task.running.swap(true, Ordering::AcqRel) {
                continue;
            }
            // Made outside the task: a runtime that is shutting down drops it too, and so clears `running`.
            let running = Running { set: Arc::downgrade(set), region };
            let handle = runtime.spawn(watch(running)).abort_handle();
            *region_state.task.handle.lock() = Some(handle);
        }
    }
}

/// Ends the task: the set that it checks is dropped.
impl Drop for Task {
    fn drop(&mut self) {
        if let Some(task) = self.handle.lock().take() {
            task.abort();
        }
    }
}

/// A task's hold on what it checks. Weak, so that it doesn't keep the set alive.
struct Running {
    set: Weak<RegionSet>,
    region: usize,
}

/// The task has ended, and the set is still there: the region was removed, the runtime was shut down, or
/// an observer panicked. If the region still needs a task, the next call starts another one.
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(set) = self.set.upgrade()
            && let Some(watch) = &set.watch
        {
            set.region_state(self.region).task.running.store(false, Ordering::Release);
            watch.wants();
        }
    }
}

/// Checks one region, from now until it, or the set, is gone.
async fn watch(running: Running) {
    let region = running.region;
    // The set is held between the awaits only.
    while let Some(check) = running.set.upgrade().and_then(|set| set.check(region)) {
        let started = time::now();
        let finding = check.await;
        let Some(next) =
            running.set.upgrade().and_then(|set| set.checked(region, finding, started))
        else {
            return;
        };
        time::sleep_until(next).await;
    }
}
