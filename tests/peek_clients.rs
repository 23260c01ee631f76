//! Answers that are looked into over real connections: hyper-util, reqwest, tonic, and an axum service.

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

/// Says that the quota is spent, in two pieces, with trailers.
fn spent() -> Response {
    let (head, tail) = SPENT.split_at(30);
    let pieces = [head, tail].map(Ok::<_, std::convert::Infallible>);
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::builder().status(429).header("trailer", "x-sum").body(Body::new(body)).unwrap()
}

/// An app that gives this answer, and how many times it was asked.
fn app(answer: fn() -> Response) -> (Router, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = move || {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(answer())
    };
    (Router::new().fallback(any(answer)), asked)
}

async fn serve(answer: fn() -> Response) -> (SocketAddr, Arc<AtomicUsize>) {
    let (app, asked) = app(answer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, asked)
}

fn retry() -> RetryBuilder {
    RetryLayer::builder().backoff(Backoff::constant(Duration::ZERO)).retry_non_idempotent()
}

/// A call over a client of `http` requests: asked once, and the body whole.
async fn check<S, B, R>(client: S, url: String, asked: Arc<AtomicUsize>)
where
    S: Service<Request<B>, Response = http::Response<R>, Error = BoxError>,
    B: Default,
    R: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    // hyper's server sends trailers over HTTP/1 only to clients that ask for them.
    let request = Request::get(url).header("te", "trailers").body(B::default()).unwrap();
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(HttpClassifier::new().classify(Ok(&response)).class(), Class::QuotaExhausted);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "7");
    assert_eq!(body.to_bytes(), SPENT);
}

#[tokio::test]
async fn hyper_util_over_http_1_and_2() {
    for h2 in [false, true] {
        let (address, asked) = serve(spent).await;
        let client =
            Client::builder(TokioExecutor::new()).http2_only(h2).build_http::<Full<Bytes>>();
        let client = ServiceBuilder::new()
            .layer(retry().build().unwrap())
            .layer(PeekLayer::new())
            .service(client);
        check(client, format!("http://{address}/"), asked).await;
    }
}

#[tokio::test]
async fn an_axum_service() {
    let (app, asked) = app(spent);
    let client =
        ServiceBuilder::new().layer(retry().build().unwrap()).layer(PeekLayer::new()).service(app);
    check::<_, Body, _>(client, "http://upstream.test/".to_owned(), asked).await;
}

#[tokio::test]
async fn reqwest_keeps_its_url_and_its_body() {
    let (address, asked) = serve(spent).await;
    let http = reqwest::Client::builder().retry(reqwest::retry::never()).build().unwrap();
    let request = http.get(format!("http://{address}/v1/models?q=1")).build().unwrap();
    let client =
        ServiceBuilder::new().layer(retry().build().unwrap()).layer(PeekLayer::new()).service(http);
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(response.url().as_str(), format!("http://{address}/v1/models?q=1"));
    assert_eq!(response.text().await.unwrap(), SPENT);
}

/// A gRPC message, and then a failure.
fn fails_in_trailers() -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "14".parse().unwrap());
    trailers.insert("grpc-message", "gone".parse().unwrap());
    let body = Full::new(Bytes::from_static(&[0; 5]));
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

#[tokio::test]
async fn a_tonic_client_retries_what_failed_in_trailers_and_sees_it_all_the_same() {
    for (peeks, attempts) in [(false, 1), (true, 3)] {
        let (address, asked) = serve(fails_in_trailers).await;
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
        assert_eq!(asked.load(Ordering::Relaxed), attempts);
    }
}
