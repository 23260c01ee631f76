//! Errors of real clients, over real sockets.

mod hyper_util;
mod reqwest;
mod servers;
mod tonic;

use std::future::Future;
use std::time::Duration;

/// Nothing here may hang.
#[allow(clippy::disallowed_methods)] // real sockets are on real time
async fn bounded<F: Future>(call: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), call).await.expect("hangs")
}

/// The same for a name that doesn't exist. Where the machine's resolver takes
/// its time to say so there is nothing to be learned.
#[allow(clippy::disallowed_methods)] // real sockets are on real time
async fn resolved<F: Future>(call: F) -> Option<F::Output> {
    tokio::time::timeout(Duration::from_secs(5), call).await.ok()
}

/// The time that a call to a silent server is given.
const MAX_WAIT: Duration = Duration::from_millis(100);
