//! hyper-util with a boxed body and with axum's, an axum service in the same process, and reqwest.

use std::future::Future;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_upstream::RetryLayer;
use tower_upstream::retry::StopReason;

use crate::server::Reply::{Fails, FailsEarly};
use crate::server::{Received, Server};
use crate::{RAISED_CAP, retry, upload};

/// A function that sends the upload through a retry layer, and returns the status.
trait Sends: AsyncFn(RetryLayer, String) -> u16 {}

impl<F: AsyncFn(RetryLayer, String) -> u16> Sends for F {}

fn whole() -> Received {
    Received::of(&upload::whole(), Some("7"))
}

/// Checks one client.
async fn check(send: impl Sends) {
    // Within the limit, each attempt sends the whole body.
    let server = Server::start(&[Fails, Fails]).await;
    let (layer, stopped) = retry(Some(RAISED_CAP));
    assert_eq!(send(layer, server.url()).await, 200);
    assert_eq!(server.received(), vec![Some(whole()); 3]);
    assert_eq!(*stopped.lock().unwrap(), None);

    // Also if the first response precedes the reading of its body.
    let server = Server::start(&[FailsEarly]).await;
    let (layer, _) = retry(Some(RAISED_CAP));
    assert_eq!(send(layer, server.url()).await, 200);
    assert_eq!(server.received(), [None, Some(whole())]);

    // Over the limit, the body is sent once, unchanged.
    let server = Server::start(&[Fails]).await;
    let (layer, stopped) = retry(None);
    assert_eq!(send(layer, server.url()).await, 503);
    assert_eq!(server.received(), [Some(whole())]);
    assert_eq!(*stopped.lock().unwrap(), Some(StopReason::NotReplayable));
}

fn request<B>(url: String, body: B) -> Request<B> {
    // Over HTTP/1, hyper sends only announced trailers.
    Request::put(url).header("trailer", upload::SUM).body(body).unwrap()
}

fn hyper<B>(h2: bool) -> Client<HttpConnector, B>
where
    B: http_body::Body<Data = Bytes> + Send,
{
    Client::builder(TokioExecutor::new()).http2_only(h2).build_http()
}

async fn by_hyper<B>(layer: RetryLayer, url: String, body: B, h2: bool) -> u16
where
    B: tower_upstream::replay::RepeatableBody<SavedBody: Send>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let client = layer.layer(hyper::<B>(h2));
    client.oneshot(request(url, body)).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn hyper_util_over_http_1_and_2() {
    for h2 in [false, true] {
        check(async |layer, url| {
            let body: BoxBody<Bytes, BoxError> = upload::body().map_err(Into::into).boxed();
            by_hyper(layer, url, body, h2).await
        })
        .await;
        check(async |layer, url| {
            let body: UnsyncBoxBody<Bytes, BoxError> =
                upload::body().map_err(Into::into).boxed_unsync();
            by_hyper(layer, url, body, h2).await
        })
        .await;
    }
}

#[tokio::test]
async fn axum_body() {
    check(async |layer, url| {
        by_hyper(layer, url, axum::body::Body::new(upload::body()), false).await
    })
    .await;
}

#[tokio::test]
async fn reqwest_over_http_1_and_2() {
    for h2 in [false, true] {
        check(async |layer: RetryLayer, url: String| {
            let client = reqwest::Client::builder().retry(reqwest::retry::never());
            let client = if h2 { client.http2_prior_knowledge() } else { client };
            let mut request = reqwest::Request::new(Method::PUT, url.parse().unwrap());
            request.headers_mut().insert("trailer", upload::SUM.parse().unwrap());
            *request.body_mut() = Some(reqwest::Body::wrap(upload::body()));
            let client = layer.layer(client.build().unwrap());
            client.oneshot(request).await.unwrap().status().as_u16()
        })
        .await;
    }
}

/// Collects an axum body, as an axum service in the same process does.
async fn collect_upload(body: axum::body::Body) -> Received {
    let body = body.collect().await.unwrap();
    let sum = body.trailers().and_then(|trailers| trailers.get(upload::SUM)).cloned();
    let sum = sum.as_ref().map(|sum| sum.to_str().unwrap());
    Received::of(&body.to_bytes(), sum)
}

#[tokio::test]
async fn axum_service_in_process() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&received);
    let service = service_fn(move |request: Request<axum::body::Body>| {
        let noted = Arc::clone(&noted);
        async move {
            let attempt = noted.lock().unwrap().len();
            // The response to the first one precedes the reading of its body.
            let taken =
                if attempt == 0 { None } else { Some(collect_upload(request.into_body()).await) };
            noted.lock().unwrap().push(taken);
            let status = if attempt < 2 { 503 } else { 200 };
            Ok::<_, BoxError>(Response::builder().status(status).body(axum::body::Body::empty())?)
        }
    });
    let (layer, _) = retry(Some(RAISED_CAP));
    let request = request("http://upstream.test".to_owned(), axum::body::Body::new(upload::body()));
    assert_eq!(layer.layer(service).oneshot(request).await.unwrap().status(), 200);
    assert_eq!(*received.lock().unwrap(), [None, Some(whole()), Some(whole())]);
}

const _: fn() = || {
    fn is_send<T: Future + Send>(_: T) {}
    let client = RetryLayer::new().layer(reqwest::Client::new());
    is_send(client.oneshot(reqwest::Request::new(Method::GET, "http://a".parse().unwrap())));
};
