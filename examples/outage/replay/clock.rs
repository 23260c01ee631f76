//! Simulated time: tokio's clock, paused, and driven.
//!
//! No duration is scaled. Clients, layers, servers and headers speak of the same seconds, and
//! only how fast those pass differs.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How fast time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As soon as nothing is left to do at one instant the next one is now. Exactly repeatable,
    /// and only without sockets, which take their own time.
    Virtual,
    /// So many times faster than lifetime.
    Faster(u32),
}

/// Runs a future in a runtime of its own, whose time passes so fast.
pub(crate) fn run<F: Future>(pace: Pace, future: F) -> std::io::Result<F::Output> {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build()?;
    if let Pace::Faster(times) = pace {
        drive(&runtime, times);
    }
    Ok(runtime.block_on(future))
}

/// How often a driven clock moves: at twenty times, 5 ms at once.
const TICK: Duration = Duration::from_micros(250);

/// The most that it moves at once. A machine that was busy for a instant catches up in steps, so that
/// what waits for a socket isn't overtaken by its timeout.
const STEP: Duration = Duration::from_millis(100);

/// Moves the clock by the time that really passes, that many times.
fn drive(runtime: &Runtime, times: u32) {
    let (ticker, mut ticks) = mpsc::channel(1);
    // While a blocking task runs, tokio doesn't move a paused clock by itself.
    runtime.spawn_blocking(move || {
        while ticker.blocking_send(()).is_ok() {
            std::thread::sleep(TICK);
        }
    });
    runtime.spawn(async move {
        let (started, mut moved) = (std::time::Instant::now(), Duration::ZERO);
        while ticks.recv().await.is_some() {
            let behind = (started.elapsed() * times).saturating_sub(moved).min(STEP);
            tokio::time::advance(behind).await;
            moved += behind;
        }
    });
}

/// The time since the morning began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Waits until so long after the start; for ever, if there is no such time.
    pub(crate) async fn wait_until(self, elapsed: Option<Duration>) {
        match elapsed {
            Some(elapsed) => tokio::time::sleep_until(self.0 + elapsed).await,
            None => std::future::pending().await,
        }
    }
}
