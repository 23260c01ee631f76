//! The task that tells what time alone brings: what hasn't been seen for a while is over,
//! what goes on for long is told again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::alerts::Shared;
use super::within::within;
use crate::time;

/// How often it looks at most.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Keeper {
    runs: AtomicBool,
    stirred: Notify,
}

impl Keeper {
    pub(super) fn runs(&self) -> bool {
        self.runs.load(Ordering::Acquire)
    }

    pub(super) fn stir(&self) {
        self.stirred.notify_one();
    }
}

/// Makes it look anew. Must be called within a runtime.
pub(super) fn wake(shared: &Arc<Shared>) {
    let keeper = &shared.keeper;
    if keeper.runs.swap(true, Ordering::AcqRel) {
        keeper.stir();
    } else {
        tokio::spawn(keep(Arc::downgrade(shared), Runs(Arc::clone(keeper))));
    }
}

/// Says that it runs no more, however it ends.
struct Runs(Arc<Keeper>);

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.runs.store(false, Ordering::Release);
    }
}

/// Holds no handle while it waits, and ends with the last one.
async fn keep(alerts: Weak<Shared>, runs: Runs) {
    let stirred = &runs.0.stirred;
    while let Some(next) = alerts.upgrade().map(|shared| shared.catch_up()) {
        let Some(next) = next else {
            stirred.notified().await;
            continue;
        };
        let next = next.max(time::after(time::now(), PAUSE));
        _ = within(next, stirred.notified()).await;
    }
}
