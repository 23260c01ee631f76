//! What is claimed about sockets, over sockets: real servers on loopback, and
//! hyper-util, reqwest and tonic as clients.

#![cfg(all(feature = "hyper-util", feature = "reqwest", feature = "tonic"))]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::{Service, ServiceBuilder, ServiceExt, timeout::TimeoutLayer};
use tower_upstream::circuit_breaker::{CircuitOpen, CircuitState};
use tower_upstream::classify::Verdict;
use tower_upstream::retry::Backoff;
use tower_upstream::retry::RetryBuilder;
use tower_upstream::{BoxError, CircuitBreakerLayer, Quota, RateLimitLayer, RetryLayer, cause_ref};

/// A status, and the `Retry-After` that goes with it.
type Reply = (u16, Option<&'static str>);

/// A server that replies by a script, and notes when it was asked.
#[derive(Clone, Default)]
struct Scripted {
    script: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Scripted {
    fn asked(&self) -> Vec<Instant> {
        self.asked.lock().unwrap().clone()
    }
}

async fn by_script(State(server): State<Scripted>) -> Response {
    server.asked.lock().unwrap().push(Instant::now());
    let (status, hint) = server.script.lock().unwrap().pop_front().unwrap_or((200, None));
    let mut response = StatusCode::from_u16(status).unwrap().into_response();
    if let Some(hint) = hint {
        response.headers_mut().insert("retry-after", hint.parse().unwrap());
    }
    response
}

async fn scripted(script: &[Reply]) -> (SocketAddr, Scripted) {
    let server = Scripted {
        script: Arc::new(Mutex::new(script.iter().copied().collect())),
        ..Default::default()
    };
    let app = Router::new().fallback(any(by_script)).with_state(server.clone());
    (serve(app, "127.0.0.1:0".parse().unwrap()).await.0, server)
}

async fn serve(app: Router, at: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }))
}

fn hyper() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn get(address: SocketAddr) -> Request<Full<Bytes>> {
    Request::get(format!("http://{address}/v1/models")).body(Full::default()).unwrap()
}

fn quick() -> RetryBuilder {
    RetryLayer::builder().backoff(Backoff::exponential(Duration::from_millis(5)))
}

#[tokio::test]
async fn overloaded_twice_succeeds_in_three_attempts() {
    let script = [(503, None), (503, None), (200, None)];

    let (address, server) = scripted(&script).await;
    let mut client = ServiceBuilder::new().layer(quick().build().unwrap()).service(hyper());
    let response = client.ready().await.unwrap().call(get(address)).await.unwrap();
    assert_eq!((response.status().as_u16(), server.asked().len()), (200, 3));

    let (address, server) = scripted(&script).await;
    let http = reqwest::Client::builder().retry(reqwest::retry::never()).build().unwrap();
    let mut client = ServiceBuilder::new().layer(quick().build().unwrap()).service(http.clone());
    let request = http.get(format!("http://{address}/")).build().unwrap();
    let response = client.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!((response.status().as_u16(), server.asked().len()), (200, 3));
}

#[tokio::test]
async fn a_429_is_not_sent_again_before_its_hint() {
    let (address, server) = scripted(&[(429, Some("1")), (200, None)]).await;
    let mut client = ServiceBuilder::new().layer(quick().build().unwrap()).service(hyper());
    let response = client.ready().await.unwrap().call(get(address)).await.unwrap();
    assert_eq!(response.status(), 200);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[1] - asked[0] >= Duration::from_secs(1), "{:?}", asked[1] - asked[0]);
}

#[tokio::test]
async fn a_401_is_sent_once() {
    let (address, server) = scripted(&[(401, None)]).await;
    let mut client = ServiceBuilder::new()
        .layer(quick().build().unwrap())
        .layer(RateLimitLayer::builder(Quota::per_minute(60)).by_credential().build().unwrap())
        .layer(CircuitBreakerLayer::new())
        .service(hyper());
    let response = client.ready().await.unwrap().call(get(address)).await.unwrap();
    assert_eq!((response.status().as_u16(), server.asked().len()), (401, 1));
}

/// A server that replies 429 to what is over its limit in any window: its own
/// log of arrivals, sharing no code with the crate.
#[derive(Clone)]
struct Strict {
    limit: usize,
    window: Duration,
    arrivals: Arc<Mutex<VecDeque<Instant>>>,
    refused: Arc<Mutex<usize>>,
}

async fn by_limit(State(server): State<Strict>) -> StatusCode {
    let now = Instant::now();
    let mut arrivals = server.arrivals.lock().unwrap();
    while arrivals.front().is_some_and(|first| now - *first >= server.window) {
        arrivals.pop_front();
    }
    if arrivals.len() >= server.limit {
        *server.refused.lock().unwrap() += 1;
        return StatusCode::TOO_MANY_REQUESTS;
    }
    arrivals.push_back(now);
    StatusCode::OK
}

#[tokio::test]
async fn a_hundred_calls_at_once_meet_a_strict_limit_without_one_429() {
    let window = Duration::from_secs(1);
    let server = Strict { limit: 60, window, arrivals: Arc::default(), refused: Arc::default() };
    let app = Router::new().fallback(any(by_limit)).with_state(server.clone());
    let (address, _) = serve(app, "127.0.0.1:0".parse().unwrap()).await;
    // The first calls have to connect and arrive late; the margin allows for that.
    let quota = Quota::new(60, window).margin(Duration::from_millis(250));
    let client = ServiceBuilder::new()
        .layer(quick().build().unwrap())
        .layer(RateLimitLayer::new(quota))
        .layer(CircuitBreakerLayer::new())
        .service(hyper());
    let calls = (0..100).map(|_| client.clone().oneshot(get(address)));
    let start = Instant::now();
    for reply in futures_util::future::join_all(calls).await {
        assert_eq!(reply.unwrap().status(), 200);
    }
    assert!(start.elapsed() >= window);
    assert_eq!(*server.refused.lock().unwrap(), 0);
}

#[tokio::test]
async fn a_dead_servers_circuit_opens_replies_at_once_and_recovers_by_a_probe() {
    // A port where nobody listens, until later.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let open_for = Duration::from_millis(500);
    let breaker =
        CircuitBreakerLayer::builder().consecutive_failures(3).open_for(open_for).build().unwrap();
    let handle = breaker.handle();
    let mut client = ServiceBuilder::new()
        .layer(breaker)
        .layer(TimeoutLayer::new(Duration::from_secs(5)))
        .service(hyper());
    for _ in 0..3 {
        let error = client.ready().await.unwrap().call(get(address)).await.unwrap_err();
        assert!(cause_ref::<CircuitOpen>(&*error).is_none());
    }
    let start = Instant::now();
    for _ in 0..1_000 {
        let error = client.ready().await.unwrap().call(get(address)).await.unwrap_err();
        let open = cause_ref::<CircuitOpen>(&*error).expect("the circuit is open");
        assert!(open.retry_after().unwrap() <= open_for);
    }
    assert!(start.elapsed() < open_for / 2, "a thousand rejections took {:?}", start.elapsed());

    let (_, server) = serve(Router::new().fallback(any(StatusCode::OK)), address).await;
    tokio::time::sleep(open_for).await;
    let response = client.ready().await.unwrap().call(get(address)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(handle.status().state, CircuitState::Closed);
    server.abort();
}

#[tokio::test]
async fn a_closure_classifies_by_status_and_error_over_every_client() {
    // This provider says "come back later" with a 418.
    let later = |outcome: tower_upstream::classify::Outcome<'_>| match outcome.status() {
        Some(status) if status == 418 => Verdict::overloaded(),
        _ => outcome.verdict(),
    };
    let (address, server) = scripted(&[(418, None), (200, None), (418, None), (200, None)]).await;
    let mut client = ServiceBuilder::new()
        .layer(
            quick()
                .classify_fn(|outcome| match outcome.as_error() {
                    Some(_) => Verdict::rejected(),
                    None if outcome.status().is_some_and(|status| status == 418) => {
                        Verdict::overloaded()
                    }
                    None => outcome.verdict(),
                })
                .build()
                .unwrap(),
        )
        .layer(CircuitBreakerLayer::builder().classify_fn(later).build().unwrap())
        .service(hyper());
    let response = client.ready().await.unwrap().call(get(address)).await.unwrap();
    assert_eq!((response.status().as_u16(), server.asked().len()), (200, 2));

    let http = reqwest::Client::builder().retry(reqwest::retry::never()).build().unwrap();
    let mut client = ServiceBuilder::new()
        .layer(quick().classify_fn(later).build().unwrap())
        .service(http.clone());
    let request = http.get(format!("http://{address}/")).build().unwrap();
    let response = client.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!((response.status().as_u16(), server.asked().len()), (200, 4));
}

/// Compiles only if the stack is a service of these types: what to write when
/// `.oneshot()` doesn't say why it isn't.
fn check<S, Req, Res>(service: S) -> S
where
    S: Service<Req, Response = Res, Error = BoxError> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    service
}

#[tokio::test]
async fn the_three_stack_over_a_tonic_channel_too() {
    let (address, server) = scripted(&[(503, None), (200, None)]).await;
    let channel =
        tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let mut client = check(
        ServiceBuilder::new()
            .layer(quick().build().unwrap())
            .layer(RateLimitLayer::new(Quota::per_minute(60)))
            .layer(CircuitBreakerLayer::new())
            .layer(TimeoutLayer::new(Duration::from_secs(5)))
            .service(channel),
    );
    let request = Request::put("/").body(tonic::body::Body::empty()).unwrap();
    let response = client.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!((response.status().as_u16(), server.asked().len()), (200, 2));
}
