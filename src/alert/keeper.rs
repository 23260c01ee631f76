//! The task that does what time alone brings: it looks at what is measured, and tells what has
//! lasted long enough, goes on for long, or hasn't been seen for a while.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::alerts::Shared;
use super::within::within;
use crate::time::{self, Instant};

/// How long it rests at least, unless it is stirred.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Keeper {
    runs: AtomicBool,
    stirred: Notify,
}

impl Keeper {
    #[inline]
    pub(super) fn runs(&self) -> bool {
        self.runs.load(Ordering::Acquire)
    }

    pub(super) fn stir(&self) {
        self.stirred.notify_one();
    }
}

/// Makes it look anew, if there is a runtime to do it in.
#[cold]
pub(super) fn wake(shared: &Arc<Shared>) {
    let keeper = &shared.keeper;
    if let Ok(runtime) = Handle::try_current() {
        if keeper.runs.swap(true, Ordering::AcqRel) {
            keeper.stir();
        } else {
            runtime.spawn(keep(Arc::downgrade(shared), Runs(Arc::clone(keeper))));
        }
    }
}

/// Says that it runs no more, however it ends.
struct Runs(Arc<Keeper>);

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.runs.store(false, Ordering::Release);
    }
}

/// When to look again. An observer that panics, of which the panic's hook has told, doesn't end the
/// keeper: nobody else would tell what time alone brings.
fn catch_up(shared: &Shared) -> Option<Instant> {
    let caught = catch_unwind(AssertUnwindSafe(|| shared.catch_up(false)));
    caught.unwrap_or_else(|_| shared.desk.lock().wakes_at)
}

/// Holds no handle while it waits, and ends with the last one.
async fn keep(alerts: Weak<Shared>, runs: Runs) {
    let stirred = &runs.0.stirred;
    while let Some(next) = alerts.upgrade().map(|shared| catch_up(&shared)) {
        let Some(next) = next else {
            stirred.notified().await;
            continue;
        };
        let next = next.max(time::after(time::now(), PAUSE));
        _ = within(next, stirred.notified()).await;
    }
}
