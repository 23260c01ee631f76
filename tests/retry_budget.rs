//! The bound that a budget sets on the sent requests of a whole layer, over any span of time.

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

/// A logged event with its time.
#[derive(Clone, Copy, Debug)]
enum Logged {
    Called(Instant),
    Sent(Instant),
}

impl Logged {
    fn at(self) -> Instant {
        let (Self::Called(at) | Self::Sent(at)) = self;
        at
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn budget_any_span_bounds_sent_requests(
        ratio in 0.0..1.0f64, rate in 0.0..3.0f64, reserve in 0..8u32,
        // Milliseconds from one request to the next.
        pauses in proptest::collection::vec(prop_oneof![Just(0), 0..2_000u64], 1..60),
    ) {
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
            let sends = Arc::clone(&log);
            // The worst case: everything fails, and is repeated at once.
            let client = service_fn(move |_: Request<()>| {
                sends.lock().unwrap().push(Logged::Sent(Instant::now()));
                async { Ok::<_, Infallible>(Response::builder().status(500).body(()).unwrap()) }
            });
            let layer = RetryLayer::builder()
                .max_attempts(9)
                .backoff(Backoff::constant(Duration::ZERO))
                .budget(RetryBudget::new().ratio(ratio).per_second(rate).reserve(reserve))
                .build().unwrap();
            let client = layer.layer(client);
            for pause in pauses {
                advance(Duration::from_millis(pause)).await;
                log.lock().unwrap().push(Logged::Called(Instant::now()));
                client.clone().oneshot(Request::new(())).await.unwrap();
            }
        });
        let log = log.lock().unwrap();
        for (from, first) in log.iter().enumerate() {
            let (mut called, mut sent) = (0.0, 0.0);
            // The first send of a span may belong to a request from just before it.
            let before = if let Logged::Sent(_) = first { 1.0 } else { 0.0 };
            for entry in &log[from..] {
                match entry {
                    Logged::Called(_) => called += 1.0,
                    Logged::Sent(_) => sent += 1.0,
                }
                let seconds = (entry.at() - first.at()).as_secs_f64();
                let bound = called * (1.0 + ratio) + rate * seconds + f64::from(reserve) + before;
                prop_assert!(sent <= bound + 1e-6, "{sent} sent, and the bound is {bound}");
            }
        }
    }
}

/// The circumstances of a call.
#[cfg(feature = "circuit-breaker")]
#[derive(Clone, Copy, Debug)]
struct Circumstances {
    /// Whether the circuit is forced open before the call, or reset.
    force_open: Option<bool>,
    /// The seconds after which its caller gives up.
    dropped_after: u64,
    /// The milliseconds until the next call.
    pause: u64,
}

#[cfg(feature = "circuit-breaker")]
fn circumstances() -> impl Strategy<Value = Circumstances> {
    let force_open = proptest::option::of(any::<bool>());
    (force_open, prop_oneof![Just(1_000), 0..70u64], 0..20_000u64).prop_map(
        |(force_open, dropped_after, pause)| Circumstances { force_open, dropped_after, pause },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// Whichever attempts a circuit rejects and whichever calls are dropped.
    #[cfg(feature = "circuit-breaker")]
    #[test]
    fn budget_pays_exactly_for_sent_retries(
        calls in proptest::collection::vec(circumstances(), 1..12),
        statuses in proptest::collection::vec(prop_oneof![Just(200), Just(500), Just(503)], 100),
        attempts in 2..7u32,
    ) {
        let budget = Arc::new(RetryBudget::new().ratio(0.0).per_second(0.0).reserve(1_000));
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
            let mut tasks = Vec::new();
            for (number, call) in calls.into_iter().enumerate() {
                match call.force_open {
                    Some(true) => breaker.handle().force_open(),
                    Some(false) => breaker.handle().reset(),
                    None => {}
                }
                let response = client.clone().oneshot(Request::new(number));
                let dropped_after = Duration::from_secs(call.dropped_after);
                tasks.push(tokio::spawn(tokio::time::timeout(dropped_after, response)));
                advance(Duration::from_millis(call.pause)).await;
            }
            for task in tasks {
                _ = task.await.unwrap();
            }
        });
        let sent = sent.lock().unwrap();
        let retries = sent.0 - sent.1.len();
        prop_assert_eq!(1_000 - usize::try_from(budget.remaining()).unwrap(), retries);
    }
}
