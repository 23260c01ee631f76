//! The task that does what time alone brings: it looks at what is measured, and tells what has
//! lasted long enough, goes on for long, or hasn't been seen for a while.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::alerts::Shared;
use super::within::within;
use super::worker::Worker;
use crate::time::{self, Instant};

/// How long the keeper rests at least, unless it is stirred.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes the keeper look anew, if there is a runtime to do it in.
#[cold]
pub(super) fn wake(shared: &Arc<Shared>) {
    let keeper = &shared.keeper;
    keeper.wake(|| keep(Arc::downgrade(shared), Arc::clone(keeper)));
}

/// Returns when to look again. An observer that panics, of which the panic's hook has told, doesn't end
/// the keeper: nobody else would tell what time alone brings.
fn catch_up(shared: &Shared) -> Option<Instant> {
    let caught = catch_unwind(AssertUnwindSafe(|| shared.catch_up(false)));
    caught.unwrap_or_else(|_| shared.desk.lock().wakes_at)
}

/// Holds no handle on the alerts while it waits, and ends with the last one.
async fn keep(alerts: Weak<Shared>, keeper: Arc<Worker>) {
    while let Some(next) = alerts.upgrade().map(|shared| catch_up(&shared)) {
        let Some(next) = next else {
            keeper.stirred().await;
            continue;
        };
        let next = next.max(time::after(time::now(), PAUSE));
        _ = within(next, keeper.stirred()).await;
    }
}
