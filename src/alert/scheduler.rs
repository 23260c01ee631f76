//! The scheduler: the task for what time brings rather than an event. It looks at what is measured, and notify
//! what has lasted long enough, is to be repeated, or hasn't been seen for a while.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::alerts::Shared;
use super::timeout_at::timeout_at;
use super::worker::Worker;
use crate::time::{self, Instant};

/// How long the scheduler rests at least, unless it is stirred.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes the scheduler look anew, if there is a runtime to do it in.
#[cold]
pub(super) fn wake(shared: &Arc<Shared>) {
    let scheduler = &shared.scheduler;
    scheduler.wake(|| keep(Arc::downgrade(shared), Arc::clone(scheduler)));
}

/// Tells what is due, and returns when to look again. An observer that panics, which the panic's hook
/// reports, doesn't end the scheduler: no event need come that would start it again.
fn catch_up(shared: &Shared) -> Option<Instant> {
    let caught = catch_unwind(AssertUnwindSafe(|| shared.catch_up(false)));
    caught.unwrap_or_else(|_| shared.state.lock().wakes_at)
}

/// Holds no handle on the alerts while it waits, and ends with the last one.
async fn keep(alerts: Weak<Shared>, scheduler: Arc<Worker>) {
    while let Some(next) = alerts.upgrade().map(|shared| catch_up(&shared)) {
        let Some(next) = next else {
            scheduler.stirred().await;
            continue;
        };
        let next = next.max(time::after(time::now(), PAUSE));
        _ = timeout_at(next, scheduler.stirred()).await;
    }
}
