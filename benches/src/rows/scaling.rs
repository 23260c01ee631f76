//! Cost of a call as the state grows: windows, keys, regions, queued calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::task::noop_waker_ref;
use http::Request;
use tower::{Layer, Service};
use tower_upstream::circuit_breaker::FailureRate;
use tower_upstream::key::{KeyRef, request_key_fn};
use tower_upstream::{CircuitBreakerLayer, Quota, RateLimitLayer};

use super::{Row, circuit_breaker, failover};
use crate::bare::Bare;
use crate::subject::{Outcome, Serves, call};

/// Sizes of windows, in calls.
const WINDOWS: [u32; 4] = [100, 1_000, 10_000, 100_000];
/// Sizes of windows, in seconds.
const SECONDS: [u64; 3] = [1, 60, 3_600];
const KEYS: [usize; 4] = [1, 100, 10_000, 100_000];
const REGIONS: [usize; 4] = [3, 10, 100, 1_000];
const WAITERS: [usize; 4] = [1, 100, 10_000, 100_000];

/// Returns a row for each kind of state and each size.
pub fn rows() -> Vec<Row> {
    let windows = WINDOWS.map(|calls| {
        grown("window_calls", calls, move || full(FailureRate::over_calls(calls), calls))
    });
    let seconds = SECONDS.map(|seconds| {
        let window = Duration::from_secs(seconds);
        grown("window_seconds", seconds, move || over(FailureRate::over_time(window)))
    });
    let keys = KEYS.map(|keys| grown("keys", keys, move || by_key(keys)));
    let regions = REGIONS.map(|regions| grown("regions", regions, move || over_regions(regions)));
    let waiters = WAITERS.map(|waiters| {
        let what = format!("waiters/{waiters}");
        Row::new::<(), _>((&what, ""), Outcome::Waiting, move || behind(waiters))
    });
    windows.into_iter().chain(seconds).chain(keys).chain(regions).chain(waiters).collect()
}

fn grown<S: Serves<()>>(
    what: &str,
    size: impl std::fmt::Display,
    make: impl Fn() -> S + Send + Sync + 'static,
) -> Row {
    Row::completes::<(), S>((&format!("{what}/{size}"), ""), make)
}

fn over(rate: FailureRate) -> impl Serves<()> {
    let builder = CircuitBreakerLayer::builder().failure_rate(rate);
    circuit_breaker::built(builder, false).layer(Bare)
}

/// Returns a circuit breaker whose window is full.
fn full(rate: FailureRate, calls: u32) -> impl Serves<()> {
    let mut service = over(rate);
    for _ in 0..calls {
        let outcome = call(&mut service).now_or_never();
        assert_eq!(outcome, Some(Outcome::Completed));
    }
    service
}

/// Returns a circuit breaker with a circuit a key; calls use the keys in turns.
fn by_key(keys: usize) -> impl Serves<()> {
    let (next, many) = (Arc::new(AtomicU64::new(0)), keys as u64);
    let key = request_key_fn(move |_: &Request<()>| {
        KeyRef::Number(next.fetch_add(1, Ordering::Relaxed) % many)
    });
    let builder = circuit_breaker::rate().key(key).max_keys(keys);
    let mut service = circuit_breaker::built(builder, false).layer(Bare);
    for _ in 0..keys {
        drop(service.call(Request::new(())));
    }
    service
}

fn over_regions(regions: usize) -> impl Serves<()> {
    let bases: Vec<_> = (0..regions).map(|at| format!("https://region-{at}.example.com")).collect();
    let bases: Vec<_> = bases.iter().map(String::as_str).collect();
    failover::layer(&bases, false).layer(Bare)
}

/// Returns a limiter with a spent quota and this number of queued calls. The measured call joins the
/// queue and leaves it again.
fn behind(waiters: usize) -> impl Serves<()> {
    let builder = RateLimitLayer::builder(Quota::per_second(1));
    let layer =
        builder.max_wait(Duration::MAX).max_waiting(waiters + 1).build().expect("valid settings");
    let mut service = layer.layer(Bare);
    for _ in 0..=waiters {
        let mut call = Box::pin(service.call(Request::new(())));
        let mut cx = Context::from_waker(noop_waker_ref());
        if call.as_mut().poll(&mut cx).is_pending() {
            // It stays in the queue until the program ends.
            Box::leak(Box::new(call));
        }
    }
    service
}
