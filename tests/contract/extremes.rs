//! Every number that a setter takes, at 0, at 1 and at its largest: it is refused
//! when the layer is built, or the layer serves without a panic, an overflow or
//! a hang.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::{Layer, ServiceExt};
use tower_upstream::circuit_breaker::FailureRate;
use tower_upstream::{BoxError, CircuitBreakerLayer, Quota, RateLimitLayer};

use crate::clock::{pass, poll, within};
use crate::layers::{Client, Subject, call};
use crate::upstream::{Inner, Reply, Response, Upstream, request};

contracts! { every_layer:
    serves_or_is_refused_at_extremes,
    shows_itself_at_extremes,
}

/// Longer than the longest wait of the defaults, which is what the server asks for at most.
const MAX_WAIT: Duration = Duration::from_secs(2 * 3600);

/// A future that gives up in place of turning for ever.
///
/// On a paused clock, time stands still while anything runs: a task that wakes
/// itself again and again would never see its timeout.
struct Bounded<F> {
    future: Pin<Box<F>>,
    polls: u32,
    what: String,
}

impl<F: Future> Future for Bounded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls += 1;
        assert!(self.polls < 10_000, "{} turns for ever", self.what);
        self.future.as_mut().poll(cx)
    }
}

/// The reply, if one comes within [`MAX_WAIT`].
async fn reply(what: &str, client: impl Client) -> Option<Result<Response, BoxError>> {
    let future = Box::pin(call(client, request()));
    within(MAX_WAIT, Bounded { future, polls: 0, what: what.into() }).await
}

/// What servers say, the longest hints and the worst among them.
fn replies() -> impl Iterator<Item = Reply> {
    [
        Reply::Status(200),
        Reply::Status(500),
        Reply::ComeBack(503, "1"),
        Reply::Fail,
        Reply::ComeBack(503, "18446744073709551615"),
        Reply::ComeBack(503, "31536000"),
        Reply::Status(200),
        Reply::ComeBack(429, "18446744073709551615"),
        Reply::ComeBack(429, "31536000"),
        Reply::ComeBack(429, "0"),
        Reply::Status(404),
        Reply::ComeBack(503, "0"),
    ]
    .into_iter()
    .cycle()
}

async fn serves_or_is_refused_at_extremes<S: Subject>() {
    for extreme in S::extremes() {
        let what = extreme.what;
        let Ok(layer) = extreme.layer else { continue };
        let upstream = Upstream::new();
        upstream.replies_next(replies().take(60));
        let client = layer.layer(upstream.inner());
        for round in 0..12 {
            let answered = reply(&what, client.clone()).await.is_some();
            assert!(answered || extreme.may_wait, "{what}: call {round} hangs");
            pass(Duration::from_secs(round)).await;
        }
        // Several at once, of which some are dropped.
        let mut calls = Vec::new();
        for _ in 0..4 {
            let mut call = Box::pin(call(client.clone(), request()));
            if poll(&mut call).is_pending() {
                calls.push(call);
            }
        }
        calls.truncate(2);
        for call in calls {
            let bounded = Bounded { future: Box::pin(call), polls: 0, what: what.clone() };
            let answered = within(MAX_WAIT, bounded).await.is_some();
            assert!(answered || extreme.may_wait, "{what}: one of several hangs");
        }
        // Much later.
        pass(Duration::from_secs(10 * 86_400)).await;
        let answered = reply(&what, client).await.is_some();
        assert!(answered || extreme.may_wait, "{what}: days later it hangs");
        assert_eq!(upstream.in_flight(), 0, "{what}");
    }
}

/// Status, `Debug`, and the texts of errors hold durations that mustn't overflow either.
async fn shows_itself_at_extremes<S: Subject>() {
    for extreme in S::extremes() {
        match extreme.layer {
            Ok(layer) => {
                let upstream = Upstream::new();
                upstream.replies_next(replies().take(10));
                let client = layer.layer(upstream.inner());
                for _ in 0..5 {
                    if let Some(Err(error)) = reply(&extreme.what, client.clone()).await {
                        assert!(!format!("{error} {error:?}").is_empty());
                    }
                }
                assert!(!format!("{layer:?}").is_empty());
            }
            Err(refused) => assert!(!refused.to_string().is_empty()),
        }
    }
}

/// A breaker that can never open, or opens by nothing, is a mistake to be observed.
#[test]
fn what_could_never_work_is_refused() {
    let builder = CircuitBreakerLayer::builder;
    let over = FailureRate::over_calls(10);
    let minute = FailureRate::over_time(Duration::from_secs(60));
    for fraction in [0.0, -0.0, -1.0, 1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for rate in [over, minute] {
            assert!(builder().failure_rate(rate.at(fraction)).build().is_err(), "at({fraction})");
        }
    }
    for refused in [
        builder().consecutive_failures(0),
        builder().consecutive_failures(u32::MAX),
        builder().leaky_failures(0),
        builder().leaky_failures(u32::MAX),
        builder().failure_rate(FailureRate::over_calls(0)),
        builder().failure_rate(FailureRate::over_calls(u32::MAX)),
        builder().failure_rate(FailureRate::over_time(Duration::ZERO)),
        builder().failure_rate(over.min_calls(0)),
        builder().failure_rate(over.min_calls(11)),
        builder().half_open_probes(0).half_open_successes(1),
        builder().half_open_probes(1).half_open_successes(0),
        builder().half_open_probes(0).half_open_rate(0.5),
        builder().half_open_probes(1).half_open_successes(u32::MAX),
    ] {
        let shown = format!("{refused:?}");
        assert!(refused.build().is_err(), "{shown}");
    }
}

/// The costs that a closure can emit, against quotas large and small.
#[tokio::test(start_paused = true)]
async fn costs_at_extremes() {
    for cost in [0, 1, 2, u32::MAX - 1, u32::MAX] {
        for limit in [0, 1, 2, u32::MAX - 1, u32::MAX] {
            for burst in [None, Some(0), Some(1), Some(u32::MAX)] {
                let minute = Quota::per_minute(limit);
                let quota = burst.map_or(minute.clone(), |burst| minute.burst(burst));
                let what = format!("a cost of {cost} with {quota:?}");
                let limit =
                    RateLimitLayer::builder(quota).cost_fn(move |_: &_| cost).build().unwrap();
                let upstream = Upstream::new();
                let client = Inner::new(limit.layer(upstream.inner()));
                for _ in 0..4 {
                    let answered = reply(&what, client.clone()).await;
                    let answered = answered.unwrap_or_else(|| panic!("{what}: hangs"));
                    assert!(cost > 0 || answered.is_ok(), "{what}: what costs nothing passes");
                }
            }
        }
    }
}

/// However long a call may wait, one that can never pass is observed so.
#[tokio::test(start_paused = true)]
async fn a_quota_of_nothing_rejects_whatever_the_max_wait() {
    for cost in [0, 1] {
        let limit = RateLimitLayer::builder(Quota::per_minute(0))
            .max_wait(Duration::MAX)
            .cost_fn(move |_: &_| cost)
            .build()
            .unwrap();
        let client = limit.layer(Upstream::new().inner());
        let answered = within(MAX_WAIT, client.oneshot(request())).await;
        assert!(answered.is_some(), "a cost of {cost} waits for what never comes");
    }
}
