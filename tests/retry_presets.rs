//! The presets of official clients, checked against what those do and where the docs say they differ.

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

/// One answer of the upstream: a status, headers, a body and trailers, or no answer.
#[derive(Clone, Default)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
    trailers: Vec<(&'static str, &'static str)>,
    error: Option<io::ErrorKind>,
}

fn status(status: u16) -> Answer {
    Answer { status, ..Answer::default() }
}

fn error(kind: io::ErrorKind) -> Answer {
    Answer { error: Some(kind), ..Answer::default() }
}

/// A gRPC response without a message.
fn grpc(code: &'static str) -> Answer {
    status(200).header("content-type", "application/grpc").header("grpc-status", code)
}

impl Answer {
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

/// When a request came, and with which idempotency key.
type Asked = (Instant, Option<HeaderValue>);

/// An upstream that always gives this answer, and notes when it was asked, and with which key.
#[derive(Clone)]
struct Upstream {
    answer: Answer,
    asked: Arc<Mutex<Vec<Asked>>>,
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
        self.asked.lock().unwrap().push((Instant::now(), key));
        std::future::ready(self.answer.clone().response())
    }
}

/// How a `POST` ended, and the attempts that it took.
struct Came {
    waits: Vec<Duration>,
    keys: Vec<Option<HeaderValue>>,
    stopped: Option<StopReason>,
    to: Class,
}

impl Came {
    fn attempts(&self) -> usize {
        self.keys.len()
    }
}

/// Sends a `POST` to an upstream that always gives this answer.
async fn post(retry: &RetryBuilder, answer: Answer) -> Came {
    let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let stopped = Arc::new(Mutex::new(None));
    let reason = Arc::clone(&stopped);
    let retry = retry.clone().observer(observer_fn(move |event: &Event<'_>| {
        if let Event::RetryDecided(event) = event
            && let tower_upstream::retry::Decision::Stop(why) = event.decision
        {
            *reason.lock().unwrap() = Some(why);
        }
    }));
    let retry = retry.build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(retry)
        .layer(PeekLayer::builder().grpc_unary().build().unwrap())
        .service(Upstream { answer, asked: Arc::clone(&asked) });
    let result = stack.oneshot(Request::post("/").body(()).unwrap()).await;
    let seen = result.as_ref().map_err(|error| &**error as _);
    let to = HttpClassifier::new().classify(seen).class();
    let asked = asked.lock().unwrap();
    let waits = asked.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let keys = asked.iter().map(|(_, key)| key.clone()).collect();
    let stopped = *stopped.lock().unwrap();
    Came { waits, keys, stopped, to }
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Rounds to milliseconds, as tokio's timers do.
fn assert_within(wait: Duration, least: Duration, most: Duration) {
    assert!(wait >= least && wait <= most + millis(2), "{wait:?} isn't in {least:?}..={most:?}");
}

// A provider of language models.

#[tokio::test(start_paused = true)]
async fn llm_repeats_what_the_official_sdk_repeats() {
    let again = [408, 409, 429, 500, 502, 503, 504, 529, 425];
    for answer in again.map(status).into_iter().chain([
        error(io::ErrorKind::ConnectionReset),
        error(io::ErrorKind::ConnectionRefused),
        error(io::ErrorKind::TimedOut),
        status(400).header("x-should-retry", "true"),
    ]) {
        let came = post(&presets::llm_retry(), answer.clone()).await;
        assert_eq!(came.attempts(), 3, "{}", answer.status);
        assert_within(came.waits[0], Duration::ZERO, millis(500));
        assert_within(came.waits[1], Duration::ZERO, millis(1000));
        assert!(came.keys[0].is_some() && came.keys.iter().all(|key| *key == came.keys[0]));
    }
    let once = [200, 304, 400, 401, 403, 404, 422, 501].map(status);
    for answer in once.into_iter().chain([status(503).header("x-should-retry", "false")]) {
        assert_eq!(
            post(&presets::llm_retry(), answer.clone()).await.attempts(),
            1,
            "{}",
            answer.status
        );
    }
}

#[tokio::test(start_paused = true)]
async fn llm_waits_as_long_as_it_is_notified_up_to_two_minutes() {
    let observed = |seconds| status(429).header("retry-after", seconds);
    let came = post(&presets::llm_retry(), observed("120")).await;
    assert_eq!(came.attempts(), 3);
    assert_within(came.waits[0], millis(120_000), millis(120_500));
    let came = post(&presets::llm_retry(), observed("121")).await;
    assert_eq!((came.attempts(), came.to), (1, Class::Throttled));
    assert!(matches!(came.stopped, Some(StopReason::HintAboveCap { .. })));
}

#[tokio::test(start_paused = true)]
async fn llm_spends_no_attempt_on_a_spent_quota() {
    let spent = status(429).body(r#"{"error": {"code": "insufficient_quota"}}"#);
    let came = post(&presets::llm_retry(), spent).await;
    assert_eq!((came.attempts(), came.stopped), (1, Some(StopReason::QuotaExhausted)));
}

#[tokio::test(start_paused = true)]
async fn llm_stops_when_everything_fails() {
    let retry = presets::llm_retry();
    let mut attempts = 0;
    for _ in 0..100 {
        attempts += post(&retry, status(500)).await.attempts();
    }
    // A fifth of a hundred, the reserve of ten, and one every ten seconds of the few that passed.
    assert!((130..=133).contains(&attempts), "{attempts}");
}

// gRPC, as gRFC A6 has it.

#[tokio::test(start_paused = true)]
async fn grpc_repeats_what_is_unavailable() {
    let unavailable = [
        grpc("14"),
        status(429),
        status(502),
        status(503),
        status(504),
        error(io::ErrorKind::ConnectionReset),
        error(io::ErrorKind::ConnectionRefused),
    ];
    for answer in unavailable {
        let came = post(&presets::grpc_retry(), answer).await;
        assert_eq!(came.attempts(), 4);
        for (wait, most) in came.waits.iter().zip([100, 200, 400]) {
            assert_within(*wait, Duration::ZERO, millis(most));
        }
    }
    let others = ["0", "1", "2", "3", "4", "5", "7", "8", "10", "12", "13", "15", "16"];
    for code in others {
        assert_eq!(post(&presets::grpc_retry(), grpc(code)).await.attempts(), 1, "{code}");
    }
    for answer in [status(400), status(500), error(io::ErrorKind::TimedOut)] {
        assert_eq!(post(&presets::grpc_retry(), answer).await.attempts(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_obeys_a_pushback() {
    let pushed = |pushback| grpc("14").header("grpc-retry-pushback-ms", pushback);
    let came = post(&presets::grpc_retry(), pushed("2500")).await;
    assert_eq!(came.attempts(), 4);
    came.waits.iter().for_each(|wait| assert_within(*wait, millis(2500), millis(2500)));
    let came = post(&presets::grpc_retry(), pushed("0")).await;
    assert_eq!(came.waits, [Duration::ZERO; 3]);
    for no in ["-1", "soon", "60001"] {
        assert_eq!(post(&presets::grpc_retry(), pushed(no)).await.attempts(), 1, "{no}");
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_is_committed_once_headers_came() {
    let headers = || status(200).header("content-type", "application/grpc");
    let came = post(&presets::grpc_retry(), headers().trailer("grpc-status", "14")).await;
    assert_eq!((came.attempts(), came.to), (1, Class::Transient), "it failed, all the same");
    assert_eq!(came.stopped, Some(StopReason::NotRetryable));
    let came = post(&presets::grpc_retry(), headers().trailer("grpc-status", "0")).await;
    assert_eq!((came.attempts(), came.to), (1, Class::Success));
}

#[tokio::test(start_paused = true)]
async fn grpc_stops_retrying_when_half_of_its_tokens_are_gone() {
    let retry = presets::grpc_retry();
    // Four of ten tokens.
    assert_eq!(post(&retry, grpc("14")).await.attempts(), 4);
    let came = post(&retry, grpc("14")).await;
    assert_eq!((came.attempts(), came.stopped), (2, Some(StopReason::Budget)));
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
async fn grpc_counts_a_server_that_says_no() {
    let retry = presets::grpc_retry();
    for _ in 0..6 {
        post(&retry, grpc("14").header("grpc-retry-pushback-ms", "-1")).await;
    }
    let came = post(&retry, grpc("14")).await;
    assert_eq!((came.attempts(), came.stopped), (1, Some(StopReason::Budget)));
}
