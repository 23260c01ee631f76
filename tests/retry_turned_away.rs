//! What a caller gets if its last attempt never left, after others that were answered.

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

/// A retry that waits 1 s each time, without anything that a test doesn't set.
fn retry() -> RetryBuilder {
    RetryLayer::builder().max_attempts(5).backoff(Backoff::constant(SECOND)).no_budget()
}

/// A breaker that opens for half a minute after two failures.
fn breaker() -> CircuitBreakerLayer {
    let builder = CircuitBreakerLayer::builder().consecutive_failures(2);
    builder.open_for(30 * SECOND).build().unwrap()
}

/// A limiter that lets two calls through, and turns others away at once.
fn limit() -> RateLimitLayer {
    RateLimitLayer::builder(Quota::per_minute(2)).max_wait(Duration::ZERO).build()
}

/// The body of an answer, which can be counted while it lives.
type Body = Arc<()>;
type Answer = Ready<Result<Response<Body>, io::Error>>;

fn reset(_: Request<()>) -> Answer {
    ready(Err(io::ErrorKind::ConnectionReset.into()))
}

/// Answers 503, each time with the same body.
fn unavailable(body: &Body) -> impl FnMut(Request<()>) -> Answer + Clone + use<> {
    let body = Arc::clone(body);
    move |_| {
        let response = Response::builder().status(503).body(Arc::clone(&body));
        ready(Ok(response.expect("a valid response")))
    }
}

/// An observer that keeps what was decided.
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
        self.0.lock().unwrap().last().cloned().expect("it was observed of something")
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
async fn after_an_error_an_open_circuit_is_not_what_the_caller_sees() {
    let log = EventLog::default();
    let stack =
        retry().observer(log.clone()).build().unwrap().layer(breaker().layer(service_fn(reset)));
    let error = stack.oneshot(get()).await.unwrap_err();
    assert!(is_reset(&error), "the upstream's own error, unwrapped: {error}");
    let (decision, text) = log.last();
    assert_eq!(decision, Decision::Stop(StopReason::CircuitOpen));
    let said = "upstream: attempt 3 failed (circuit open for another 29.0s): \
                not retried: the circuit is open";
    assert_eq!(text, said);
}

#[tokio::test(start_paused = true)]
async fn after_an_error_a_limit_is_not_what_the_caller_sees() {
    let log = EventLog::default();
    let stack =
        retry().observer(log.clone()).build().unwrap().layer(limit().layer(service_fn(reset)));
    let error = stack.oneshot(get()).await.unwrap_err();
    assert!(is_reset(&error), "the upstream's own error, unwrapped: {error}");
    let (decision, text) = log.last();
    assert_eq!(decision, Decision::Stop(StopReason::RejectedLocally));
    let said = "upstream: attempt 3 failed (local limit): not retried: rejected by a local limit";
    assert_eq!(text, said);
}

#[tokio::test(start_paused = true)]
async fn after_waits_for_a_circuit_the_earlier_error_comes_back() {
    let log = EventLog::default();
    let layer = retry().deadline(20 * SECOND).observer(log.clone()).build().unwrap();
    let breaker = CircuitBreakerLayer::builder().consecutive_failures(1);
    let breaker = breaker.open_for(5 * SECOND).build().unwrap();
    let stack = layer.layer(breaker.layer(service_fn(reset)));
    let started = Instant::now();
    assert!(is_reset(&stack.oneshot(get()).await.unwrap_err()));
    assert_eq!(log.last().0, Decision::Stop(StopReason::Deadline));
    assert!(started.elapsed() > 15 * SECOND, "the circuit was waited for, again and again");
}

#[tokio::test(start_paused = true)]
async fn what_was_rejected_first_is_what_the_caller_sees() {
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
    assert!(cause_ref::<CircuitOpen>(&*error).is_some(), "nothing else happened: {error}");
    let limit = limit();
    for _ in 0..2 {
        _ = limit.layer(service_fn(reset)).oneshot(get()).await;
    }
    let log = EventLog::default();
    let stack =
        retry().observer(log.clone()).build().unwrap().layer(limit.layer(service_fn(reset)));
    let error = stack.oneshot(get()).await.unwrap_err();
    assert!(cause_ref::<RateLimited>(&*error).is_some(), "nothing else happened: {error}");
    assert!(log.0.lock().unwrap().is_empty(), "nothing was given up");
}

/// A body may hold a connection, which is free during the wait.
#[tokio::test(start_paused = true)]
async fn a_response_is_gone_with_the_wait_unless_answers_are_held() {
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
async fn a_response_comes_back_where_there_was_no_wait() {
    let body = Body::default();
    let at_once = retry().backoff(Backoff::constant(Duration::ZERO)).build().unwrap();
    let stack = at_once.layer(breaker().layer(service_fn(unavailable(&body))));
    assert_eq!(stack.oneshot(get()).await.unwrap().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_held_answer_goes_when_the_next_attempt_is_under_way() {
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
    assert!(held(), "it waits");
    tokio::time::sleep(2 * SECOND).await;
    assert!(poll_once(call.as_mut()).is_pending());
    assert!(!held(), "the next one is in flight");
}

#[tokio::test(start_paused = true)]
async fn the_last_of_the_real_answers_comes_back() {
    let kinds = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].into_iter();
    let kinds = Arc::new(Mutex::new(kinds));
    let inner = service_fn(move |_: Request<()>| {
        let kind = kinds.lock().unwrap().next().expect("two are let through");
        ready(Err::<Response<()>, _>(io::Error::from(kind)))
    });
    let error =
        retry().build().unwrap().layer(breaker().layer(inner)).oneshot(get()).await.unwrap_err();
    assert!(is_reset(&error), "the second one: {error}");
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_fast_does_not_wait_for_a_circuit() {
    let log = EventLog::default();
    let layer = retry().deadline(100 * SECOND).fail_fast().observer(log.clone()).build().unwrap();
    let stack = layer.layer(breaker().layer(service_fn(reset)));
    let started = Instant::now();
    assert!(is_reset(&stack.oneshot(get()).await.unwrap_err()));
    assert_eq!(started.elapsed(), 2 * SECOND);
    assert_eq!(log.last().0, Decision::Stop(StopReason::CircuitOpen));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_without_an_end_bounds_no_wait_for_a_circuit() {
    let unbounded = Override::new().deadline(Duration::MAX);
    let mut asks = get();
    asks.extensions_mut().insert(unbounded);
    let layers = [(retry().deadline(Duration::MAX), get()), (retry().deadline(60 * SECOND), asks)];
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
async fn after_errors_no_region_at_all_is_not_what_the_caller_sees() {
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

/// The reason isn't that nothing was kept: no attempt could have followed the last one.
#[tokio::test(start_paused = true)]
async fn a_last_attempt_that_a_circuit_rejects_says_so() {
    let log = EventLog::default();
    let stack = retry().max_attempts(3).observer(log.clone()).build().unwrap();
    stack.layer(breaker().layer(service_fn(reset))).oneshot(get()).await.unwrap_err();
    assert_eq!(log.last().0, Decision::Stop(StopReason::CircuitOpen));
}

/// The attempt wasn't made, with or without a deadline, so a third region still gets it.
#[cfg(feature = "failover")]
#[tokio::test(start_paused = true)]
async fn a_last_attempt_that_a_region_rejects_goes_to_the_next_one() {
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

/// Else the budget of all calls is gone when the circuit closes, for retries that were never sent.
#[tokio::test(start_paused = true)]
async fn what_was_rejected_gives_its_budget_back() {
    let budget = Arc::new(RetryBudget::new(0.0, 0.0, 10));
    let retry = retry().budget(Arc::clone(&budget)).build().unwrap();
    // The second attempt is sent and paid for; the third isn't.
    let stack = retry.layer(breaker().layer(service_fn(reset)));
    assert!(is_reset(&stack.oneshot(get()).await.unwrap_err()));
    assert_eq!(budget.remaining(), 9);
    let stack = retry.layer(limit().layer(service_fn(reset)));
    assert!(is_reset(&stack.oneshot(get()).await.unwrap_err()));
    assert_eq!(budget.remaining(), 8);
}

/// Nor is it paid for twice, or not at all, if it is sent when the circuit lets it through.
#[tokio::test(start_paused = true)]
async fn what_is_sent_after_a_wait_for_a_circuit_is_paid_for_once() {
    let budget = Arc::new(RetryBudget::new(0.0, 0.0, 10));
    let retry =
        retry().max_attempts(3).deadline(60 * SECOND).budget(Arc::clone(&budget)).build().unwrap();
    let stack = retry.layer(breaker().layer(service_fn(reset)));
    assert!(is_reset(&stack.oneshot(get()).await.unwrap_err()));
    assert_eq!(budget.remaining(), 8, "two retries were sent");
}
