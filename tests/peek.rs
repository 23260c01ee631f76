//! Responses that are read, on a paused clock: the verdict for the layers above, and the whole body.

#![cfg(all(feature = "peek", feature = "retry", feature = "circuit-breaker"))]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::time::{Instant, Sleep, sleep};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::circuit_breaker::CircuitOpen;
use tower_upstream::classify::{Class, Classify, HttpClassifier, ResponseVerdict, Verdict};
use tower_upstream::peek::{PeekBody, PeekLayer};
use tower_upstream::retry::Backoff;
use tower_upstream::{CircuitBreakerLayer, RetryLayer, cause_ref};

const SPENT: &str = r#"{"error": {"type": "insufficient_quota", "code": "insufficient_quota"}}"#;

/// The result of a read from a body.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Data(Vec<u8>),
    Trailers(HeaderMap),
    Fails,
    /// Pending for this many milliseconds.
    Waits(u64),
}

use Step::{Data, Fails, Trailers, Waits};

/// A body that follows a script, and panics if it is read after its end.
struct Script {
    steps: VecDeque<Step>,
    timer: Option<Pin<Box<Sleep>>>,
    over: bool,
}

fn body(steps: impl IntoIterator<Item = Step>) -> Script {
    Script { steps: steps.into_iter().collect(), timer: None, over: false }
}

fn text(text: &str) -> Script {
    body([Data(text.into())])
}

#[derive(Debug, PartialEq)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        assert!(!self.over, "read after its end");
        loop {
            if let Some(timer) = &mut self.timer {
                std::task::ready!(timer.as_mut().poll(cx));
                self.timer = None;
            }
            let frame = match self.steps.pop_front() {
                Some(Waits(millis)) => {
                    self.timer = Some(Box::pin(sleep(Duration::from_millis(millis))));
                    continue;
                }
                Some(Data(data)) => Some(Ok(Frame::data(data.into()))),
                Some(Trailers(trailers)) => {
                    self.over = true;
                    Some(Ok(Frame::trailers(trailers)))
                }
                Some(Fails) => {
                    self.over = true;
                    Some(Err(Broken))
                }
                None => {
                    self.over = true;
                    None
                }
            };
            return Poll::Ready(frame);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.steps.iter().map(|step| if let Data(data) = step { data.len() } else { 0 });
        SizeHint::with_exact(data.sum::<usize>() as u64)
    }
}

fn response(status: u16, content_type: &str, body: Script) -> Response<Script> {
    let response = Response::builder().status(status).header("content-type", content_type);
    response.body(body).unwrap()
}

fn json(status: u16, body: Script) -> Response<Script> {
    response(status, "application/json; charset=utf-8", body)
}

/// Returns the response as the layer passes it on.
async fn peek(layer: &PeekLayer, response: Response<Script>) -> Response<PeekBody<Script>> {
    let mut response = Some(response);
    let client = service_fn(move |(): ()| {
        let response = response.take().expect("called once");
        async move { Ok::<_, Infallible>(response) }
    });
    layer.layer(client).oneshot(()).await.unwrap()
}

fn class<B>(response: &Response<B>) -> Class {
    HttpClassifier::new().classify(Ok(response)).class()
}

/// Returns the data of a body, its trailers, and whether it failed.
async fn drain(body: PeekBody<Script>) -> (Vec<u8>, Option<HeaderMap>, bool) {
    let mut body = body;
    let (mut data, mut trailers) = (Vec::new(), None);
    loop {
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => return (data, trailers, false),
            Some(Err(Broken)) => return (data, trailers, true),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => data.extend_from_slice(&piece),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failure_body_refines_the_verdict() {
    let response = peek(&PeekLayer::new(), json(429, text(SPENT))).await;
    assert_eq!(class(&response), Class::QuotaExhausted);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), SPENT);
}

#[tokio::test(start_paused = true)]
async fn responses_are_read_by_status_and_content_type() {
    let all = PeekLayer::builder().also_successes().build().unwrap();
    let exact = PeekLayer::builder().limit(SPENT.len()).build().unwrap();
    let below = PeekLayer::builder().limit(SPENT.len() - 1).build().unwrap();
    let rows = [
        (PeekLayer::new(), json(429, text(SPENT)), true),
        (PeekLayer::new(), response(429, "text/plain", text(SPENT)), true),
        (PeekLayer::new(), response(429, "text/event-stream", text(SPENT)), false),
        (PeekLayer::new(), json(200, text(SPENT)), false),
        (all.clone(), json(200, text(SPENT)), true),
        (all.clone(), response(200, "application/problem+json", text(SPENT)), true),
        (all.clone(), response(200, "Application/JSON", text(SPENT)), true),
        (all.clone(), response(200, "application/problem+JSON ; x=y", text(SPENT)), true),
        (all.clone(), response(200, "+json", text(SPENT)), true),
        (all.clone(), response(200, "json", text(SPENT)), false),
        (all.clone(), response(429, "Text/Event-Stream", text(SPENT)), false),
        (all.clone(), response(200, "text/event-stream", text(SPENT)), false),
        (all.clone(), response(200, "text/plain", text(SPENT)), false),
        (all.clone(), response(200, "application/grpc+json", text(SPENT)), false),
        (all, response(304, "", text(SPENT)), false),
        (exact.clone(), json(429, text(SPENT)), true),
        (below, json(429, text(SPENT)), false),
    ];
    for (layer, response, read) in rows {
        let what = format!("{} {:?}", response.status(), response.headers());
        let response = peek(&layer, response).await;
        assert_eq!(response.extensions().get::<ResponseVerdict>().is_some(), read, "{what}");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), SPENT, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn compressed_body_is_not_read() {
    for (encoding, read) in [("gzip", false), ("identity", true)] {
        let mut response = json(429, text(SPENT));
        response.headers_mut().insert("content-encoding", HeaderValue::from_static(encoding));
        let response = peek(&PeekLayer::new(), response).await;
        assert_eq!(response.extensions().get::<ResponseVerdict>().is_some(), read, "{encoding}");
    }
}

#[tokio::test(start_paused = true)]
async fn body_in_several_frames_is_joined() {
    let (head, tail) = SPENT.split_at(20);
    let pieces = body([Data(head.into()), Waits(900), Data(tail.into())]);
    let response = peek(&PeekLayer::new(), json(429, pieces)).await;
    assert_eq!(class(&response), Class::QuotaExhausted);
    assert_eq!(drain(response.into_body()).await, (SPENT.into(), None, false));
}

#[tokio::test(start_paused = true)]
async fn timeout_passes_on_the_partially_read_body() {
    let (head, tail) = SPENT.split_at(20);
    let start = Instant::now();
    let slow = body([Data(head.into()), Waits(60_000), Data(tail.into())]);
    let response = peek(
        &PeekLayer::builder().timeout(Duration::from_secs(2)).build().unwrap(),
        json(429, slow),
    )
    .await;
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(class(&response), Class::Throttled);
    assert_eq!(drain(response.into_body()).await, (SPENT.into(), None, false));
    assert_eq!(start.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn extreme_settings_neither_panic_nor_hang() {
    for timeout in [Duration::ZERO, Duration::MAX] {
        for limit in [0, 1, usize::MAX] {
            let layer = PeekLayer::builder().limit(limit).timeout(timeout).build();
            assert_eq!(layer.is_err(), limit == 0 || timeout.is_zero());
            let Ok(layer) = layer else { continue };
            let pieces = body([Waits(5), Data(SPENT.into())]);
            let response = peek(&layer, json(429, pieces)).await;
            assert_eq!(drain(response.into_body()).await.0, SPENT.as_bytes());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn empty_frames_count_as_bytes() {
    let endless = body(std::iter::repeat_n(Data(Vec::new()), 100_000));
    let response = peek(&PeekLayer::builder().limit(10).build().unwrap(), json(429, endless)).await;
    let unread = format!("{:?}", response.body());
    assert_eq!(unread, "PeekBody { frames_read: 10, .. }");
}

#[tokio::test(start_paused = true)]
async fn failed_body_fails_at_the_same_place() {
    let response = peek(&PeekLayer::new(), json(500, body([Data(b"{".into()), Fails]))).await;
    assert_eq!(class(&response), Class::Transient);
    assert_eq!(drain(response.into_body()).await, (b"{".into(), None, true));
}

fn trailers(pairs: &[(&'static str, &'static str)]) -> Step {
    let pairs = pairs.iter().map(|(name, value)| {
        (http::HeaderName::from_static(name), HeaderValue::from_static(value))
    });
    Trailers(pairs.collect())
}

#[tokio::test(start_paused = true)]
async fn grpc_unary_reads_status_in_trailers() {
    let failed = || body([Data(vec![0; 5]), trailers(&[("grpc-status", "14")])]);
    let pushback = || body([trailers(&[("grpc-status", "8"), ("grpc-retry-pushback-ms", "250")])]);
    let fine = || body([Data(vec![0; 5]), trailers(&[("grpc-status", "0")])]);
    let grpc = |body| response(200, "application/grpc+proto", body);
    let layer = PeekLayer::builder().grpc_unary().build().unwrap();

    assert_eq!(class(&peek(&PeekLayer::new(), grpc(failed())).await), Class::Success);
    assert_eq!(class(&peek(&layer, grpc(fine())).await), Class::Success);
    assert_eq!(class(&peek(&layer, response(200, "text/plain", failed())).await), Class::Success);

    let response = peek(&layer, grpc(failed())).await;
    let verdict = HttpClassifier::new().classify(Ok(&response));
    assert!(verdict.is_in_trailers() && verdict.class() == Class::Transient);
    let (data, trailers, _) = drain(response.into_body()).await;
    assert_eq!(data, [0; 5]);
    assert_eq!(trailers.unwrap()["grpc-status"], "14");

    let verdict = HttpClassifier::new().classify(Ok(&peek(&layer, grpc(pushback())).await));
    assert_eq!(verdict.hint().retry_after, Some(Duration::from_millis(250)));
    assert!(!verdict.is_unprocessed(), "the response had started");
}

#[tokio::test(start_paused = true)]
async fn classify_body_fn_decides_first() {
    let layer = PeekLayer::builder()
        .classify_body_fn(|response| {
            assert_eq!(response.verdict().class(), Class::Rejected);
            let poor = response.body().windows(7).any(|word| word == b"balance");
            (response.status() == 400 && poor).then(Verdict::quota_exhausted)
        })
        .build()
        .unwrap();
    let poor = r#"{"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}"#;
    assert_eq!(class(&peek(&layer, json(400, text(poor))).await), Class::QuotaExhausted);
    assert_eq!(class(&peek(&layer, json(400, text("{}"))).await), Class::Rejected);
}

type Client = BoxCloneSyncService<Request<()>, Response<Script>, BoxError>;

/// Returns a client that always returns this response, and the number of its calls.
fn client(status: u16, text: &'static str) -> (Arc<AtomicUsize>, Client) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let client = service_fn(move |_: Request<()>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { Ok(json(status, body([Data(text.into())]))) }
    });
    (calls, Client::new(client))
}

#[tokio::test(start_paused = true)]
async fn exhausted_quota_is_not_retried() {
    let retry = RetryLayer::builder().backoff(Backoff::constant(Duration::ZERO)).build().unwrap();
    let (calls, bare) = client(429, SPENT);
    retry.layer(bare).oneshot(Request::new(())).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 3);

    let (calls, seen) = client(429, SPENT);
    let stack = ServiceBuilder::new().layer(retry).layer(PeekLayer::new()).service(seen);
    let response = stack.oneshot(Request::new(())).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), SPENT);
}

#[cfg(feature = "upstream")]
#[tokio::test(start_paused = true)]
async fn upstream_layer_accepts_peek_below() {
    let (calls, client) = client(429, SPENT);
    let stack = tower_upstream::UpstreamLayer::builder().build().unwrap();
    let stack = stack.over(PeekLayer::new().layer(client));
    let response = stack.oneshot(Request::new(())).await.unwrap();
    assert_eq!((response.status().as_u16(), calls.load(Ordering::Relaxed)), (429, 1));
}

#[tokio::test(start_paused = true)]
async fn errors_in_successes_are_retried_and_open_the_circuit() {
    const OVERLOADED: &str = r#"{"type": "error", "error": {"type": "overloaded_error"}}"#;
    let (calls, client) = client(200, OVERLOADED);
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::builder().backoff(Backoff::constant(Duration::ZERO)).build().unwrap())
        .layer(CircuitBreakerLayer::builder().consecutive_failures(3).build().unwrap())
        .layer(PeekLayer::builder().also_successes().build().unwrap())
        .service(client);
    let response = stack.clone().oneshot(Request::get("/").body(()).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), calls.load(Ordering::Relaxed)), (200, 3));
    let error = stack.oneshot(Request::new(())).await.unwrap_err();
    assert!(cause_ref::<CircuitOpen>(&*error).is_some());
}

#[tokio::test(start_paused = true)]
async fn success_passes_at_once() {
    let (_, client) = client(200, "fine");
    let mut stack = PeekLayer::new().layer(client);
    poll_fn(|cx| stack.poll_ready(cx)).now_or_never().expect("ready at once").unwrap();
    let response =
        stack.call(Request::new(())).now_or_never().expect("an immediate response").unwrap();
    assert!(response.extensions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn dropped_call_drops_the_body() {
    let held = Arc::new(());
    let in_client = Arc::clone(&held);
    let client = service_fn(move |_: Request<()>| {
        let held = Arc::clone(&in_client);
        let body = body([Waits(500)]).map_err(move |broken| {
            let _ = &held;
            broken
        });
        async { Ok::<_, Infallible>(Response::builder().status(500).body(Box::pin(body)).unwrap()) }
    });
    let mut call = Box::pin(PeekLayer::new().layer(client).oneshot(Request::new(())));
    assert!(call.as_mut().now_or_never().is_none(), "it is reading");
    // The service, if it still exists, holds one; the body another.
    let holding = Arc::strong_count(&held);
    drop(call);
    assert!(holding > 1);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn readiness_error_is_returned() {
    let mut client = PeekLayer::new().layer(NeverReady);
    let error = poll_fn(|cx| client.poll_ready(cx)).await.unwrap_err();
    assert!(error.is::<Broken>());
}

struct NeverReady;

impl Service<()> for NeverReady {
    type Response = Response<Script>;
    type Error = Broken;
    type Future = std::future::Pending<Result<Response<Script>, Broken>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Err(Broken))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        panic!("called unready")
    }
}

#[tokio::test(start_paused = true)]
async fn client_error_is_returned_unchanged() {
    let failing = service_fn(|(): ()| async { Err::<Response<Script>, _>(BoxError::from(Broken)) });
    let error = PeekLayer::new().layer(failing).oneshot(()).await.unwrap_err();
    assert!(error.is::<Broken>());
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Data),
        1 => (1..800u64).prop_map(Waits),
    ];
    let end = prop_oneof![Just(None), Just(Some(Fails)), Just(Some(trailers(&[("x-sum", "1")]))),];
    (proptest::collection::vec(step, 0..12), end).prop_map(|(mut steps, end)| {
        steps.extend(end);
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn body_any_frames_and_limit_stays_whole(steps in steps(), limit in 1..200usize) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            // A body that wasn't read is passed on unchanged.
            let untouched = body(steps.clone());
            let length = untouched.size_hint().exact();
            let untouched = peek(&PeekLayer::new(), response(200, "", untouched)).await;
            let expected = drain(untouched.into_body()).await;
            let response = peek(&PeekLayer::builder().limit(limit).build().unwrap(), json(500, body(steps))).await;
            prop_assert_eq!(response.body().size_hint().exact(), length);
            prop_assert_eq!(drain(response.into_body()).await, expected);
            Ok(())
        })?;
    }
}
