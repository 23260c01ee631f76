//! The presets, compared with the official clients and with the differences in their docs.

#![cfg(all(feature = "retry", feature = "peek"))]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_upstream::classify::{Class, Classify, HttpClassifier};
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::retry::RetryBuilder;
use tower_upstream::retry::StopReason;
use tower_upstream::{BoxError, PeekLayer, presets};

type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

/// The result of each attempt: a response, or an error.
#[derive(Clone, Default)]
struct ScriptedResult {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
    trailers: Vec<(&'static str, &'static str)>,
    error: Option<io::ErrorKind>,
}

fn status(status: u16) -> ScriptedResult {
    ScriptedResult { status, ..ScriptedResult::default() }
}

fn error(kind: io::ErrorKind) -> ScriptedResult {
    ScriptedResult { error: Some(kind), ..ScriptedResult::default() }
}

/// A gRPC response without a message.
fn grpc(code: &'static str) -> ScriptedResult {
    status(200).header("content-type", "application/grpc").header("grpc-status", code)
}

impl ScriptedResult {
    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn body(self, body: &'static str) -> Self {
        Self { body, ..self }
    }

    fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        self.trailers.push((name, value));
        self
    }

    fn response(self) -> Result<Response<Body>, BoxError> {
        if let Some(kind) = self.error {
            return Err(io::Error::from(kind).into());
        }
        let mut trailers = HeaderMap::new();
        for (name, value) in self.trailers {
            trailers.insert(name, HeaderValue::from_static(value));
        }
        let body = Full::new(Bytes::from(self.body));
        let trailers = (!trailers.is_empty()).then(|| Ok(trailers));
        let body = body.with_trailers(std::future::ready(trailers)).boxed();
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        Ok(response.body(body)?)
    }
}

/// The time of an attempt, and its idempotency key.
type Attempt = (Instant, Option<HeaderValue>);

/// An upstream that always returns this result, and records its attempts.
#[derive(Clone)]
struct Upstream {
    scripted: ScriptedResult,
    attempts: Arc<Mutex<Vec<Attempt>>>,
}

impl Service<Request<()>> for Upstream {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<Body>, BoxError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let key = request.headers().get("idempotency-key").cloned();
        self.attempts.lock().unwrap().push((Instant::now(), key));
        std::future::ready(self.scripted.clone().response())
    }
}

/// The final class of a `POST`, and its attempts.
struct Call {
    waits: Vec<Duration>,
    keys: Vec<Option<HeaderValue>>,
    stopped: Option<StopReason>,
    class: Class,
}

impl Call {
    fn attempts(&self) -> usize {
        self.keys.len()
    }
}

/// Sends a `POST` to an upstream that always returns this result.
async fn post(retry: &RetryBuilder, scripted: ScriptedResult) -> Call {
    let attempts: Arc<Mutex<Vec<Attempt>>> = Arc::default();
    let stopped = Arc::new(Mutex::new(None));
    let reason = Arc::clone(&stopped);
    let retry = retry.clone().observer(observer_fn(move |event: &Event<'_>| {
        if let Event::RetryDecided(event) = event
            && let tower_upstream::retry::Decision::Stop(stop) = event.decision
        {
            *reason.lock().unwrap() = Some(stop);
        }
    }));
    let retry = retry.build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(retry)
        .layer(PeekLayer::builder().grpc_unary().build().unwrap())
        .service(Upstream { scripted, attempts: Arc::clone(&attempts) });
    let result = stack.oneshot(Request::post("/").body(()).unwrap()).await;
    let seen = result.as_ref().map_err(|error| &**error as _);
    let class = HttpClassifier::new().classify(seen).class();
    let attempts = attempts.lock().unwrap();
    let waits = attempts.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let keys = attempts.iter().map(|(_, key)| key.clone()).collect();
    let stopped = *stopped.lock().unwrap();
    Call { waits, keys, stopped, class }
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Asserts bounds of a wait, rounded to milliseconds as tokio's timers.
fn assert_within(wait: Duration, least: Duration, most: Duration) {
    assert!(wait >= least && wait <= most + millis(2), "{wait:?} isn't in {least:?}..={most:?}");
}

// `llm_retry`.

#[tokio::test(start_paused = true)]
async fn llm_retries_as_the_official_sdk() {
    let again = [408, 409, 429, 500, 502, 503, 504, 529, 425];
    for scripted in again.map(status).into_iter().chain([
        error(io::ErrorKind::ConnectionReset),
        error(io::ErrorKind::ConnectionRefused),
        error(io::ErrorKind::TimedOut),
        status(400).header("x-should-retry", "true"),
    ]) {
        let call = post(&presets::llm_retry(), scripted.clone()).await;
        assert_eq!(call.attempts(), 3, "{}", scripted.status);
        assert_within(call.waits[0], Duration::ZERO, millis(500));
        assert_within(call.waits[1], Duration::ZERO, millis(1000));
        assert!(call.keys[0].is_some() && call.keys.iter().all(|key| *key == call.keys[0]));
    }
    let once = [200, 304, 400, 401, 403, 404, 422, 501].map(status);
    for scripted in once.into_iter().chain([status(503).header("x-should-retry", "false")]) {
        assert_eq!(
            post(&presets::llm_retry(), scripted.clone()).await.attempts(),
            1,
            "{}",
            scripted.status
        );
    }
}

#[tokio::test(start_paused = true)]
async fn llm_obeys_hints_up_to_two_minutes() {
    let observed = |seconds| status(429).header("retry-after", seconds);
    let call = post(&presets::llm_retry(), observed("120")).await;
    assert_eq!(call.attempts(), 3);
    assert_within(call.waits[0], millis(120_000), millis(120_500));
    let call = post(&presets::llm_retry(), observed("121")).await;
    assert_eq!((call.attempts(), call.class), (1, Class::Throttled));
    assert!(matches!(call.stopped, Some(StopReason::HintAboveCap { .. })));
}

#[tokio::test(start_paused = true)]
async fn llm_exhausted_quota_is_not_retried() {
    let spent = status(429).body(r#"{"error": {"code": "insufficient_quota"}}"#);
    let call = post(&presets::llm_retry(), spent).await;
    assert_eq!((call.attempts(), call.stopped), (1, Some(StopReason::QuotaExhausted)));
}

#[tokio::test(start_paused = true)]
async fn llm_budget_bounds_retries_in_an_outage() {
    let retry = presets::llm_retry();
    let mut attempts = 0;
    for _ in 0..100 {
        attempts += post(&retry, status(500)).await.attempts();
    }
    // A fifth of a hundred, the reserve of ten, and one every ten seconds.
    assert!((130..=133).contains(&attempts), "{attempts}");
}

// `grpc_retry`, after gRFC A6.

#[tokio::test(start_paused = true)]
async fn grpc_retries_unavailable() {
    let unavailable = [
        grpc("14"),
        status(429),
        status(502),
        status(503),
        status(504),
        error(io::ErrorKind::ConnectionReset),
        error(io::ErrorKind::ConnectionRefused),
    ];
    for scripted in unavailable {
        let call = post(&presets::grpc_retry(), scripted).await;
        assert_eq!(call.attempts(), 4);
        for (wait, most) in call.waits.iter().zip([100, 200, 400]) {
            assert_within(*wait, Duration::ZERO, millis(most));
        }
    }
    let others = ["0", "1", "2", "3", "4", "5", "7", "8", "10", "12", "13", "15", "16"];
    for code in others {
        assert_eq!(post(&presets::grpc_retry(), grpc(code)).await.attempts(), 1, "{code}");
    }
    for scripted in [status(400), status(500), error(io::ErrorKind::TimedOut)] {
        assert_eq!(post(&presets::grpc_retry(), scripted).await.attempts(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_pushback_replaces_the_wait() {
    let pushed = |pushback| grpc("14").header("grpc-retry-pushback-ms", pushback);
    let call = post(&presets::grpc_retry(), pushed("2500")).await;
    assert_eq!(call.attempts(), 4);
    call.waits.iter().for_each(|wait| assert_within(*wait, millis(2500), millis(2500)));
    let call = post(&presets::grpc_retry(), pushed("0")).await;
    assert_eq!(call.waits, [Duration::ZERO; 3]);
    for no in ["-1", "soon", "60001"] {
        assert_eq!(post(&presets::grpc_retry(), pushed(no)).await.attempts(), 1, "{no}");
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_status_in_trailers_is_not_retried() {
    let headers = || status(200).header("content-type", "application/grpc");
    let call = post(&presets::grpc_retry(), headers().trailer("grpc-status", "14")).await;
    assert_eq!(
        (call.attempts(), call.class),
        (1, Class::Transient),
        "the verdict is still a failure"
    );
    assert_eq!(call.stopped, Some(StopReason::NotRetryable));
    let call = post(&presets::grpc_retry(), headers().trailer("grpc-status", "0")).await;
    assert_eq!((call.attempts(), call.class), (1, Class::Success));
}

#[tokio::test(start_paused = true)]
async fn grpc_throttle_half_empty_stops_retries() {
    let retry = presets::grpc_retry();
    // Four of ten tokens.
    assert_eq!(post(&retry, grpc("14")).await.attempts(), 4);
    let call = post(&retry, grpc("14")).await;
    assert_eq!((call.attempts(), call.stopped), (2, Some(StopReason::Budget)));
    for _ in 0..3 {
        assert_eq!(post(&retry, grpc("14")).await.attempts(), 1);
    }
    // Each successful request adds a tenth of a token.
    for _ in 0..50 {
        post(&retry, grpc("0")).await;
    }
    assert_eq!(post(&retry, grpc("14")).await.attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn grpc_throttle_counts_negative_pushback() {
    let retry = presets::grpc_retry();
    for _ in 0..6 {
        post(&retry, grpc("14").header("grpc-retry-pushback-ms", "-1")).await;
    }
    let call = post(&retry, grpc("14")).await;
    assert_eq!((call.attempts(), call.stopped), (1, Some(StopReason::Budget)));
}
