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

/// One answer of the upstream.
#[derive(Clone, Copy, Debug)]
enum Step {
    Status(u16),
    /// A status with one header.
    Header(u16, &'static str, &'static str),
    Refused,
    /// An error that says nothing to the classifier.
    Fails,
    /// Never answers.
    Hangs,
    /// Answers after this many seconds.
    Slow(u64, u16),
}

use Step::{Fails, Hangs, Header, Refused, Slow, Status};

/// How an attempt to get ready ends.
#[derive(Clone, Copy, Debug)]
enum Readiness {
    Ready,
    Fails,
    Never,
    /// As many seconds later.
    Later(u64),
}

/// An upstream that answers by a script, and panics if it is called unready.
struct Upstream {
    script: Arc<Script>,
    ready: bool,
    readying: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// It failed to get ready, after which a service must be discarded.
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
    /// Answers that still exist.
    answers: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: Instant,
    number: Option<u32>,
    deadline: Option<Instant>,
}

/// The body of an answer, which knows which one it is.
#[derive(Debug)]
struct Answer {
    number: usize,
    script: Arc<Script>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.script.answers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

/// The error of an upstream that fails, which knows which one it is.
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

    /// The number that each attempt saw in its scope.
    fn numbers(&self) -> Vec<u32> {
        let attempts = self.script.attempts.lock().unwrap();
        attempts.iter().map(|attempt| attempt.number.unwrap()).collect()
    }

    fn deadlines(&self) -> Vec<Option<Instant>> {
        self.script.attempts.lock().unwrap().iter().map(|attempt| attempt.deadline).collect()
    }

    /// The time between one attempt and the next, to the millisecond, as tokio's timers are.
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

    fn answers(&self) -> usize {
        self.script.answers.load(Ordering::Relaxed)
    }
}

/// A clone isn't ready.
impl Clone for Upstream {
    fn clone(&self) -> Self {
        Self { script: Arc::clone(&self.script), ready: false, readying: None, failed: false }
    }
}

impl Service<Request<()>> for Upstream {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, BoxError>> + Send>>;

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
                script.answers.fetch_add(1, Ordering::Relaxed);
                let answer = Answer { number: count, script: Arc::clone(&script) };
                Response::builder().status(status).body(answer).unwrap()
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

/// A retry that waits 1 s each time, without anything that a test doesn't set.
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

/// An observer that keeps what it is observed of retries.
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

    /// Why the call was given up, if it was.
    fn stopped(&self) -> Option<StopReason> {
        match self.0.lock().unwrap().last()?.1 {
            Decision::Stop(reason) => Some(reason),
            _ => None,
        }
    }
}

/// Returns the status of the answer, or 0 for an error, and how many attempts it took.
async fn outcome(layer: &RetryLayer, steps: &[Step], request: Request<()>) -> (u16, usize) {
    let upstream = Upstream::new(steps);
    let status = match layer.layer(upstream.clone()).oneshot(request).await {
        Ok(response) => response.status().as_u16(),
        Err(_) => 0,
    };
    (status, upstream.attempts())
}

// What is sent again.

#[tokio::test(start_paused = true)]
async fn a_success_is_sent_once() {
    for status in [200, 204, 302, 304] {
        assert_eq!(outcome(&plain().build().unwrap(), &[Status(status)], get()).await, (status, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_sent_again() {
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
async fn a_refused_credential_and_a_faulty_request_are_sent_once() {
    for status in [400, 401, 403, 404, 422, 501] {
        assert_eq!(outcome(&plain().build().unwrap(), &[Status(status)], get()).await, (status, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_may_have_been_processed_is_sent_once() {
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
async fn a_post_with_an_idempotency_key_is_sent_again() {
    let layer = plain().attempt_timeout(secs(5)).build().unwrap();
    for failure in [Hangs, Fails, Status(500), Status(503)] {
        assert_eq!(outcome(&layer, &[failure], post_with_key()).await, (200, 2), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_is_sent_again_where_the_layer_says_so() {
    let layer = plain().attempt_timeout(secs(5)).retry_non_idempotent().build().unwrap();
    for failure in [Hangs, Fails, Status(500), Status(503)] {
        assert_eq!(outcome(&layer, &[failure], post()).await, (200, 2), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_was_not_processed_is_sent_again() {
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
async fn the_server_may_forbid_it() {
    let log = EventLog::default();
    let layer = plain().observer(log.clone()).build().unwrap();
    let no = Header(503, "x-should-retry", "false");
    assert_eq!(outcome(&layer, &[no], get()).await, (503, 1));
    assert_eq!(log.stopped(), Some(StopReason::ServerSaidNo));
    // And it may ask for a retry where the status speaks against it.
    assert_eq!(outcome(&layer, &[Header(400, "x-should-retry", "true")], get()).await, (200, 2));
}

#[tokio::test(start_paused = true)]
async fn the_layer_may_choose_by_the_verdict() {
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

// How often, and what comes of it.

#[tokio::test(start_paused = true)]
async fn attempts_count_the_first() {
    for (most, attempts) in [(0, 1), (1, 1), (2, 2), (5, 5)] {
        let layer = plain().max_attempts(most).build().unwrap();
        assert_eq!(outcome(&layer, &[Status(503); 9], get()).await, (503, attempts));
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_end_the_last_answer_is_returned_untouched() {
    let upstream = Upstream::new(&[
        Status(500),
        Header(503, "x-name", "value"),
        Header(503, "x-name", "last"),
    ]);
    let answer = plain().build().unwrap().layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-name"]),
        (503, &"last".parse().unwrap())
    );
    assert_eq!(answer.body().number, 3);

    let upstream = Upstream::new(&[Fails; 3]);
    let error = plain().build().unwrap().layer(upstream).oneshot(get()).await.unwrap_err();
    // The same error, not wrapped and not made anew.
    assert_eq!(error.downcast_ref::<Failed>().unwrap().0, 3);
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_can_be_made_an_error() {
    let log = EventLog::default();
    let layer = plain().credential_error().observer(log.clone()).build().unwrap();
    let upstream = Upstream::new(&[Status(401)]);
    let error = layer.layer(upstream.clone()).oneshot(get()).await.unwrap_err();
    let rejected = cause_ref::<CredentialRejected>(&*error).unwrap();
    assert_eq!(rejected.cause(), Cause::Status(http::StatusCode::UNAUTHORIZED));
    assert_eq!(log.stopped(), Some(StopReason::CredentialRejected));
    assert_eq!((upstream.attempts(), upstream.answers()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_keeps_the_error_it_was() {
    let layer = plain()
        .credential_error()
        .classify_fn(|_: Outcome<'_>| Verdict::credential_rejected())
        .build()
        .unwrap();
    let error = layer.layer(Upstream::new(&[Fails])).oneshot(get()).await.unwrap_err();
    assert!(error.is::<CredentialRejected>());
    assert_eq!(cause_ref::<Failed>(&*error).unwrap().0, 1);
}

// The waits.

#[tokio::test(start_paused = true)]
async fn waits_double_by_the_attempt() {
    let backoff = Backoff::exponential(secs(1)).max(secs(5)).jitter(Jitter::None);
    let upstream = Upstream::new(&[Status(503); 5]);
    let layer = plain().max_attempts(5).backoff(backoff).build().unwrap();
    _ = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!(upstream.gaps(), [1, 2, 4, 5].map(secs));
}

#[tokio::test(start_paused = true)]
async fn a_seed_makes_the_waits_repeatable() {
    let gaps = async |seed| {
        let upstream = Upstream::new(&[Status(503); 4]);
        let layer = RetryLayer::builder().max_attempts(5).no_budget().seed(seed).build().unwrap();
        _ = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
        upstream.gaps()
    };
    assert_eq!(gaps(1).await, gaps(1).await);
    assert_ne!(gaps(1).await, gaps(2).await);
}

/// Otherwise all calls that failed together would come back together.
#[tokio::test(start_paused = true)]
async fn the_first_decorrelated_wait_differs_between_calls() {
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
async fn decorrelated_waits_grow_from_one_to_the_next() {
    let backoff = Backoff::exponential(secs(1)).jitter(Jitter::Decorrelated);
    let upstream = Upstream::new(&[Status(503); 29]);
    let layer = plain().max_attempts(30).backoff(backoff).seed(5).build().unwrap();
    _ = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    let gaps = upstream.gaps();
    assert!(gaps.windows(2).all(|two| two[1] <= 3 * two[0] + Duration::from_millis(5)));
    assert_eq!(*gaps.iter().max().unwrap(), secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_waited_for_in_full() {
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
async fn a_hint_above_the_cap_is_an_answer_at_once() {
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
async fn what_an_answer_holds_is_free_during_the_wait() {
    let upstream = Upstream::new(&[Status(503), Fails]);
    let mut call = pin!(plain().build().unwrap().layer(upstream.clone()).oneshot(get()));
    assert!(poll_once(call.as_mut()).await.is_pending());
    assert_eq!((upstream.attempts(), upstream.answers(), upstream.in_flight()), (1, 0, 0));
    advance(secs(1)).await;
    assert!(poll_once(call.as_mut()).await.is_pending());
    assert_eq!((upstream.attempts(), upstream.answers(), upstream.in_flight()), (2, 0, 0));
    let answer = call.await.unwrap();
    assert_eq!((upstream.attempts(), upstream.answers()), (3, 1));
    drop(answer);
}

#[tokio::test(start_paused = true)]
async fn a_place_below_is_free_during_the_wait() {
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

/// Nothing else would run on this thread, not even the timer that ends the call.
#[tokio::test(start_paused = true)]
async fn attempts_that_fail_at_once_let_others_run() {
    let upstream = service_fn(async |_: Request<()>| Err::<Response<()>, _>(Failed(0)));
    let layer =
        plain().max_attempts(u32::MAX).backoff(Backoff::constant(Duration::ZERO)).build().unwrap();
    let mut call = pin!(layer.layer(upstream).oneshot(get()));
    assert!(poll_once(call.as_mut()).await.is_pending());
    assert!(poll_once(call.as_mut()).await.is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_hundred_attempts_at_once_come_to_their_end() {
    let layer =
        plain().max_attempts(300).backoff(Backoff::constant(Duration::ZERO)).build().unwrap();
    let started = now();
    assert_eq!(outcome(&layer, &[Status(503); 299], get()).await, (200, 300));
    assert_eq!(now(), started);
}

#[tokio::test(start_paused = true)]
async fn extremes_neither_panic_nor_wait() {
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
    let none = RetryLayer::builder()
        .deadline(Duration::ZERO)
        .attempt_timeout(Duration::ZERO)
        .hint_cap(Duration::ZERO)
        .max_attempts(0)
        .build()
        .unwrap();
    // An answer that is there at once is still returned.
    assert_eq!(outcome(&none, &[Status(200)], get()).await, (200, 1));
    assert_eq!(outcome(&none, &[Hangs], get()).await, (0, 1));
}

// The deadline, and the time of an attempt.

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_pass_the_deadline_is_not_slept() {
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
async fn an_attempt_in_flight_at_the_deadline_is_cut() {
    let log = EventLog::default();
    let layer = plain().deadline(secs(10)).observer(log.clone()).build().unwrap();
    let upstream = Upstream::new(&[Status(503), Hangs]);
    let started = now();
    let mut call = pin!(layer.layer(upstream.clone()).oneshot(get()));
    let error = call.as_mut().await.unwrap_err();
    assert_eq!(whole_millis(now() - started), secs(10));
    assert_eq!(cause_ref::<DeadlineExceeded>(&*error).unwrap().attempt(), 2);
    // Even while the call's own future still exists.
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
async fn an_attempt_that_gets_ready_at_the_deadline_is_cut() {
    let layer = plain().deadline(secs(10)).build().unwrap();
    let upstream = Upstream::new(&[Status(503)]).readiness(&[Readiness::Ready, Readiness::Never]);
    let started = now();
    let error = layer.layer(upstream.clone()).oneshot(get()).await.unwrap_err();
    assert_eq!(whole_millis(now() - started), secs(10));
    assert!(error.is::<DeadlineExceeded>());
    assert_eq!(upstream.attempts(), 1);
}

/// As after a machine was suspended: nobody waits for the answer any more, and it would be billed.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_woken_after_its_deadline_sends_nothing_more() {
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

/// The next attempt was never in flight, so the error of the one before is still the last answer.
#[tokio::test(start_paused = true)]
async fn a_deadline_before_the_next_attempt_hides_no_error_of_the_last_one() {
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
async fn a_client_that_is_ready_after_the_deadline_is_not_called() {
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
async fn the_deadline_is_known_below() {
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
async fn an_attempt_that_takes_too_long_is_a_timeout() {
    let log = EventLog::default();
    let layer = plain().attempt_timeout(secs(5)).observer(log.clone()).build().unwrap();
    let upstream = Upstream::new(&[Slow(4, 503), Hangs, Slow(6, 200)]);
    let error = layer.layer(upstream.clone()).oneshot(get()).await.unwrap_err();
    assert_eq!(cause_ref::<AttemptTimedOut>(&*error).unwrap().timeout(), secs(5));
    // Each attempt has the whole time.
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
async fn an_attempt_that_takes_too_long_is_gone_before_the_wait() {
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
async fn getting_ready_is_not_part_of_an_attempts_time() {
    // The first attempt gets ready twice: with a deadline the call itself waits, not `poll_ready`.
    let upstream =
        Upstream::new(&[Status(503), Slow(4, 200)]).readiness(&[Readiness::Later(20); 3]);
    let layer = plain().attempt_timeout(secs(5)).deadline(secs(60)).build().unwrap();
    let answer = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!((answer.status().as_u16(), upstream.attempts()), (200, 2));
    assert_eq!(upstream.gaps(), [secs(21)]);
    // Once it is ready, the attempt has its timeout, and no more.
    let upstream = Upstream::new(&[Status(503), Hangs]).readiness(&[
        Readiness::Ready,
        Readiness::Later(20),
        Readiness::Ready,
    ]);
    _ = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!(upstream.gaps(), [secs(21), secs(6)]);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_wins_over_an_attempts_time() {
    let layer = plain().attempt_timeout(secs(5)).deadline(secs(5)).build().unwrap();
    let error = layer.layer(Upstream::new(&[Hangs])).oneshot(get()).await.unwrap_err();
    assert!(error.is::<DeadlineExceeded>());
}

// The budget.

fn budget(reserve: u32) -> (Arc<RetryBudget>, Arc<dyn Budget>) {
    let budget = Arc::new(RetryBudget::new(0.0, 0.0, reserve));
    (Arc::clone(&budget), budget)
}

#[tokio::test(start_paused = true)]
async fn one_budget_for_all_clones_and_layers() {
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
async fn the_default_budget_is_shared_too() {
    let layer = RetryLayer::builder().backoff(Backoff::constant(Duration::ZERO)).build().unwrap();
    let upstream = Upstream::new(&[Status(503); 99]);
    for _ in 0..30 {
        _ = layer.layer(upstream.clone()).oneshot(get()).await;
    }
    // A reserve of ten, and a fifth of the requests, except what didn't fit into the reserve at first.
    assert_eq!(upstream.attempts(), 30 + 10 + 5);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_is_an_answer_at_once() {
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
async fn a_call_that_is_dropped_while_it_waits_gives_its_budget_back() {
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
async fn a_call_that_is_dropped_while_it_gets_ready_again_gives_its_budget_back() {
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
    // The same by the deadline.
    let upstream = Upstream::new(&[Status(503)]).readiness(&[Readiness::Ready, Readiness::Never]);
    let bounded = builder.deadline(secs(3)).build().unwrap();
    let mut call = pin!(bounded.layer(upstream).oneshot(get()));
    assert!(call.as_mut().await.unwrap_err().is::<DeadlineExceeded>());
    assert_eq!(left.remaining(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_was_sent_has_cost_what_it_costs() {
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
async fn an_open_circuit_answers_at_once_where_the_call_has_no_deadline() {
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
async fn those_who_were_notified_the_same_time_do_not_come_back_together() {
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
async fn waiting_for_a_circuit_costs_no_budget() {
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
    let answer = layer.layer(upstream.clone()).oneshot(post()).await.unwrap();
    assert_eq!((answer.status().as_u16(), upstream.gaps()), (200, vec![secs(3); 2]));
    assert_eq!(left.remaining(), 0);
}

fn circuit_open_for_errors(outcome: Outcome<'_>) -> Verdict {
    match outcome.status() {
        None => Verdict::new(Class::CircuitOpen).with_retry_after(secs(3)),
        Some(_) => outcome.verdict(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_an_open_circuit_rejected_is_none() {
    // It was turned away five times, and still has three attempts.
    let steps = [Status(503), Fails, Fails, Fails, Fails, Fails, Status(503), Status(200)];
    let upstream = Upstream::new(&steps);
    let layer = plain().deadline(secs(60)).classify_fn(circuit_open_for_errors).build().unwrap();
    let answer = layer.layer(upstream.clone()).oneshot(get()).await.unwrap();
    assert_eq!((answer.status().as_u16(), upstream.attempts()), (200, 8));

    // One who makes a single attempt doesn't wait for a circuit.
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
async fn waiting_for_a_circuit_without_a_backoff_does_not_spin() {
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

// One loop a call.

#[tokio::test(start_paused = true)]
async fn a_retry_below_another_passes_through() {
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
async fn an_async_block_can_carry_the_call_on() {
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
async fn a_call_to_something_else_has_its_own_attempts() {
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
    let answer =
        plain().deadline(secs(60)).build().unwrap().layer(client).oneshot(get()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(tokens.numbers(), [1, 2, 1, 1, 2, 3]);
    assert_eq!(upstream.numbers(), [1, 2, 3]);
    // And it doesn't have this call's deadline.
    assert_eq!(tokens.deadlines(), [None; 6]);
}

#[tokio::test(start_paused = true)]
async fn calls_on_one_task_do_not_see_each_other() {
    let upstream = Upstream::new(&[Slow(1, 503), Slow(2, 200), Slow(1, 503), Slow(1, 200)]);
    let service = plain().build().unwrap().layer(upstream.clone());
    let (one, two) = join(service.clone().oneshot(get()), service.oneshot(get())).await;
    assert_eq!((one.unwrap().status().as_u16(), two.unwrap().status().as_u16()), (200, 200));
    assert_eq!(upstream.numbers(), [1, 1, 2, 3]);
    assert!(CallScope::current().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_spawned_call_has_its_own_attempts() {
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
async fn a_panic_below_leaves_no_scope_behind() {
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
        // Asked again, it stays ready.
        assert!(poll_once(pin!(ready.ready())).await.is_ready());
        assert_eq!(ready.call(get()).await.unwrap().status(), 200);
    }
    assert_eq!((upstream.attempts(), upstream.readied()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_get_ready_is_a_request_never_sent() {
    let log = EventLog::default();
    let layer = plain().observer(log.clone());
    let upstream = Upstream::new(&[Header(503, "retry-after", "1")]).readiness(&[
        Readiness::Fails,
        Readiness::Ready,
        Readiness::Fails,
    ]);
    let layer = layer.max_attempts(4).build().unwrap();
    let answer = layer.layer(upstream.clone()).oneshot(post()).await.unwrap();
    assert_eq!((answer.status().as_u16(), upstream.numbers()), (200, vec![2, 4]));
    let classes: Vec<_> = log.0.lock().unwrap().iter().map(|event| event.2.class()).collect();
    assert_eq!(classes, [Class::NotSent, Class::Overloaded, Class::NotSent]);
}

#[tokio::test(start_paused = true)]
async fn the_error_of_getting_ready_comes_from_the_call() {
    let upstream = Upstream::new(&[]).readiness(&[Readiness::Fails, Readiness::Ready]);
    let mut service = plain().max_attempts(1).build().unwrap().layer(upstream.clone());
    let error = service.ready().await.unwrap().call(get()).await.unwrap_err();
    assert!(error.is::<Failed>());
    // And the next call starts afresh.
    assert_eq!(service.ready().await.unwrap().call(get()).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_drops_its_attempt() {
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
async fn no_copy_is_made_that_is_not_sent() {
    for (most, failures, copies) in [
        // Where no attempt can follow, nothing is kept.
        (0, 0, 0),
        (1, 0, 0),
        (1, 1, 0),
        (2, 0, 1),
        // The last attempt gets what was kept.
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
        // The layer below only passes the request on, and copies nothing.
        let inner = layer.clone().layer(client);
        _ = layer.layer(inner).oneshot(request).await;
        assert_eq!(count.load(Ordering::Relaxed), copies, "{most} attempts, {failures} failures");
    }
}

// Other protocols, and what is observed.

#[cfg(feature = "tonic")]
#[tokio::test(start_paused = true)]
async fn a_tonic_client_sees_what_happened() {
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
async fn what_is_not_http_is_judged_by_its_own_classifier() {
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
    // It may have been processed, and whether it is idempotent isn't known.
    assert_eq!(careful.unwrap_err().downcast_ref::<Failed>().unwrap().0, 1);
    let reply = builder.retry_non_idempotent().build().unwrap().layer(client).oneshot(Job(8)).await;
    assert_eq!(reply.unwrap(), Reply::Done(Job(8)));
}

#[tokio::test(start_paused = true)]
async fn where_only_errors_are_judged_every_reply_is_a_success() {
    let replies = Arc::new(Mutex::new(VecDeque::from([Err(()), Ok(Reply::Busy)])));
    let client = service_fn(move |_: Job| {
        let reply = replies.lock().unwrap().pop_front().unwrap();
        async move { reply.map_err(|()| io::Error::from(io::ErrorKind::ConnectionRefused)) }
    });
    let layer = plain().replay_clone().classifier(ErrorClassifier::new()).build().unwrap();
    assert_eq!(layer.layer(client).oneshot(Job(7)).await.unwrap(), Reply::Busy);
}

#[tokio::test(start_paused = true)]
async fn every_decision_about_a_failure_is_notified() {
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
    // Neither a success nor a fault of the request is observed.
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
fn a_layer_is_made_outside_a_runtime_and_goes_anywhere() {
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
