//! What a budget promises of the whole layer: a bound on what is sent, over any span of time.

#![cfg(feature = "retry")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use proptest::prelude::*;
use tokio::time::{Instant, advance};
use tower::{Layer, ServiceExt, service_fn};
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
            let layer = RetryLayer::new()
                .max_attempts(9)
                .backoff(Backoff::constant(Duration::ZERO))
                .budget(RetryBudget::new(ratio, rate, reserve));
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
