//! Responses that are read over real connections: hyper-util, reqwest, tonic, and an axum service.

#![cfg(all(
    feature = "axum",
    feature = "hyper-util",
    feature = "peek",
    feature = "reqwest",
    feature = "retry",
    feature = "tonic"
))]

#[path = "../examples/tonic/greeter.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, unused_qualifications)]
mod greeter;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_upstream::classify::{Class, Classify, HttpClassifier};
use tower_upstream::retry::Backoff;
use tower_upstream::retry::RetryBuilder;
use tower_upstream::{BoxError, PeekLayer, RetryLayer};

use crate::greeter::GreetRequest;
use crate::greeter::greeter_client::GreeterClient;

const SPENT: &str = r#"{"error": {"type": "insufficient_quota", "code": "insufficient_quota"}}"#;

/// Returns a response for an exhausted quota, in two frames, with trailers.
fn spent() -> Response {
    let (head, tail) = SPENT.split_at(30);
    let pieces = [head, tail].map(Ok::<_, std::convert::Infallible>);
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::builder().status(429).header("trailer", "x-sum").body(Body::new(body)).unwrap()
}

/// Returns an app that always returns this response, and the number of its requests.
fn app(respond: fn() -> Response) -> (Router, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let respond = move || {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(respond())
    };
    (Router::new().fallback(any(respond)), requests)
}

async fn serve(respond: fn() -> Response) -> (SocketAddr, Arc<AtomicUsize>) {
    let (app, requests) = app(respond);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, requests)
}

fn retry() -> RetryBuilder {
    RetryLayer::builder().backoff(Backoff::constant(Duration::ZERO)).retry_non_idempotent()
}

/// Checks a call over a client of `http` requests: one request, and the whole body.
async fn check<S, B, R>(client: S, url: String, requests: Arc<AtomicUsize>)
where
    S: Service<Request<B>, Response = http::Response<R>, Error = BoxError>,
    B: Default,
    R: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    // hyper's server sends trailers over HTTP/1 only to clients that request them.
    let request = Request::get(url).header("te", "trailers").body(B::default()).unwrap();
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(requests.load(Ordering::Relaxed), 1);
    assert_eq!(HttpClassifier::new().classify(Ok(&response)).class(), Class::QuotaExhausted);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "7");
    assert_eq!(body.to_bytes(), SPENT);
}

#[tokio::test]
async fn hyper_util_over_http_1_and_2() {
    for h2 in [false, true] {
        let (address, requests) = serve(spent).await;
        let client =
            Client::builder(TokioExecutor::new()).http2_only(h2).build_http::<Full<Bytes>>();
        let client = ServiceBuilder::new()
            .layer(retry().build().unwrap())
            .layer(PeekLayer::new())
            .service(client);
        check(client, format!("http://{address}/"), requests).await;
    }
}

#[tokio::test]
async fn axum_service_in_process() {
    let (app, requests) = app(spent);
    let client =
        ServiceBuilder::new().layer(retry().build().unwrap()).layer(PeekLayer::new()).service(app);
    check::<_, Body, _>(client, "http://upstream.test/".to_owned(), requests).await;
}

#[tokio::test]
async fn reqwest_response_keeps_url_and_body() {
    let (address, requests) = serve(spent).await;
    let http = reqwest::Client::builder().retry(reqwest::retry::never()).build().unwrap();
    let request = http.get(format!("http://{address}/v1/models?q=1")).build().unwrap();
    let client =
        ServiceBuilder::new().layer(retry().build().unwrap()).layer(PeekLayer::new()).service(http);
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(requests.load(Ordering::Relaxed), 1);
    assert_eq!(response.url().as_str(), format!("http://{address}/v1/models?q=1"));
    assert_eq!(response.text().await.unwrap(), SPENT);
}

/// Returns a gRPC message followed by a failure in trailers.
fn fails_in_trailers() -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "14".parse().unwrap());
    trailers.insert("grpc-message", "gone".parse().unwrap());
    let body = Full::new(Bytes::from_static(&[0; 5]));
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

#[tokio::test]
async fn tonic_failure_in_trailers_is_retried_and_returned() {
    for (peeks, attempts) in [(false, 1), (true, 3)] {
        let (address, requests) = serve(fails_in_trailers).await;
        let endpoint =
            tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect_lazy();
        let request = GreetRequest { name: "me".to_owned() };
        let status = if peeks {
            let peek = PeekLayer::builder().grpc_unary().build().unwrap();
            let stack =
                ServiceBuilder::new().layer(retry().build().unwrap()).layer(peek).service(channel);
            GreeterClient::new(stack).greet(request).await
        } else {
            GreeterClient::new(retry().build().unwrap().layer(channel)).greet(request).await
        };
        let status = status.unwrap_err();
        assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "gone"));
        assert_eq!(requests.load(Ordering::Relaxed), attempts);
    }
}
