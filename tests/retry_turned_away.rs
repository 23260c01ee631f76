//! The result of a call whose last attempt was rejected locally, after earlier attempts were sent.

#![cfg(all(feature = "retry", feature = "circuit-breaker", feature = "rate-limit"))]

use std::future::{Future, Ready, pending, ready};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_upstream::circuit_breaker::CircuitOpen;
use tower_upstream::event::{Event, Observer};
#[cfg(feature = "failover")]
use tower_upstream::failover::{FailoverLayer, Region, Regions};
#[cfg(feature = "failover")]
use tower_upstream::key::KeyRef;
use tower_upstream::rate_limit::RateLimited;
use tower_upstream::retry::RetryBuilder;
use tower_upstream::retry::{Backoff, Decision, Override, RetryBudget, StopReason};
use tower_upstream::{CircuitBreakerLayer, Quota, RateLimitLayer, RetryLayer, cause_ref};

const SECOND: Duration = Duration::from_secs(1);

/// Returns a retry of 5 attempts with a constant wait of 1 s and no budget.
fn retry() -> RetryBuilder {
    RetryLayer::builder().max_attempts(5).backoff(Backoff::constant(SECOND)).no_budget()
}

/// Returns a breaker that opens for 30 s after two failures.
fn breaker() -> CircuitBreakerLayer {
    let builder = CircuitBreakerLayer::builder().consecutive_failures(2);
    builder.open_for(30 * SECOND).build().unwrap()
}

/// Returns a limiter that admits two calls, and rejects others at once.
fn limit() -> RateLimitLayer {
    RateLimitLayer::builder(Quota::per_minute(2)).max_wait(Duration::ZERO).build().unwrap()
}

/// A response body whose references can be counted.
type Body = Arc<()>;
type ResponseResult = Ready<Result<Response<Body>, io::Error>>;

fn reset(_: Request<()>) -> ResponseResult {
    ready(Err(io::ErrorKind::ConnectionReset.into()))
}

/// Responds 503, each time with the same body.
fn unavailable(body: &Body) -> impl FnMut(Request<()>) -> ResponseResult + Clone + use<> {
    let body = Arc::clone(body);
    move |_| {
        let response = Response::builder().status(503).body(Arc::clone(&body));
        ready(Ok(response.expect("a valid response")))
    }
}

/// An observer that keeps the decisions.
#[derive(Clone, Default)]
struct EventLog(Arc<Mutex<Vec<(Decision, String)>>>);

impl Observer for EventLog {
    fn observe(&self, event: &Event<'_>) {
        if let Event::RetryDecided(observed) = event {
            self.0.lock().unwrap().push((observed.decision, observed.to_string()));
        }
    }
}

impl EventLog {
    fn last(&self) -> (Decision, String) {
        self.0.lock().unwrap().last().cloned().expect("a decision was observed")
    }
}

fn get() -> Request<()> {
    Request::new(())
}

fn is_reset(error: &BoxError) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

#[tokio::test(start_paused = true)]
async fn rejection_by_circuit_returns_previous_error() {
    let log = EventLog::default();
    let stack =
        retry().observer(log.clone()).build().unwrap().layer(breaker().layer(service_fn(reset)));
    let error = stack.oneshot(get()).await.unwrap_err();
    assert!(is_reset(&error), "the upstream's own error, unwrapped: {error}");
    let (decision, text) = log.last();
    assert_eq!(decision, Decision::Stop(StopReason::CircuitOpen));
    let expected = "upstream: attempt 3 failed (circuit open for another 29.0s): \
                not retried: the circuit is open";
    assert_eq!(text, expected);
}

#[tokio::test(start_paused = true)]
async fn rejection_by_limit_returns_previous_error() {
    let log = EventLog::default();
    let stack =
        retry().observer(log.clone()).build().unwrap().layer(limit().layer(service_fn(reset)));
    let error = stack.oneshot(get()).await.unwrap_err();
    assert!(is_reset(&error), "the upstream's own error, unwrapped: {error}");
    let (decision, text) = log.last();
    assert_eq!(decision, Decision::Stop(StopReason::RejectedLocally));
    let expected =
        "upstream: attempt 3 failed (local limit): not retried: rejected by a local limit";
    assert_eq!(text, expected);
}

#[tokio::test(start_paused = true)]
async fn rejection_after_circuit_waits_returns_previous_error() {
    let log = EventLog::default();
    let layer = retry().deadline(20 * SECOND).observer(log.clone()).build().unwrap();
    let breaker = CircuitBreakerLayer::builder().consecutive_failures(1);
    let breaker = breaker.open_for(5 * SECOND).build().unwrap();
    let stack = layer.layer(breaker.layer(service_fn(reset)));
    let started = Instant::now();
    assert!(is_reset(&stack.oneshot(get()).await.unwrap_err()));
    assert_eq!(log.last().0, Decision::Stop(StopReason::Deadline));
    assert!(started.elapsed() > 15 * SECOND, "the call waited for the circuit several times");
}

#[tokio::test(start_paused = true)]
async fn rejection_of_first_attempt_is_returned() {
    let breaker = breaker();
    for _ in 0..2 {
        _ = breaker.layer(service_fn(reset)).oneshot(get()).await;
    }
    let error = retry()
        .build()
        .unwrap()
        .layer(breaker.layer(service_fn(reset)))
        .oneshot(get())
        .await
        .unwrap_err();
    assert!(cause_ref::<CircuitOpen>(&*error).is_some(), "not the rejection: {error}");
    let limit = limit();
    for _ in 0..2 {
        _ = limit.layer(service_fn(reset)).oneshot(get()).await;
    }
    let log = EventLog::default();
    let stack =
        retry().observer(log.clone()).build().unwrap().layer(limit.layer(service_fn(reset)));
    let error = stack.oneshot(get()).await.unwrap_err();
    assert!(cause_ref::<RateLimited>(&*error).is_some(), "not the rejection: {error}");
    assert!(log.0.lock().unwrap().is_empty(), "no decision is emitted");
}

/// A response is dropped before the wait, which frees its connection.
#[tokio::test(start_paused = true)]
async fn rejection_after_wait_needs_keep_last_response() {
    let body = Body::default();
    let inner = service_fn(unavailable(&body));
    let stack = retry().build().unwrap().layer(breaker().layer(inner.clone()));
    let error = stack.oneshot(get()).await.unwrap_err();
    assert!(cause_ref::<CircuitOpen>(&*error).is_some());

    let stack = retry().keep_last_response().build().unwrap().layer(breaker().layer(inner.clone()));
    assert_eq!(stack.oneshot(get()).await.unwrap().status(), 503);
    let stack = retry().keep_last_response().build().unwrap().layer(limit().layer(inner));
    assert_eq!(stack.oneshot(get()).await.unwrap().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn rejection_without_wait_returns_previous_response() {
    let body = Body::default();
    let layer = retry().backoff(Backoff::constant(Duration::ZERO)).build().unwrap();
    let stack = layer.layer(breaker().layer(service_fn(unavailable(&body))));
    assert_eq!(stack.oneshot(get()).await.unwrap().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn kept_response_is_dropped_once_next_attempt_is_sent() {
    let body = Body::default();
    let fail = Arc::new(Mutex::new(Some(unavailable(&body))));
    let inner = service_fn(move |request| {
        let failed = fail.lock().unwrap().take().map(|mut fail| fail(request));
        async move {
            match failed {
                Some(failed) => failed.await,
                None => pending().await,
            }
        }
    });
    let held = || Arc::strong_count(&body) > 1;
    let mut call = pin!(retry().keep_last_response().build().unwrap().layer(inner).oneshot(get()));
    assert!(poll_once(call.as_mut()).is_pending());
    assert!(held(), "kept during the wait");
    tokio::time::sleep(2 * SECOND).await;
    assert!(poll_once(call.as_mut()).is_pending());
    assert!(!held(), "dropped once the next attempt is in flight");
}

#[tokio::test(start_paused = true)]
async fn rejection_returns_the_latest_error() {
    let kinds = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].into_iter();
    let kinds = Arc::new(Mutex::new(kinds));
    let inner = service_fn(move |_: Request<()>| {
        let kind = kinds.lock().unwrap().next().expect("two attempts are admitted");
        ready(Err::<Response<()>, _>(io::Error::from(kind)))
    });
    let error =
        retry().build().unwrap().layer(breaker().layer(inner)).oneshot(get()).await.unwrap_err();
    assert!(is_reset(&error), "not the second error: {error}");
}

#[tokio::test(start_paused = true)]
async fn fail_fast_does_not_wait_for_a_circuit() {
    let log = EventLog::default();
    let layer = retry().deadline(100 * SECOND).fail_fast().observer(log.clone()).build().unwrap();
    let stack = layer.layer(breaker().layer(service_fn(reset)));
    let started = Instant::now();
    assert!(is_reset(&stack.oneshot(get()).await.unwrap_err()));
    assert_eq!(started.elapsed(), 2 * SECOND);
    assert_eq!(log.last().0, Decision::Stop(StopReason::CircuitOpen));
}

#[tokio::test(start_paused = true)]
async fn deadline_max_does_not_wait_for_a_circuit() {
    let unbounded = Override::new().deadline(Duration::MAX);
    let mut overriding = get();
    overriding.extensions_mut().insert(unbounded);
    let layers =
        [(retry().deadline(Duration::MAX), get()), (retry().deadline(60 * SECOND), overriding)];
    for (layer, request) in layers {
        let log = EventLog::default();
        let start = Instant::now();
        let layer = layer.observer(log.clone()).build().unwrap();
        let stack = layer.layer(breaker().layer(service_fn(reset)));
        assert!(is_reset(&stack.oneshot(request).await.unwrap_err()));
        assert_eq!(log.last().0, Decision::Stop(StopReason::CircuitOpen));
        assert!(start.elapsed() < 3 * SECOND);
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Both regions fail, then both of their circuits are open.
#[cfg(feature = "failover")]
#[tokio::test(start_paused = true)]
async fn rejection_by_all_regions_returns_previous_error() {
    use tower_upstream::FailoverLayer;
    use tower_upstream::failover::{Region, Regions};

    let region = |name| Region::new(name, format!("https://{name}.example.com"));
    let regions = Regions::new([region("us-west-2"), region("eu-west-1")]).unwrap();
    let breaker = CircuitBreakerLayer::builder().consecutive_failures(1).by_region();
    let log = EventLog::default();
    let stack = tower::ServiceBuilder::new()
        .layer(retry().observer(log.clone()).build().unwrap())
        .layer(FailoverLayer::new(regions))
        .layer(breaker.open_for(30 * SECOND).build().unwrap())
        .service_fn(reset);
    let error = stack.oneshot(get()).await.unwrap_err();
    assert!(cause_ref::<io::Error>(&*error).is_some(), "the upstream's error: {error}");
    assert!(cause_ref::<CircuitOpen>(&*error).is_none());
    assert_eq!(log.last().0, Decision::Stop(StopReason::CircuitOpen));
}

/// The reason is the circuit, not that the request wasn't saved for another attempt.
#[tokio::test(start_paused = true)]
async fn rejection_of_last_attempt_reports_open_circuit() {
    let log = EventLog::default();
    let stack = retry().max_attempts(3).observer(log.clone()).build().unwrap();
    stack.layer(breaker().layer(service_fn(reset))).oneshot(get()).await.unwrap_err();
    assert_eq!(log.last().0, Decision::Stop(StopReason::CircuitOpen));
}

/// A rejected attempt isn't counted, with or without a deadline, so a third region receives it.
#[cfg(feature = "failover")]
#[tokio::test(start_paused = true)]
async fn rejection_of_last_attempt_by_region_tries_the_next() {
    let region = |name: &'static str| Region::new(name, format!("https://{name}.example.com"));
    for deadline in [None, Some(60 * SECOND)] {
        let regions = [region("a").priority(1), region("b").priority(2), region("c").priority(3)];
        let breaker = CircuitBreakerLayer::builder().by_region().build().unwrap();
        assert!(breaker.handle().force_open_of(&KeyRef::text("b")));
        let client = service_fn(|request: Request<()>| {
            let status = if request.uri().host() == Some("c.example.com") { 200 } else { 500 };
            ready(Response::builder().status(status).body(()))
        });
        let retry = retry().max_attempts(2);
        let retry = deadline.map_or(retry.clone(), |deadline| retry.deadline(deadline));
        let retry = retry.build().unwrap();
        let failover = FailoverLayer::builder(Regions::new(regions).unwrap()).build().unwrap();
        let stack = retry.layer(failover.layer(breaker.layer(client)));
        assert_eq!(stack.oneshot(get()).await.unwrap().status(), 200, "{deadline:?}");
    }
}

/// Otherwise retries that were never sent would spend the budget while the circuit is open.
#[tokio::test(start_paused = true)]
async fn rejection_refunds_the_budget() {
    let budget = Arc::new(RetryBudget::new().ratio(0.0).per_second(0.0).reserve(10));
    let retry = retry().budget(Arc::clone(&budget)).build().unwrap();
    // The second attempt is sent and paid for; the third isn't.
    let stack = retry.layer(breaker().layer(service_fn(reset)));
    assert!(is_reset(&stack.oneshot(get()).await.unwrap_err()));
    assert_eq!(budget.remaining(), 9);
    let stack = retry.layer(limit().layer(service_fn(reset)));
    assert!(is_reset(&stack.oneshot(get()).await.unwrap_err()));
    assert_eq!(budget.remaining(), 8);
}

/// A retry that is sent once the circuit admits it costs one withdrawal.
#[tokio::test(start_paused = true)]
async fn retry_after_circuit_wait_is_paid_once() {
    let budget = Arc::new(RetryBudget::new().ratio(0.0).per_second(0.0).reserve(10));
    let retry =
        retry().max_attempts(3).deadline(60 * SECOND).budget(Arc::clone(&budget)).build().unwrap();
    let stack = retry.layer(breaker().layer(service_fn(reset)));
    assert!(is_reset(&stack.oneshot(get()).await.unwrap_err()));
    assert_eq!(budget.remaining(), 8, "two retries were sent");
}
