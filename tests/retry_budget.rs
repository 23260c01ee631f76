//! What a budget promises for the whole layer: a bound on what is sent, over any span of time.

#![cfg(feature = "retry")]

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use proptest::prelude::*;
use tokio::time::{Instant, advance};
use tower::{Layer, ServiceExt, service_fn};
#[cfg(feature = "circuit-breaker")]
use tower_upstream::CircuitBreakerLayer;
use tower_upstream::RetryLayer;
use tower_upstream::retry::{Backoff, RetryBudget};

/// What happened, and when.
#[derive(Clone, Copy, Debug)]
enum Noted {
    Made(Instant),
    Sent(Instant),
}

impl Noted {
    fn at(self) -> Instant {
        let (Self::Made(at) | Self::Sent(at)) = self;
        at
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn over_any_span_what_is_sent_is_bounded(
        ratio in 0.0..1.0f64, rate in 0.0..3.0f64, reserve in 0..8u32,
        // Milliseconds from one request to the next.
        pauses in proptest::collection::vec(prop_oneof![Just(0), 0..2_000u64], 1..60),
    ) {
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
            let sends = Arc::clone(&log);
            // Everything fails, and is repeated at once: the worst that can be.
            let client = service_fn(move |_: Request<()>| {
                sends.lock().unwrap().push(Noted::Sent(Instant::now()));
                async { Ok::<_, Infallible>(Response::builder().status(500).body(()).unwrap()) }
            });
            let layer = RetryLayer::builder()
                .max_attempts(9)
                .backoff(Backoff::constant(Duration::ZERO))
                .budget(RetryBudget::new(ratio, rate, reserve))
                .build().unwrap();
            let client = layer.layer(client);
            for pause in pauses {
                advance(Duration::from_millis(pause)).await;
                log.lock().unwrap().push(Noted::Made(Instant::now()));
                client.clone().oneshot(Request::new(())).await.unwrap();
            }
        });
        let log = log.lock().unwrap();
        for (from, first) in log.iter().enumerate() {
            let (mut made, mut sent) = (0.0, 0.0);
            // The first send of a span may be of a request that was made just before it.
            let before = if let Noted::Sent(_) = first { 1.0 } else { 0.0 };
            for noted in &log[from..] {
                match noted {
                    Noted::Made(_) => made += 1.0,
                    Noted::Sent(_) => sent += 1.0,
                }
                let seconds = (noted.at() - first.at()).as_secs_f64();
                let bound = made * (1.0 + ratio) + rate * seconds + f64::from(reserve) + before;
                prop_assert!(sent <= bound + 1e-6, "{sent} sent, and the bound is {bound}");
            }
        }
    }
}

/// What happens to a call, besides what the upstream answers.
#[cfg(feature = "circuit-breaker")]
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// The circuit is held open from then on, or let go.
    held_open: Option<bool>,
    /// When its caller gives up, in seconds.
    dropped_after: u64,
    /// Milliseconds until the next one.
    pause: u64,
}

#[cfg(feature = "circuit-breaker")]
fn fate() -> impl Strategy<Value = Fate> {
    let held_open = proptest::option::of(any::<bool>());
    (held_open, prop_oneof![Just(1_000), 0..70u64], 0..20_000u64)
        .prop_map(|(held_open, dropped_after, pause)| Fate { held_open, dropped_after, pause })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// Whatever circuits turn away and callers give up.
    #[cfg(feature = "circuit-breaker")]
    #[test]
    fn what_is_paid_for_is_what_is_sent(
        fates in proptest::collection::vec(fate(), 1..12),
        statuses in proptest::collection::vec(prop_oneof![Just(200), Just(500), Just(503)], 100),
        attempts in 2..7u32,
    ) {
        let budget = Arc::new(RetryBudget::new(0.0, 0.0, 1_000));
        let sent = Arc::new(Mutex::new((0, HashSet::new())));
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
            let breaker = CircuitBreakerLayer::builder().consecutive_failures(3).build().unwrap();
            let noted = Arc::clone(&sent);
            let client = service_fn(move |request: Request<usize>| {
                let mut noted = noted.lock().unwrap();
                noted.1.insert(*request.body());
                noted.0 += 1;
                let status = statuses[noted.0 % statuses.len()];
                async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Response::builder().status(status).body(())
                }
            });
            let retry = RetryLayer::builder().replay_clone().retry_non_idempotent();
            let retry = retry.max_attempts(attempts).budget(Arc::clone(&budget));
            let deadline = Duration::from_secs(120);
            let client = retry.deadline(deadline).build().unwrap().layer(breaker.layer(client));
            let mut calls = Vec::new();
            for (number, fate) in fates.into_iter().enumerate() {
                match fate.held_open {
                    Some(true) => breaker.handle().force_open(),
                    Some(false) => breaker.handle().reset(),
                    None => {}
                }
                let call = client.clone().oneshot(Request::new(number));
                let dropped_after = Duration::from_secs(fate.dropped_after);
                calls.push(tokio::spawn(tokio::time::timeout(dropped_after, call)));
                advance(Duration::from_millis(fate.pause)).await;
            }
            for call in calls {
                _ = call.await.unwrap();
            }
        });
        let sent = sent.lock().unwrap();
        let retries = sent.0 - sent.1.len();
        prop_assert_eq!(1_000 - usize::try_from(budget.remaining()).unwrap(), retries);
    }
}
