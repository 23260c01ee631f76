//! A streamed body of 1 MiB, repeated by every client to a real server, which checks each byte and the
//! trailers of each attempt.

#![cfg(all(
    feature = "axum",
    feature = "hyper-util",
    feature = "peek",
    feature = "reqwest",
    feature = "tonic"
))]

#[path = "../../examples/tonic/greeter.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, unused_qualifications)]
mod greeter;
mod http_clients;
mod server;
mod tonic_client;
mod upload;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_upstream::RetryLayer;
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::replay::HttpReplay;
use tower_upstream::retry::{Backoff, Decision, StopReason};

/// A limit above the whole upload, gRPC's framing included.
const RAISED_CAP: usize = 2 * upload::LENGTH;

/// Returns a retry without waits, and the reason for its last decision.
fn retry(cap: Option<usize>) -> (RetryLayer, Arc<Mutex<Option<StopReason>>>) {
    let stopped = Arc::new(Mutex::new(None));
    let reason = Arc::clone(&stopped);
    let replay = cap.map_or(HttpReplay::new(), |cap| HttpReplay::new().limit(cap));
    let layer = RetryLayer::builder()
        .replay(replay)
        .retry_non_idempotent()
        .backoff(Backoff::constant(Duration::from_millis(1)))
        .observer(observer_fn(move |event: &Event<'_>| {
            if let Event::RetryDecided(event) = event
                && let Decision::Stop(why) = event.decision
            {
                *reason.lock().unwrap() = Some(why);
            }
        }))
        .build()
        .unwrap();
    (layer, stopped)
}
