//! The policies of two teams whose hand-written clients retried without end, as settings of this
//! crate. A team can move to the crate first, and improve its policy then.
//!
//! | what the team wrote by hand | setting |
//! |---|---|
//! | at most 5 attempts; at most 3 | `max_attempts(5)`; `max_attempts(3)` |
//! | wait `min(60 s, 1 s · 2^n + U(0, 1 s))` | `Backoff::exponential(1 s).max(60 s).jitter(Additive(1 s))` |
//! | wait 2 s, 2 s (1, 2, 4 … held between 2 s and 10 s) | `Backoff::exponential(1 s).min(2 s).max(10 s).jitter(None)` |
//! | a 429 waits its `Retry-After` instead, uncapped | `hint(HintUse::Replace)`, `hint_cap(MAX)`, and a classifier that drops other hints |
//! | `Retry-After` ignored | `hint(HintUse::Ignore)` |
//! | which failures are retried | `retry_if(..)`, `retry_non_idempotent()` |
//! | a 401 is an error of its own | `credential_error()` |
//! | 30 s timeout per attempt | `attempt_timeout(30 s)` |
//! | opens after 5 failures in a row | `consecutive_failures(5)` |
//! | a leaky count that opens at 10 | `leaky_failures(10)` |
//! | half-open after 30 s with at most 3 calls, 2 successes close | `open_for(30 s)`, `half_open_probes(3).half_open_successes(2)` |
//! | closed after 60 s from zero | `open_for(60 s)`, `no_half_open()` |
//! | what counts as a failure | `count_fn(..)` |
//! | one breaker per region | `by_authority()`; `by_region()` in a stack |
//! | 60 requests a minute per key | `Quota::per_minute(60)` with `by_credential()` |
//!
//! ```sh
//! cargo run --example scenario
//! ```

mod circuit_breaker_consecutive;
mod circuit_breaker_leaky;
mod rate_limit_standard_tier;
mod retry_brief;
mod retry_patient;
mod upstream_team_1;
mod upstream_team_2;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tower::{Layer, ServiceExt, service_fn};
use tower_upstream::BoxError;

/// Counts the attempts of each retry policy against an upstream that always replies 500.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let client = service_fn(move |_: http::Request<()>| {
        count.fetch_add(1, Ordering::Relaxed);
        async { http::Response::builder().status(500).body(()) }
    });
    let started = tokio::time::Instant::now();
    let response = retry_patient::retry()
        .build()?
        .layer(client.clone())
        .oneshot(http::Request::new(()))
        .await?;
    let (attempts, took) = (sent.swap(0, Ordering::Relaxed), started.elapsed());
    println!("patient retry: {attempts} attempts in {took:.0?}, then {}", response.status());

    let response =
        retry_brief::retry().build()?.layer(client).oneshot(http::Request::new(())).await?;
    let attempts = sent.load(Ordering::Relaxed);
    println!("brief retry: {attempts} attempt, then {}", response.status());

    _ = circuit_breaker_consecutive::circuit_breaker().build()?;
    _ = circuit_breaker_leaky::circuit_breaker().build()?;
    _ = rate_limit_standard_tier::rate_limit().build()?;
    _ = upstream_team_1::upstream().build()?;
    _ = upstream_team_2::upstream().build()?;
    Ok(())
}
