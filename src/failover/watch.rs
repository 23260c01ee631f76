//! The tasks that check the regions.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::HealthChecks;
use super::set::RegionSet;
use crate::sync::{AtomicUsize, Mutex, Ordering};
use crate::time;

/// A task a region, while there are calls and a runtime.
#[derive(Debug)]
pub(super) struct Watch {
    checks: HealthChecks,
    tasks: Box<[Task]>,
    /// How many regions have no task: none has before the first call, and each
    /// when the runtime that had them ends.
    missing: AtomicUsize,
}

#[derive(Debug, Default)]
struct Task {
    /// 1 while there is one.
    running: AtomicUsize,
    handle: Mutex<Option<AbortHandle>>,
}

impl Watch {
    pub(super) fn new(checks: HealthChecks, regions: usize) -> Self {
        let tasks = (0..regions).map(|_| Task::default()).collect();
        Self { checks, tasks, missing: AtomicUsize::new(regions) }
    }

    pub(super) fn checks(&self) -> &HealthChecks {
        &self.checks
    }

    /// Starts the tasks that aren't there. Where all are, that is one load.
    pub(super) fn start(&self, set: &Arc<RegionSet>) {
        if self.missing.load(Ordering::Acquire) != 0 {
            self.start_missing(set);
        }
    }

    #[cold]
    fn start_missing(&self, set: &Arc<RegionSet>) {
        // Outside a runtime a later call will do it.
        let Ok(runtime) = Handle::try_current() else { return };
        for (region, task) in self.tasks.iter().enumerate() {
            if task.running.swap(1, Ordering::AcqRel) == 1 {
                continue;
            }
            self.missing.fetch_sub(1, Ordering::AcqRel);
            // Made here, so that a runtime that is shutting down drops it too.
            let running = Running { set: Arc::downgrade(set), region };
            let handle = runtime.spawn(watch(running)).abort_handle();
            *task.handle.lock() = Some(handle);
        }
    }
}

/// Ends the tasks: the set that they check for is gone.
impl Drop for Watch {
    fn drop(&mut self) {
        for task in &self.tasks {
            if let Some(task) = task.handle.lock().take() {
                task.abort();
            }
        }
    }
}

/// A task's hold on what it checks. Weak, so that it doesn't keep the set alive.
struct Running {
    set: Weak<RegionSet>,
    region: usize,
}

/// The task is gone, and the set isn't: its runtime was shut down, or an
/// observer panicked. The next call starts another one.
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(set) = self.set.upgrade()
            && let Some(watch) = &set.watch
        {
            watch.missing.fetch_add(1, Ordering::AcqRel);
            watch.tasks[self.region].running.store(0, Ordering::Release);
        }
    }
}

/// Checks one region, from now until the set is gone.
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
