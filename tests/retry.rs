//! The retry layer over a scripted upstream, on a paused clock.

#![cfg(feature = "retry")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{join, join_all};
use http::{Request, Response};
use tokio::time::{Instant, advance};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::classify::{Cause, Class, ErrorClassifier, Outcome, Verdict, result_fn};
use tower_upstream::event::{Event, Observer, observer_fn};
use tower_upstream::retry::RetryBuilder;
use tower_upstream::retry::{
    AttemptTimedOut, Backoff, Budget, CredentialRejected, DeadlineExceeded, Decision, HintUse,
    Jitter, RetryBudget, StopReason,
};
use tower_upstream::scope::CallScope;
use tower_upstream::{BoxError, RetryLayer, cause_ref};

/// The result of one attempt.
#[derive(Clone, Copy, Debug)]
enum Step {
    Status(u16),
    /// A status with one header.
    Header(u16, &'static str, &'static str),
    Refused,
    /// An error that the classifier doesn't know.
    Fails,
    /// No result, ever.
    Hangs,
    /// A status after this many seconds.
    Slow(u64, u16),
}

use Step::{Fails, Hangs, Header, Refused, Slow, Status};

/// The result of `poll_ready`.
#[derive(Clone, Copy, Debug)]
enum Readiness {
    Ready,
    Fails,
    Never,
    /// Ready after this many seconds.
    Later(u64),
}

/// An upstream that follows a script, and panics if it is called unready.
struct Upstream {
    script: Arc<Script>,
    ready: bool,
    readying: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// `poll_ready` failed, after which a service must be discarded.
    failed: bool,
}

#[derive(Default)]
struct Script {
    steps: Mutex<VecDeque<Step>>,
    readiness: Mutex<VecDeque<Readiness>>,
    readied: AtomicUsize,
    attempts: Mutex<Vec<Attempt>>,
    /// Attempts whose future still exists.
    in_flight: AtomicUsize,
    /// Responses that still exist.
    responses: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: Instant,
    number: Option<u32>,
    deadline: Option<Instant>,
}

/// A response body with the number of its attempt, counted while it exists.
#[derive(Debug)]
struct TrackedBody {
    number: usize,
    script: Arc<Script>,
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.script.responses.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

/// The error of a failing upstream, with the number of its attempt.
#[derive(Debug)]
struct Failed(usize);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failure {}", self.0)
    }
}

impl Error for Failed {}

struct InFlight(Arc<Script>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Upstream {
    fn new(steps: &[Step]) -> Self {
        let steps = Mutex::new(steps.iter().copied().collect());
        Self {
            script: Arc::new(Script { steps, ..Script::default() }),
            ready: false,
            readying: None,
            failed: false,
        }
    }

    fn readiness(self, readiness: &[Readiness]) -> Self {
        self.script.readiness.lock().unwrap().extend(readiness);
        self
    }

    fn attempts(&self) -> usize {
        self.script.attempts.lock().unwrap().len()
    }

    /// Returns the attempt number in the scope of each attempt.
    fn numbers(&self) -> Vec<u32> {
        let attempts = self.script.attempts.lock().unwrap();
        attempts.iter().map(|attempt| attempt.number.unwrap()).collect()
    }

    fn deadlines(&self) -> Vec<Option<Instant>> {
        self.script.attempts.lock().unwrap().iter().map(|attempt| attempt.deadline).collect()
    }

    /// Returns the times between attempts, in whole milliseconds as tokio's timers.
    fn gaps(&self) -> Vec<Duration> {
        let attempts = self.script.attempts.lock().unwrap();
        attempts.windows(2).map(|pair| whole_millis(pair[1].at - pair[0].at)).collect()
    }

    fn readied(&self) -> usize {
        self.script.readied.load(Ordering::Relaxed)
    }

    fn in_flight(&self) -> usize {
        self.script.in_flight.load(Ordering::Relaxed)
    }

    fn responses(&self) -> usize {
        self.script.responses.load(Ordering::Relaxed)
    }
}

/// A clone isn't ready.
impl Clone for Upstream {
    fn clone(&self) -> Self {
        Self { script: Arc::clone(&self.script), ready: false, readying: None, failed: false }
    }
}

impl Service<Request<()>> for Upstream {
    type Response = Response<TrackedBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<TrackedBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        assert!(!self.failed, "polled after it failed");
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        if self.readying.is_none() {
            let mut script = self.script.readiness.lock().unwrap();
            match script.pop_front().unwrap_or(Readiness::Ready) {
                Readiness::Ready => self.readying = Some(Box::pin(async {})),
                Readiness::Fails => {
                    self.failed = true;
                    return Poll::Ready(Err(Failed(0).into()));
                }
                Readiness::Never => self.readying = Some(Box::pin(pending())),
                Readiness::Later(seconds) => self.readying = Some(Box::pin(sleep(seconds))),
            }
        }
        if let Some(readying) = &mut self.readying {
            std::task::ready!(readying.as_mut().poll(cx));
        }
        self.script.readied.fetch_add(1, Ordering::Relaxed);
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called unready");
        self.readying = None;
        let script = Arc::clone(&self.script);
        let scope = CallScope::current();
        let (number, deadline) =
            (scope.map(|scope| scope.attempt()), scope.and_then(|scope| scope.deadline()));
        let count = {
            let mut attempts = script.attempts.lock().unwrap();
            attempts.push(Attempt { at: now(), number, deadline });
            attempts.len()
        };
        script.in_flight.fetch_add(1, Ordering::Relaxed);
        let in_flight = InFlight(Arc::clone(&script));
        let step = script.steps.lock().unwrap().pop_front().unwrap_or(Status(200));
        Box::pin(async move {
            let _in_flight = in_flight;
            assert_eq!(CallScope::current().map(|scope| scope.attempt()), number);
            let respond = |status| {
                script.responses.fetch_add(1, Ordering::Relaxed);
                let body = TrackedBody { number: count, script: Arc::clone(&script) };
                Response::builder().status(status).body(body).unwrap()
            };
            match step {
                Status(status) => Ok(respond(status)),
                Header(status, name, value) => {
                    let mut response = respond(status);
                    response.headers_mut().insert(name, value.parse().unwrap());
                    Ok(response)
                }
                Refused => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
                Fails => Err(Failed(count).into()),
                Hangs => pending().await,
                Slow(seconds, status) => {
                    sleep(seconds).await;
                    Ok(respond(status))
                }
            }
        })
    }
}

fn now() -> Instant {
    Instant::now()
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(secs(seconds)).await;
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap())
}

async fn poll_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut future).poll(cx))).await
}

/// Returns a retry with a constant wait of 1 s and no budget.
fn plain() -> RetryBuilder {
    RetryLayer::builder().backoff(Backoff::constant(secs(1))).no_budget()
}

fn get() -> Request<()> {
    Request::new(())
}

fn post() -> Request<()> {
    Request::post("/").body(()).unwrap()
}

fn post_with_key() -> Request<()> {
    Request::post("/").header("idempotency-key", "7").body(()).unwrap()
}

/// An observer that keeps the decisions of retries.
#[derive(Clone, Default)]
struct EventLog(Arc<Mutex<Vec<(String, Decision, Verdict)>>>);

impl Observer for EventLog {
    fn observe(&self, event: &Event<'_>) {
        if let Event::RetryDecided(event) = event {
            self.0.lock().unwrap().push((event.to_string(), event.decision, event.verdict));
        }
    }
}

impl EventLog {
    fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(text, ..)| text.clone()).collect()
    }

    /// Returns the reason for which the call was not retried, if it wasn't.
    fn stopped(&self) -> Option<StopReason> {
        match self.0.lock().unwrap().last()?.1 {
            Decision::Stop(reason) => Some(reason),
            _ => None,
        }
    }
}

/// Returns the status of the response, or 0 for an error, and the number of attempts.
async fn outcome(layer: &RetryLayer, steps: &[Step], request: Request<()>) -> (u16, usize) {
    let upstream = Upstream::new(steps);
    let status = match layer.layer(upstream.clone()).oneshot(request).await {
        Ok(response) => response.status().as_u16(),
        Err(_) => 0,
    };
    (status, upstream.attempts())
}

// Requests that are repeated.

#[tokio::test(start_paused = true)]
async fn retry_success_is_sent_once() {
    for status in [200, 204, 302, 304] {
        assert_eq!(outcome(&plain().build().unwrap(), &[Status(status)], get()).await, (status, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn retry_passing_failures_are_repeated() {
    for failure in [Status(429), Status(503), Status(529), Status(500), Status(408), Refused, Fails]
    {
        assert_eq!(
            outcome(&plain().build().unwrap(), &[failure, failure], get()).await,
            (200, 3),
            "{failure:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn retry_rejected_credential_or_request_is_sent_once() {
    for status in [400, 401, 403, 404, 422, 501] {
        assert_eq!(outcome(&plain().build().unwrap(), &[Status(status)], get()).await, (status, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn retry_post_maybe_processed_is_sent_once() {
    let log = EventLog::default();
    let layer = plain().attempt_timeout(secs(5)).observer(log.clone()).build().unwrap();
    for failure in [Hangs, Fails] {
        assert_eq!(outcome(&layer, &[failure], post()).await, (0, 1), "{failure:?}");
        assert_eq!(log.stopped(), Some(StopReason::NotIdempotent));
    }
    for failure in [500, 502, 503, 504] {
        assert_eq!(outcome(&layer, &[Status(failure)], post()).await, (failure, 1));
        assert_eq!(log.stopped(), Some(StopReason::NotIdempotent));
    }
}

#[tokio::test(start_paused = true)]
async fn retry_post_with_idempotency_key_is_repeated() {
    let layer = plain().attempt_timeout(secs(5)).build().unwrap();
    for failure in [Hangs, Fails, Status(500), Status(503)] {
        assert_eq!(outcome(&layer, &[failure], post_with_key()).await, (200, 2), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_non_idempotent_post_is_repeated() {
    let layer = plain().attempt_timeout(secs(5)).retry_non_idempotent().build().unwrap();
    for failure in [Hangs, Fails, Status(500), Status(503)] {
        assert_eq!(outcome(&layer, &[failure], post()).await, (200, 2), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_post_not_processed_is_repeated() {
    let unprocessed = [
        Status(429),
        Header(429, "retry-after", "2"),
        Header(503, "retry-after", "2"),
        Header(529, "retry-after-ms", "20"),
        Refused,
        Header(500, "x-should-retry", "true"),
    ];
    for failure in unprocessed {
        assert_eq!(
            outcome(&plain().build().unwrap(), &[failure], post()).await,
            (200, 2),
            "{failure:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn retry_should_retry_false_is_obeyed() {
    let log = EventLog::default();
    let layer = plain().observer(log.clone()).build().unwrap();
    let no = Header(503, "x-should-retry", "false");
    assert_eq!(outcome(&layer, &[no], get()).await, (503, 1));
    assert_eq!(log.stopped(), Some(StopReason::ServerSaidNo));
    // It may also request a retry of a status that isn't retried otherwise.
    assert_eq!(outcome(&layer, &[Header(400, "x-should-retry", "true")], get()).await, (200, 2));
}

#[tokio::test(start_paused = true)]
async fn retry_if_chooses_by_verdict() {
    let log = EventLog::default();
    let layer = plain()
        .observer(log.clone())
        .retry_if(|verdict| verdict.class() == Class::Throttled)
        .build()
        .unwrap();
    assert_eq!(outcome(&layer, &[Status(429)], get()).await, (200, 2));
    assert_eq!(outcome(&layer, &[Status(503)], get()).await, (503, 1));
    assert_eq!(log.stopped(), Some(StopReason::NotRetryable));
    let all = plain().retry_if(|_| true).build().unwrap();
    assert_eq!(outcome(&all, &[Status(404)], get()).await, (200, 2));
    assert_eq!(outcome(&all, &[Status(401)], get()).await, (401, 1));
}

// Number of attempts, and the final result.

#[tokio::test(start_paused = true)]
async fn max_attempts_includes_the_first() {
    for (most, attempts) in [(1, 1), (2, 2), (5, 5)] {
        let layer = plain().max_attempts(most).build().unwrap();
        assert_eq!(outcome(&layer, &[Status(503); 9], get()).await, (503, attempts));
    }
}

#[tokio::test(start_paused = true)]
async fn retry_exhausted_returns_last_response_unchanged() {
    let upstream = Upstream::new(&[
        Status(500),
        Header(503, "x-name", "value"),
        Header(503, "x-name", "last"),
    ]);
    let response = plain().build().unwrap().layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-name"]),
        (503, &"last".parse().unwrap())
    );
    assert_eq!(response.body().number, 3);

    let upstream = Upstream::new(&[Fails; 3]);
    let error = plain().build().unwrap().layer(upstream).oneshot(get()).await.unwrap_err();
    // The same error, not wrapped.
    assert_eq!(error.downcast_ref::<Failed>().unwrap().0, 3);
}

#[tokio::test(start_paused = true)]
async fn credential_error_replaces_the_response() {
    let log = EventLog::default();
    let layer = plain().credential_error().observer(log.clone()).build().unwrap();
    let upstream = Upstream::new(&[Status(401)]);
    let error = layer.layer(upstream.clone()).oneshot(get()).await.unwrap_err();
    let rejected = cause_ref::<CredentialRejected>(&*error).unwrap();
    assert_eq!(rejected.cause(), Cause::Status(http::StatusCode::UNAUTHORIZED));
    assert_eq!(log.stopped(), Some(StopReason::CredentialRejected));
    assert_eq!((upstream.attempts(), upstream.responses()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn credential_error_keeps_the_source() {
    let layer = plain()
        .credential_error()
        .classify_fn(|_: Outcome<'_>| Verdict::credential_rejected())
        .build()
        .unwrap();
    let error = layer.layer(Upstream::new(&[Fails])).oneshot(get()).await.unwrap_err();
    assert!(error.is::<CredentialRejected>());
    assert_eq!(cause_ref::<Failed>(&*error).unwrap().0, 1);
}

// Waits.

#[tokio::test(start_paused = true)]
async fn backoff_doubles_with_each_attempt() {
    let backoff = Backoff::exponential(secs(1)).max(secs(5)).jitter(Jitter::None);
    let upstream = Upstream::new(&[Status(503); 5]);
    let layer = plain().max_attempts(5).backoff(backoff).build().unwrap();
    _ = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!(upstream.gaps(), [1, 2, 4, 5].map(secs));
}

#[tokio::test(start_paused = true)]
async fn seed_makes_waits_repeatable() {
    let gaps = async |seed| {
        let upstream = Upstream::new(&[Status(503); 4]);
        let layer = RetryLayer::builder().max_attempts(5).no_budget().seed(seed).build().unwrap();
        _ = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
        upstream.gaps()
    };
    assert_eq!(gaps(1).await, gaps(1).await);
    assert_ne!(gaps(1).await, gaps(2).await);
}

/// Otherwise all calls that failed together would return together.
#[tokio::test(start_paused = true)]
async fn decorrelated_first_wait_differs_between_calls() {
    let layer = plain()
        .backoff(Backoff::exponential(secs(1)).jitter(Jitter::Decorrelated))
        .seed(3)
        .build()
        .unwrap();
    let mut first = Vec::new();
    for _ in 0..10 {
        let upstream = Upstream::new(&[Status(503)]);
        _ = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
        first.extend(upstream.gaps());
    }
    assert!(first.iter().all(|wait| *wait >= secs(1) && *wait <= secs(3)), "{first:?}");
    first.dedup();
    assert!(first.len() > 5, "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn decorrelated_waits_build_on_the_previous() {
    let backoff = Backoff::exponential(secs(1)).jitter(Jitter::Decorrelated);
    let upstream = Upstream::new(&[Status(503); 29]);
    let layer = plain().max_attempts(30).backoff(backoff).seed(5).build().unwrap();
    _ = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    let gaps = upstream.gaps();
    assert!(gaps.windows(2).all(|two| two[1] <= 3 * two[0] + Duration::from_millis(5)));
    assert_eq!(*gaps.iter().max().unwrap(), secs(10));
}

#[tokio::test(start_paused = true)]
async fn hint_is_waited_for_in_full() {
    for (hint_use, expected) in [
        (HintUse::Floor, [secs(7), secs(2)]),
        (HintUse::Replace, [secs(7), secs(1)]),
        (HintUse::Ignore, [secs(2), secs(2)]),
    ] {
        let layer = plain().backoff(Backoff::constant(secs(2))).hint(hint_use).build().unwrap();
        let upstream =
            Upstream::new(&[Header(429, "retry-after", "7"), Header(503, "retry-after", "1")]);
        _ = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
        assert_eq!(upstream.gaps(), expected, "{hint_use:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn hint_above_cap_returns_at_once() {
    let log = EventLog::default();
    let layer = plain().observer(log.clone()).hint_cap(secs(30)).build().unwrap();
    let started = now();
    assert_eq!(outcome(&layer, &[Header(429, "retry-after", "31")], get()).await, (429, 1));
    assert_eq!(now(), started);
    let reason = StopReason::HintAboveCap { requested: secs(31), cap: secs(30) };
    assert_eq!(log.stopped(), Some(reason));
    assert_eq!(outcome(&layer, &[Header(429, "retry-after", "30")], get()).await, (200, 2));
    assert_eq!(whole_millis(now() - started), secs(30));
}

#[tokio::test(start_paused = true)]
async fn response_is_dropped_before_the_wait() {
    let upstream = Upstream::new(&[Status(503), Fails]);
    let mut call = pin!(plain().build().unwrap().layer(upstream.clone()).oneshot(get()));
    assert!(poll_once(call.as_mut()).await.is_pending());
    assert_eq!((upstream.attempts(), upstream.responses(), upstream.in_flight()), (1, 0, 0));
    advance(secs(1)).await;
    assert!(poll_once(call.as_mut()).await.is_pending());
    assert_eq!((upstream.attempts(), upstream.responses(), upstream.in_flight()), (2, 0, 0));
    let response = call.await.unwrap();
    assert_eq!((upstream.attempts(), upstream.responses()), (3, 1));
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn concurrency_permit_is_free_during_the_wait() {
    let upstream = Upstream::new(&[Status(503)]);
    let stack = ServiceBuilder::new()
        .layer(plain().backoff(Backoff::constant(secs(10))).build().unwrap())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(upstream.clone());
    let mut waiting = pin!(stack.clone().oneshot(get()));
    assert!(poll_once(waiting.as_mut()).await.is_pending());
    let started = now();
    stack.oneshot(get()).await.unwrap();
    assert_eq!(now(), started);
    assert_eq!(waiting.await.unwrap().status(), 200);
}

/// Otherwise no other task of this thread would run, not even the timer that ends the call.
#[tokio::test(start_paused = true)]
async fn immediate_failures_yield_to_other_tasks() {
    let upstream = service_fn(async |_: Request<()>| Err::<Response<()>, _>(Failed(0)));
    let layer =
        plain().max_attempts(u32::MAX).backoff(Backoff::constant(Duration::ZERO)).build().unwrap();
    let mut call = pin!(layer.layer(upstream).oneshot(get()));
    assert!(poll_once(call.as_mut()).await.is_pending());
    assert!(poll_once(call.as_mut()).await.is_pending());
}

#[tokio::test(start_paused = true)]
async fn immediate_failures_100_attempts_complete() {
    let layer =
        plain().max_attempts(300).backoff(Backoff::constant(Duration::ZERO)).build().unwrap();
    let started = now();
    assert_eq!(outcome(&layer, &[Status(503); 299], get()).await, (200, 300));
    assert_eq!(now(), started);
}

#[tokio::test(start_paused = true)]
async fn extreme_settings_neither_panic_nor_wait() {
    let forever = plain()
        .deadline(Duration::MAX)
        .attempt_timeout(Duration::MAX)
        .hint_cap(Duration::MAX)
        .max_attempts(u32::MAX);
    let built = forever.clone().build().unwrap();
    assert_eq!(outcome(&built, &[Status(503)], get()).await, (200, 2));
    let upstream = Upstream::new(&[Status(503)]);
    // Longer than any deadline.
    let added = Backoff::constant(Duration::MAX).jitter(Jitter::Additive(Duration::MAX));
    let bounded = forever.deadline(Duration::MAX - Duration::from_nanos(1));
    let bounded = bounded.backoff(added).build().unwrap();
    assert_eq!(outcome(&bounded, &[Status(503)], get()).await, (503, 1));
    let longest = plain().backoff(Backoff::constant(Duration::MAX)).build().unwrap();
    let mut call = pin!(longest.layer(upstream.clone()).oneshot(get()));
    assert!(poll_once(call.as_mut()).await.is_pending());
    let shortest = RetryLayer::builder()
        .deadline(Duration::from_nanos(1))
        .attempt_timeout(Duration::from_nanos(1))
        .hint_cap(Duration::ZERO)
        .max_attempts(1)
        .build()
        .unwrap();
    // An immediate response is still returned.
    assert_eq!(outcome(&shortest, &[Status(200)], get()).await, (200, 1));
    assert_eq!(outcome(&shortest, &[Hangs], get()).await, (0, 1));
}

#[test]
fn build_settings_that_fail_every_call_are_rejected() {
    for (builder, setting) in [
        (plain().max_attempts(0), "max_attempts"),
        (plain().deadline(Duration::ZERO), "deadline"),
        (plain().attempt_timeout(Duration::ZERO), "attempt_timeout"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(setting) && error.contains("set "), "{error}");
    }
}

// Deadline and attempt timeout.

#[tokio::test(start_paused = true)]
async fn deadline_longer_wait_is_not_slept() {
    let log = EventLog::default();
    let layer = plain().max_attempts(9).deadline(secs(10)).observer(log.clone());
    let started = now();
    let four = layer.clone().backoff(Backoff::constant(secs(4))).build().unwrap();
    assert_eq!(outcome(&four, &[Status(503); 9], get()).await, (503, 3));
    assert_eq!(whole_millis(now() - started), secs(8));
    assert_eq!(log.stopped(), Some(StopReason::Deadline));

    let started = now();
    let layer = layer.build().unwrap();
    assert_eq!(outcome(&layer, &[Header(429, "retry-after", "10")], get()).await, (429, 1));
    assert_eq!(now(), started);
}

#[tokio::test(start_paused = true)]
async fn deadline_drops_the_attempt_in_flight() {
    let log = EventLog::default();
    let layer = plain().deadline(secs(10)).observer(log.clone()).build().unwrap();
    let upstream = Upstream::new(&[Status(503), Hangs]);
    let started = now();
    let mut call = pin!(layer.layer(upstream.clone()).oneshot(get()));
    let error = call.as_mut().await.unwrap_err();
    assert_eq!(whole_millis(now() - started), secs(10));
    assert_eq!(cause_ref::<DeadlineExceeded>(&*error).unwrap().attempt(), 2);
    // Even while the call's future still exists.
    assert_eq!(upstream.in_flight(), 0);
    assert_eq!(
        log.texts(),
        [
            "upstream: attempt 1 failed (status 503): retry in 1.0s",
            "upstream: attempt 2 failed (deadline exceeded): not retried: the deadline leaves no time",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn deadline_drops_an_attempt_getting_ready() {
    let layer = plain().deadline(secs(10)).build().unwrap();
    let upstream = Upstream::new(&[Status(503)]).readiness(&[Readiness::Ready, Readiness::Never]);
    let started = now();
    let error = layer.layer(upstream.clone()).oneshot(get()).await.unwrap_err();
    assert_eq!(whole_millis(now() - started), secs(10));
    assert!(error.is::<DeadlineExceeded>());
    assert_eq!(upstream.attempts(), 1);
}

/// As after a machine was suspended: the caller has given up, and the response would be billed.
#[tokio::test(start_paused = true)]
async fn deadline_late_wake_sends_nothing() {
    let (budget, shared) = budget(3);
    let layer = RetryLayer::builder().backoff(Backoff::constant(secs(1))).budget(shared);
    let upstream = Upstream::new(&[Status(503)]);
    let layer = layer.deadline(secs(10)).build().unwrap();
    let mut call = pin!(layer.layer(upstream.clone()).oneshot(get()));
    assert!(poll_once(call.as_mut()).await.is_pending());
    advance(secs(3600)).await;
    let error = call.await.unwrap_err();
    assert_eq!(cause_ref::<DeadlineExceeded>(&*error).unwrap().attempt(), 2);
    assert_eq!(upstream.attempts(), 1);
    assert_eq!(budget.remaining(), 3);
}

/// The next attempt was never in flight, so the previous error is still the last result.
#[tokio::test(start_paused = true)]
async fn deadline_before_next_attempt_returns_last_error() {
    let layer = plain().deadline(secs(10));
    let never = [Readiness::Ready, Readiness::Never];
    for readiness in [&never[..], &[]] {
        let log = EventLog::default();
        let upstream = Upstream::new(&[Fails]).readiness(readiness);
        let stack = layer.clone().observer(log.clone()).build().unwrap().layer(upstream.clone());
        let mut call = pin!(stack.oneshot(get()));
        assert!(poll_once(call.as_mut()).await.is_pending());
        advance(secs(20)).await;
        assert_eq!(call.await.unwrap_err().downcast_ref::<Failed>().unwrap().0, 1);
        assert_eq!((upstream.attempts(), log.stopped()), (1, Some(StopReason::Deadline)));
    }
}

#[tokio::test(start_paused = true)]
async fn deadline_passed_before_readiness_sends_nothing() {
    let upstream = Upstream::new(&[]).readiness(&[Readiness::Later(5), Readiness::Later(5)]);
    let mut call =
        pin!(plain().deadline(secs(10)).build().unwrap().layer(upstream.clone()).oneshot(get()));
    assert!(poll_once(call.as_mut()).await.is_pending());
    advance(secs(3600)).await;
    let error = call.await.unwrap_err();
    assert_eq!(cause_ref::<DeadlineExceeded>(&*error).unwrap().attempt(), 1);
    assert_eq!((upstream.readied(), upstream.attempts()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn deadline_is_in_the_scope_below() {
    let upstream = Upstream::new(&[Status(503)]);
    let started = now();
    _ = plain()
        .deadline(secs(9))
        .build()
        .unwrap()
        .layer(upstream.clone())
        .oneshot(get())
        .await
        .unwrap();
    assert_eq!(upstream.deadlines(), [Some(started + secs(9)); 2]);
}

#[tokio::test(start_paused = true)]
async fn attempt_timeout_is_a_transient_failure() {
    let log = EventLog::default();
    let layer = plain().attempt_timeout(secs(5)).observer(log.clone()).build().unwrap();
    let upstream = Upstream::new(&[Slow(4, 503), Hangs, Slow(6, 200)]);
    let error = layer.layer(upstream.clone()).oneshot(get()).await.unwrap_err();
    assert_eq!(cause_ref::<AttemptTimedOut>(&*error).unwrap().timeout(), secs(5));
    // Each attempt has the whole timeout.
    assert_eq!(upstream.gaps(), [secs(5), secs(6)]);
    assert_eq!(
        log.texts(),
        [
            "upstream: attempt 1 failed (status 503): retry in 1.0s",
            "upstream: attempt 2 failed (timeout): retry in 1.0s",
            "upstream: attempt 3 failed (timeout): not retried: last attempt",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn attempt_timeout_drops_attempt_before_the_wait() {
    let upstream = Upstream::new(&[Hangs]);
    let mut call = pin!(
        plain().attempt_timeout(secs(5)).build().unwrap().layer(upstream.clone()).oneshot(get())
    );
    assert!(poll_once(call.as_mut()).await.is_pending());
    assert_eq!(upstream.in_flight(), 1);
    advance(secs(5)).await;
    assert!(poll_once(call.as_mut()).await.is_pending());
    assert_eq!(upstream.in_flight(), 0);
}

/// Otherwise a queue below would turn into timeouts, and those into retries.
#[tokio::test(start_paused = true)]
async fn attempt_timeout_excludes_readiness() {
    // The first attempt gets ready twice: with a deadline, the call waits instead of `poll_ready`.
    let upstream =
        Upstream::new(&[Status(503), Slow(4, 200)]).readiness(&[Readiness::Later(20); 3]);
    let layer = plain().attempt_timeout(secs(5)).deadline(secs(60)).build().unwrap();
    let response = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!((response.status().as_u16(), upstream.attempts()), (200, 2));
    assert_eq!(upstream.gaps(), [secs(21)]);
    // Once the service is ready, the attempt has its timeout.
    let upstream = Upstream::new(&[Status(503), Hangs]).readiness(&[
        Readiness::Ready,
        Readiness::Later(20),
        Readiness::Ready,
    ]);
    _ = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!(upstream.gaps(), [secs(21), secs(6)]);
}

#[tokio::test(start_paused = true)]
async fn deadline_shorter_than_attempt_timeout_wins() {
    let layer = plain().attempt_timeout(secs(5)).deadline(secs(5)).build().unwrap();
    let error = layer.layer(Upstream::new(&[Hangs])).oneshot(get()).await.unwrap_err();
    assert!(error.is::<DeadlineExceeded>());
}

// Budget.

fn budget(reserve: u32) -> (Arc<RetryBudget>, Arc<dyn Budget>) {
    let budget = Arc::new(RetryBudget::new().ratio(0.0).per_second(0.0).reserve(reserve));
    (Arc::clone(&budget), budget)
}

#[tokio::test(start_paused = true)]
async fn budget_is_shared_by_clones_and_layers() {
    let (left, shared) = budget(3);
    let layer = plain().budget(shared).build().unwrap();
    let upstream = Upstream::new(&[Status(503); 99]);
    let one = layer.layer(upstream.clone());
    let services =
        [one.clone(), one, layer.clone().layer(upstream.clone()), layer.layer(upstream.clone())];
    let calls = services.into_iter().map(|service| service.oneshot(get()));
    join_all(calls).await;
    assert_eq!(upstream.attempts(), 4 + 3);
    assert_eq!(left.remaining(), 0);
}

#[tokio::test(start_paused = true)]
async fn budget_default_is_shared_by_clones() {
    let layer = RetryLayer::builder().backoff(Backoff::constant(Duration::ZERO)).build().unwrap();
    let upstream = Upstream::new(&[Status(503); 99]);
    for _ in 0..30 {
        _ = layer.layer(upstream.clone()).oneshot(get()).await;
    }
    // A reserve of ten, and a fifth of the requests except those deposited while the reserve was full.
    assert_eq!(upstream.attempts(), 30 + 10 + 5);
}

#[tokio::test(start_paused = true)]
async fn budget_spent_returns_at_once() {
    let log = EventLog::default();
    let layer = plain().budget(budget(1).1).observer(log.clone()).build().unwrap();
    let started = now();
    assert_eq!(outcome(&layer, &[Status(503); 3], get()).await, (503, 2));
    assert_eq!(whole_millis(now() - started), secs(1));
    assert_eq!(log.stopped(), Some(StopReason::Budget));
    let started = now();
    assert_eq!(outcome(&layer, &[Status(503); 3], get()).await, (503, 1));
    assert_eq!(now(), started);
    assert_eq!(
        log.texts()[2],
        "upstream: attempt 1 failed (status 503): not retried: retry budget spent"
    );
}

#[tokio::test(start_paused = true)]
async fn budget_call_dropped_during_wait_is_refunded() {
    let (left, shared) = budget(5);
    let mut call = Box::pin(
        plain().budget(shared).build().unwrap().layer(Upstream::new(&[Status(503)])).oneshot(get()),
    );
    assert!(poll_once(call.as_mut()).await.is_pending());
    assert_eq!(left.remaining(), 4);
    drop(call);
    assert_eq!(left.remaining(), 5);
}

#[tokio::test(start_paused = true)]
async fn budget_call_dropped_during_readiness_is_refunded() {
    let (left, shared) = budget(5);
    let upstream = Upstream::new(&[Status(503)]).readiness(&[Readiness::Ready, Readiness::Never]);
    let builder = plain().budget(shared);
    let layer = builder.clone().build().unwrap();
    let mut call = Box::pin(layer.layer(upstream.clone()).oneshot(get()));
    assert!(poll_once(call.as_mut()).await.is_pending());
    advance(secs(2)).await;
    assert!(poll_once(call.as_mut()).await.is_pending());
    assert_eq!((upstream.attempts(), left.remaining()), (1, 4));
    drop(call);
    assert_eq!(left.remaining(), 5);
    // The same at the deadline.
    let upstream = Upstream::new(&[Status(503)]).readiness(&[Readiness::Ready, Readiness::Never]);
    let bounded = builder.deadline(secs(3)).build().unwrap();
    let mut call = pin!(bounded.layer(upstream).oneshot(get()));
    assert!(call.as_mut().await.unwrap_err().is::<DeadlineExceeded>());
    assert_eq!(left.remaining(), 5);
}

#[tokio::test(start_paused = true)]
async fn budget_sent_retry_is_not_refunded() {
    let (left, shared) = budget(5);
    let layer = plain().budget(shared).build().unwrap();
    let upstream = Upstream::new(&[Status(503), Hangs]);
    let mut call = Box::pin(layer.layer(upstream.clone()).oneshot(get()));
    assert!(poll_once(call.as_mut()).await.is_pending());
    advance(secs(1)).await;
    assert!(poll_once(call.as_mut()).await.is_pending());
    assert_eq!(upstream.attempts(), 2);
    drop(call);
    assert_eq!(left.remaining(), 4);
    // Whether it succeeds, fails, or doesn't get ready.
    assert_eq!(outcome(&layer, &[Status(503)], get()).await, (200, 2));
    assert_eq!(left.remaining(), 3);
    let upstream = Upstream::new(&[Status(503)]).readiness(&[Readiness::Ready, Readiness::Fails]);
    _ = layer.layer(upstream).oneshot(get()).await;
    assert_eq!(left.remaining(), 1);
}

#[tokio::test(start_paused = true)]
async fn circuit_open_without_deadline_returns_at_once() {
    let log = EventLog::default();
    let upstream = Upstream::new(&[Fails, Fails]);
    let layer = plain()
        .observer(log.clone())
        .classify_fn(|outcome| match outcome.status() {
            None => Verdict::new(Class::CircuitOpen).with_retry_after(secs(30)),
            Some(_) => outcome.verdict(),
        })
        .build()
        .unwrap();
    let start = Instant::now();
    layer.layer(upstream.clone()).oneshot(post()).await.unwrap_err();
    assert_eq!((start.elapsed(), upstream.attempts()), (Duration::ZERO, 1));
    assert_eq!(log.stopped(), Some(StopReason::CircuitOpen));
}

#[tokio::test(start_paused = true)]
async fn hint_same_for_many_calls_gets_jitter() {
    let mut waits = Vec::new();
    for seed in 0..50 {
        let upstream = Upstream::new(&[Header(429, "retry-after", "5")]);
        let layer = RetryLayer::builder().seed(seed).build().unwrap();
        layer.layer(upstream.clone()).oneshot(post()).await.unwrap();
        waits.extend(upstream.gaps());
    }
    waits.sort();
    assert!(waits[0] >= secs(5));
    assert!(waits[49] - waits[0] > Duration::from_millis(150), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn circuit_wait_costs_no_budget() {
    let (left, shared) = budget(0);
    let upstream = Upstream::new(&[Fails, Fails]);
    let layer = plain()
        .budget(shared)
        .deadline(secs(9))
        .classify_fn(|outcome| match outcome.status() {
            None => Verdict::new(Class::CircuitOpen).with_retry_after(secs(3)),
            Some(_) => outcome.verdict(),
        })
        .build()
        .unwrap();
    let response = layer.layer(upstream.clone()).oneshot(post()).await.unwrap();
    assert_eq!((response.status().as_u16(), upstream.gaps()), (200, vec![secs(3); 2]));
    assert_eq!(left.remaining(), 0);
}

fn circuit_open_for_errors(outcome: Outcome<'_>) -> Verdict {
    match outcome.status() {
        None => Verdict::new(Class::CircuitOpen).with_retry_after(secs(3)),
        Some(_) => outcome.verdict(),
    }
}

#[tokio::test(start_paused = true)]
async fn circuit_rejection_is_not_an_attempt() {
    // It was rejected five times, and still has three attempts.
    let steps = [Status(503), Fails, Fails, Fails, Fails, Fails, Status(503), Status(200)];
    let upstream = Upstream::new(&steps);
    let layer = plain().deadline(secs(60)).classify_fn(circuit_open_for_errors).build().unwrap();
    let response = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!((response.status().as_u16(), upstream.attempts()), (200, 8));

    // A call with a single attempt doesn't wait for a circuit.
    let upstream = Upstream::new(&[Fails, Status(200)]);
    let layer = plain()
        .max_attempts(1)
        .deadline(secs(60))
        .classify_fn(circuit_open_for_errors)
        .build()
        .unwrap();
    layer.layer(upstream.clone()).oneshot(get()).await.unwrap_err();
    assert_eq!(upstream.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn circuit_wait_without_backoff_does_not_spin() {
    let upstream = Upstream::new(&[Fails; 5000]);
    let layer = plain()
        .backoff(Backoff::constant(Duration::ZERO))
        .hint(HintUse::Ignore)
        .deadline(secs(1))
        .classify_fn(circuit_open_for_errors)
        .build()
        .unwrap();
    layer.layer(upstream.clone()).oneshot(get()).await.unwrap_err();
    assert!(upstream.attempts() <= 101, "{}", upstream.attempts());
}

// Nested retries.

#[tokio::test(start_paused = true)]
async fn nested_retry_passes_through() {
    let (left, shared) = budget(5);
    let log = EventLog::default();
    let inner = plain()
        .max_attempts(7)
        .budget(shared)
        .observer(log.clone())
        .attempt_timeout(secs(1))
        .build()
        .unwrap();
    let upstream = Upstream::new(&[Slow(2, 503); 99]);
    let stack = ServiceBuilder::new()
        .layer(plain().build().unwrap())
        .layer(ConcurrencyLimitLayer::new(5))
        .layer(inner.clone())
        .map_request(|request: Request<()>| request)
        .layer(inner)
        .service(upstream.clone());
    assert_eq!(stack.oneshot(get()).await.unwrap().status(), 503);
    assert_eq!((upstream.attempts(), upstream.numbers()), (3, vec![1, 2, 3]));
    assert_eq!((left.remaining(), log.texts().len()), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn scope_entered_in_async_block_continues_the_call() {
    let upstream = Upstream::new(&[Status(503); 99]);
    let inner = plain().build().unwrap().layer(upstream.clone());
    let middleware = service_fn(move |request: Request<()>| {
        let mut inner = inner.clone();
        let scope = CallScope::current().unwrap();
        async move {
            inner.ready().await?;
            scope.enter(|| inner.call(request)).await
        }
    });
    assert_eq!(
        plain().build().unwrap().layer(middleware).oneshot(get()).await.unwrap().status(),
        503
    );
    assert_eq!(upstream.numbers(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn nested_call_in_async_block_has_own_attempts() {
    let upstream = Upstream::new(&[Status(503), Status(503)]);
    let tokens = Upstream::new(&[Status(503), Status(200), Status(200), Status(503), Status(503)]);
    let token = plain().build().unwrap().layer(tokens.clone());
    let client = {
        let upstream = upstream.clone();
        service_fn(move |request: Request<()>| {
            let (token, upstream) = (token.clone(), upstream.clone());
            async move {
                assert_eq!(token.oneshot(get()).await?.status(), 200);
                upstream.oneshot(request).await
            }
        })
    };
    let response =
        plain().deadline(secs(60)).build().unwrap().layer(client).oneshot(get()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(tokens.numbers(), [1, 2, 1, 1, 2, 3]);
    assert_eq!(upstream.numbers(), [1, 2, 3]);
    // It doesn't have this call's deadline.
    assert_eq!(tokens.deadlines(), [None; 6]);
}

#[tokio::test(start_paused = true)]
async fn concurrent_calls_on_one_task_are_independent() {
    let upstream = Upstream::new(&[Slow(1, 503), Slow(2, 200), Slow(1, 503), Slow(1, 200)]);
    let service = plain().build().unwrap().layer(upstream.clone());
    let (one, two) = join(service.clone().oneshot(get()), service.oneshot(get())).await;
    assert_eq!((one.unwrap().status().as_u16(), two.unwrap().status().as_u16()), (200, 200));
    assert_eq!(upstream.numbers(), [1, 1, 2, 3]);
    assert!(CallScope::current().is_none());
}

#[tokio::test(start_paused = true)]
async fn spawned_call_has_own_attempts() {
    let upstream = Upstream::new(&[Status(503)]);
    let inner = plain().build().unwrap().layer(upstream.clone());
    let spawning = service_fn(move |request: Request<()>| {
        let call = tokio::spawn(inner.clone().oneshot(request));
        async move { call.await.unwrap() }
    });
    assert_eq!(
        plain().build().unwrap().layer(spawning).oneshot(get()).await.unwrap().status(),
        200
    );
    assert_eq!(upstream.numbers(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn panic_below_leaves_no_scope() {
    use futures_util::FutureExt;
    use std::panic::AssertUnwindSafe;

    let panicking = service_fn(async |_: Request<()>| -> Result<Response<()>, Infallible> {
        panic!("a client that panics")
    });
    let call = AssertUnwindSafe(plain().build().unwrap().layer(panicking).oneshot(get()));
    assert!(call.catch_unwind().await.is_err());
    assert!(CallScope::current().is_none());
}

// Readiness, cancellation and copies.

#[tokio::test(start_paused = true)]
async fn each_attempt_readies_once() {
    let upstream = Upstream::new(&[Status(503), Fails, Status(200), Status(503)]);
    let mut service =
        plain().build().unwrap().layer(plain().build().unwrap().layer(upstream.clone()));
    for _ in 0..2 {
        let ready = service.ready().await.unwrap();
        // Polled again, it stays ready.
        assert!(poll_once(pin!(ready.ready())).await.is_ready());
        assert_eq!(ready.call(get()).await.unwrap().status(), 200);
    }
    assert_eq!((upstream.attempts(), upstream.readied()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn readiness_error_counts_as_not_sent() {
    let log = EventLog::default();
    let layer = plain().observer(log.clone());
    let upstream = Upstream::new(&[Header(503, "retry-after", "1")]).readiness(&[
        Readiness::Fails,
        Readiness::Ready,
        Readiness::Fails,
    ]);
    let layer = layer.max_attempts(4).build().unwrap();
    let response = layer.layer(upstream.clone()).oneshot(post()).await.unwrap();
    assert_eq!((response.status().as_u16(), upstream.numbers()), (200, vec![2, 4]));
    let classes: Vec<_> = log.0.lock().unwrap().iter().map(|event| event.2.class()).collect();
    assert_eq!(classes, [Class::NotSent, Class::Overloaded, Class::NotSent]);
}

#[tokio::test(start_paused = true)]
async fn readiness_error_is_returned_by_the_call() {
    let upstream = Upstream::new(&[]).readiness(&[Readiness::Fails, Readiness::Ready]);
    let mut service = plain().max_attempts(1).build().unwrap().layer(upstream.clone());
    let error = service.ready().await.unwrap().call(get()).await.unwrap_err();
    assert!(error.is::<Failed>());
    // The next call starts anew.
    assert_eq!(service.ready().await.unwrap().call(get()).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn dropped_call_drops_its_attempt() {
    let upstream = Upstream::new(&[Hangs]);
    let mut call = Box::pin(plain().build().unwrap().layer(upstream.clone()).oneshot(get()));
    assert!(poll_once(call.as_mut()).await.is_pending());
    assert_eq!(upstream.in_flight(), 1);
    drop(call);
    assert_eq!(upstream.in_flight(), 0);
}

/// A request that counts its copies.
#[derive(Default)]
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

#[tokio::test(start_paused = true)]
async fn request_copies_are_all_sent() {
    for (most, failures, copies) in [
        // If no attempt can follow, no copy is made.
        (1, 0, 0),
        (1, 1, 0),
        (2, 0, 1),
        // The last attempt uses the saved copy.
        (2, 1, 1),
        (2, 9, 1),
        (3, 1, 2),
        (3, 9, 2),
        (4, 9, 3),
    ] {
        let left = Arc::new(AtomicUsize::new(failures));
        let client = service_fn(move |_: Counted| {
            let failed =
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            async move { if failed.is_ok() { Err(Failed(0)) } else { Ok(()) } }
        });
        let layer = plain()
            .max_attempts(most)
            .retry_non_idempotent()
            .replay_clone()
            .classifier(ErrorClassifier::new())
            .build()
            .unwrap();
        let request = Counted::default();
        let count = Arc::clone(&request.0);
        // The nested layer passes the request on without a copy.
        let inner = layer.clone().layer(client);
        _ = layer.layer(inner).oneshot(request).await;
        assert_eq!(count.load(Ordering::Relaxed), copies, "{most} attempts, {failures} failures");
    }
}

// Other protocols, and events.

#[cfg(feature = "tonic")]
#[tokio::test(start_paused = true)]
async fn tonic_client_receives_typed_statuses() {
    use tonic::{Code, Status as Grpc};

    let code = async |layer: RetryLayer, step| {
        let call = layer.layer(Upstream::new(&[step])).oneshot(post());
        Grpc::from_error(call.await.unwrap_err()).code()
    };
    assert_eq!(
        code(plain().deadline(secs(5)).build().unwrap(), Hangs).await,
        Code::DeadlineExceeded
    );
    assert_eq!(
        code(plain().attempt_timeout(secs(5)).build().unwrap(), Hangs).await,
        Code::DeadlineExceeded
    );
    assert_eq!(
        code(plain().credential_error().build().unwrap(), Status(401)).await,
        Code::Unauthenticated
    );
}

#[derive(Clone, Debug, PartialEq)]
struct Job(u32);

#[derive(Debug, PartialEq)]
enum Reply {
    Busy,
    Done(Job),
}

#[tokio::test(start_paused = true)]
async fn non_http_uses_own_classifier() {
    let replies = Arc::new(Mutex::new(VecDeque::from([Ok(true), Err(Failed(1)), Ok(false)])));
    let client = service_fn(move |job: Job| {
        let reply = replies.lock().unwrap().pop_front().unwrap();
        async move { reply.map(|busy| if busy { Reply::Busy } else { Reply::Done(job) }) }
    });
    let classifier = result_fn(|seen: Result<&Reply, Outcome<'_>>| match seen {
        Ok(Reply::Busy) => Verdict::throttled(),
        Ok(Reply::Done(_)) => Verdict::success(),
        Err(failure) => failure.verdict(),
    });
    let builder = plain().replay_clone().classifier(classifier);
    let layer = builder.clone().build().unwrap();
    let careful = layer.clone().layer(client.clone()).oneshot(Job(7)).await;
    // It may have been processed, and it isn't known to be idempotent.
    assert_eq!(careful.unwrap_err().downcast_ref::<Failed>().unwrap().0, 1);
    let reply = builder.retry_non_idempotent().build().unwrap().layer(client).oneshot(Job(8)).await;
    assert_eq!(reply.unwrap(), Reply::Done(Job(8)));
}

#[tokio::test(start_paused = true)]
async fn error_classifier_treats_replies_as_success() {
    let replies = Arc::new(Mutex::new(VecDeque::from([Err(()), Ok(Reply::Busy)])));
    let client = service_fn(move |_: Job| {
        let reply = replies.lock().unwrap().pop_front().unwrap();
        async move { reply.map_err(|()| io::Error::from(io::ErrorKind::ConnectionRefused)) }
    });
    let layer = plain().replay_clone().classifier(ErrorClassifier::new()).build().unwrap();
    assert_eq!(layer.layer(client).oneshot(Job(7)).await.unwrap(), Reply::Busy);
}

#[tokio::test(start_paused = true)]
async fn observer_receives_each_failure_decision() {
    let log = EventLog::default();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&lines);
    let layer = plain()
        .max_attempts(4)
        .observer((
            log.clone(),
            observer_fn(move |event| written.lock().unwrap().push(event.to_string())),
        ))
        .build()
        .unwrap();
    let steps = [Header(429, "retry-after", "2"), Refused, Fails, Status(500)];
    assert_eq!(outcome(&layer, &steps, get()).await, (500, 4));
    assert_eq!(
        log.texts(),
        [
            "upstream: attempt 1 failed (status 429): retry in 2.0s",
            "upstream: attempt 2 failed (connection failed): retry in 1.0s",
            "upstream: attempt 3 failed (unknown failure): retry in 1.0s",
            "upstream: attempt 4 failed (status 500): not retried: last attempt",
        ]
    );
    assert_eq!(log.texts(), *lines.lock().unwrap());
    let observed = log.texts().len();
    // Neither a success nor a rejected request emits an event.
    assert_eq!(outcome(&layer, &[Status(404)], get()).await, (404, 1));
    assert_eq!(outcome(&layer, &[Header(404, "x-should-retry", "false")], get()).await, (404, 1));
    assert_eq!(outcome(&layer, &[], get()).await, (200, 1));
    assert_eq!(log.texts().len(), observed);
    assert_eq!(outcome(&layer, &[Header(429, "retry-after", "61")], get()).await, (429, 1));
    let last = log.texts().pop().unwrap();
    assert_eq!(
        last,
        "upstream: attempt 1 failed (status 429): not retried: the server requested 61.0s, the cap is 60.0s"
    );
}

#[test]
fn layer_is_send_and_built_outside_a_runtime() {
    fn goes<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn is_sent<T: Send>(_: &T) {}
    let layer =
        RetryLayer::builder().seed(1).deadline(secs(1)).attempt_timeout(secs(1)).build().unwrap();
    goes(&layer);
    let service =
        layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(()))));
    goes(&service);
    is_sent(&service.clone().call(get()));
    assert_eq!(format!("{:?}", service.clone().call(get())), "ResponseFuture { .. }");
}
