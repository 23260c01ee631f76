//! One run: the clients, and their load.

use std::ops::Range;
use std::time::Duration;

use http::{Request, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tower::{Layer, Service, ServiceExt};
use tower_upstream::RetryLayer;

use crate::server::{Second, Server};

const CLIENTS: u32 = 10_000;
/// Clients of one process share its retry layer, and so its budget.
const PROCESSES: u32 = 10;
/// The time between two requests of a client.
const EVERY: Duration = Duration::from_secs(10);
/// The requests of all clients in a second.
const OFFERED: usize = 1_000;
/// A fifth more than that.
const CAPACITY: usize = 1_200;
const OUTAGE: Range<usize> = 20..50;
const END: usize = 120;

/// The result of one run.
pub(crate) struct Storm {
    pub(crate) name: &'static str,
    pub(crate) failed: usize,
    seconds: Vec<Second>,
}

/// Runs the clients. Each process has its own retry layer, made with its own seed.
pub(crate) fn run(name: &'static str, retry: impl Fn(u64) -> RetryLayer) -> Storm {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let server = Server::new(CAPACITY, OUTAGE);
        let mut clients = JoinSet::new();
        for process in 0..PROCESSES {
            let client = retry(process.into()).layer(server.clone());
            for number in (process..CLIENTS).step_by(PROCESSES as usize) {
                clients.spawn(send_periodically(client.clone(), EVERY * number / CLIENTS));
            }
        }
        let failed = clients.join_all().await.into_iter().sum();
        Storm { name, failed, seconds: server.seconds() }
    })
}

/// Sends requests at a fixed pace, whether or not they succeed, and counts those that fail.
async fn send_periodically<S>(mut client: S, offset: Duration) -> usize
where
    S: Service<Request<()>, Response = http::Response<()>, Error = tower_upstream::BoxError>,
{
    let start = Instant::now();
    let mut failed = 0;
    for round in 0.. {
        let at = EVERY * round + offset;
        if at >= Duration::from_secs(END as u64) {
            break;
        }
        sleep_until(start + at).await;
        let result = async { client.ready().await?.call(Request::new(())).await };
        failed +=
            usize::from(result.await.is_ok_and(|response| response.status() != StatusCode::OK));
    }
    failed
}

impl Storm {
    /// Returns the load of each second, as a multiple of the offered load.
    pub(crate) fn loads(&self) -> impl Iterator<Item = f64> {
        self.seconds.iter().take(END).map(|second| second.arrived as f64 / OFFERED as f64)
    }

    /// Returns the highest load of a second.
    pub(crate) fn peak(&self) -> f64 {
        self.loads().fold(0.0, f64::max)
    }

    /// Returns the seconds after the outage until no request is rejected any more.
    pub(crate) fn recovered_in(&self) -> Option<usize> {
        let last = self.seconds.iter().rposition(|second| second.rejected > 0)?;
        (last + 1 < END).then(|| (last + 1).saturating_sub(OUTAGE.end))
    }

    pub(crate) fn attempts(&self) -> usize {
        self.seconds.iter().map(|second| second.arrived).sum()
    }

    pub(crate) const fn outage() -> Range<usize> {
        OUTAGE
    }

    pub(crate) const fn end() -> usize {
        END
    }

    pub(crate) fn capacity() -> f64 {
        CAPACITY as f64 / OFFERED as f64
    }
}
