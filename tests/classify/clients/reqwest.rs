use std::future::{Pending, pending};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use http::StatusCode;
use reqwest::dns::{Name, Resolve, Resolving};
use reqwest::{Body, Client, ClientBuilder, Error};
use tower::{Service, ServiceExt, layer::layer_fn, timeout::Timeout};
use tower_upstream::classify::{Cause, Class, Classify, HttpClassifier};

use super::{MAX_WAIT, bounded, resolved, servers};
use crate::{assert_means, verdict};

fn builder() -> ClientBuilder {
    Client::builder().no_proxy()
}

async fn get(client: ClientBuilder, address: SocketAddr) -> Result<reqwest::Response, Error> {
    bounded(client.build().unwrap().get(format!("http://{address}/")).send()).await
}

async fn http1_error(address: SocketAddr) -> Error {
    get(builder(), address).await.unwrap_err()
}

async fn http2_error(address: SocketAddr) -> Error {
    get(builder().http2_prior_knowledge(), address).await.unwrap_err()
}

#[tokio::test]
async fn refused() {
    let address = servers::refusing();
    assert_means(&http1_error(address).await, Class::NotSent, Cause::Connect);
    assert_means(&http2_error(address).await, Class::NotSent, Cause::Connect);
}

#[tokio::test]
async fn no_such_host() {
    let call = builder().build().unwrap().get("http://nothing.invalid/").send();
    if let Some(result) = resolved(call).await {
        assert_means(&result.unwrap_err(), Class::NotSent, Cause::Connect);
    }
}

/// A resolver that is down.
struct Down;

impl Resolve for Down {
    fn resolve(&self, _: Name) -> Resolving {
        Box::pin(async { Err("down".into()) })
    }
}

#[tokio::test]
async fn a_resolver_that_fails() {
    let client = builder().dns_resolver(Arc::new(Down)).build().unwrap();
    let error = bounded(client.get("http://upstream/").send()).await.unwrap_err();
    assert_means(&error, Class::NotSent, Cause::Connect);
}

/// A connector that never gets anywhere.
#[derive(Clone)]
struct Stuck<S>(S);

impl<S: Service<R>, R> Service<R> for Stuck<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pending<Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, _: R) -> Self::Future {
        pending()
    }
}

#[tokio::test]
async fn not_connected_in_time() {
    let client = builder().connect_timeout(MAX_WAIT).connector_layer(layer_fn(Stuck));
    let error = get(client, servers::silent().await).await.unwrap_err();
    assert!(error.is_timeout());
    assert_means(&error, Class::NotSent, Cause::Connect);
}

#[tokio::test]
async fn not_even_connected_in_the_time_for_everything() {
    // Reqwest doesn't say where the time went.
    let client = builder().timeout(MAX_WAIT).connector_layer(layer_fn(Stuck));
    let error = get(client, servers::silent().await).await.unwrap_err();
    assert_means(&error, Class::Transient, Cause::Timeout);
}

#[tokio::test]
async fn closed_at_once() {
    let address = servers::closing().await;
    for error in [http1_error(address).await, http2_error(address).await] {
        let verdict = verdict(&error);
        match verdict.class() {
            Class::NotSent => {}
            class => assert_eq!((class, verdict.cause()), (Class::Transient, Cause::Connection)),
        }
    }
}

#[tokio::test]
async fn closed_without_an_reply() {
    let address = servers::answering("").await;
    assert_means(&http1_error(address).await, Class::Transient, Cause::Connection);
}

#[tokio::test]
async fn half_a_head() {
    let address = servers::answering("HTTP/1.1 200 OK\r\nContent-Le").await;
    assert_means(&http1_error(address).await, Class::Transient, Cause::Connection);
}

#[tokio::test]
async fn silent() {
    let address = servers::silent().await;
    for client in [builder().timeout(MAX_WAIT), builder().read_timeout(MAX_WAIT)] {
        let error = get(client, address).await.unwrap_err();
        assert_means(&error, Class::Transient, Cause::Timeout);
    }
}

#[tokio::test]
async fn silent_under_towers_timeout() {
    let client = builder().build().unwrap();
    let request = client.get(format!("http://{}/", servers::silent().await)).build().unwrap();
    let error = bounded(Timeout::new(client, MAX_WAIT).oneshot(request)).await.unwrap_err();
    assert_means(&*error, Class::Transient, Cause::Timeout);
}

#[tokio::test]
async fn stream_refused() {
    let address = servers::http2(servers::reset(Reason::REFUSED_STREAM), false).await;
    assert_means(&http2_error(address).await, Class::NotSent, Cause::RefusedStream);
}

#[tokio::test]
async fn stream_reset() {
    let address = servers::http2(servers::reset(Reason::INTERNAL_ERROR), false).await;
    assert_means(&http2_error(address).await, Class::Transient, Cause::Connection);
}

#[tokio::test]
async fn going_away() {
    let address = servers::http2(servers::go_away(0, Reason::NO_ERROR), false).await;
    assert_means(&http2_error(address).await, Class::NotSent, Cause::RefusedStream);
    let address = servers::http2(servers::go_away(1, Reason::NO_ERROR), true).await;
    assert_means(&http2_error(address).await, Class::Transient, Cause::Connection);
}

#[tokio::test]
async fn a_request_that_cannot_be_built() {
    for url in ["nowhere", "ftp://127.0.0.1/"] {
        let error = bounded(builder().build().unwrap().get(url).send()).await.unwrap_err();
        assert!(error.is_builder());
        assert_means(&error, Class::Rejected, Cause::Unknown);
    }
}

#[tokio::test]
async fn redirected_in_circles() {
    let address = servers::answering("HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n").await;
    let error = http1_error(address).await;
    assert!(error.is_redirect());
    assert_means(&error, Class::Rejected, Cause::Unknown);
}

#[tokio::test]
async fn a_status_made_an_error() {
    let address = servers::answering("HTTP/1.1 429 Slow Down\r\nretry-after: 3\r\n\r\n").await;
    let response = get(builder(), address).await.unwrap();
    let seen = HttpClassifier::new().classify(Ok(&response));
    assert_eq!(seen.class(), Class::Throttled);
    assert_eq!(seen.hint().retry_after, Some(std::time::Duration::from_secs(3)));

    let error = response.error_for_status().unwrap_err();
    assert_means(&error, Class::Throttled, Cause::Status(StatusCode::TOO_MANY_REQUESTS));
}

#[tokio::test]
async fn a_body_cut_short() {
    let address = servers::answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    let response = get(builder(), address).await.unwrap();
    let error = bounded(response.bytes()).await.unwrap_err();
    assert_means(&error, Class::Transient, Cause::Connection);
}

#[tokio::test]
async fn a_body_that_takes_too_long() {
    let client = builder().http2_prior_knowledge().timeout(MAX_WAIT);
    let response = get(client, servers::http2(servers::ok, false).await).await.unwrap();
    let error = bounded(response.bytes()).await.unwrap_err();
    assert_means(&error, Class::Transient, Cause::Timeout);
}

#[tokio::test]
async fn a_request_body_fed_by_another_upstream_that_refuses() {
    let elsewhere = http1_error(servers::refusing()).await;
    assert_means(&elsewhere, Class::NotSent, Cause::Connect);
    let frames = [Ok(Bytes::from("started")), Err(elsewhere)];
    let body = Body::wrap_stream(futures_util::stream::iter(frames));
    let address = servers::silent().await;
    let call = builder().build().unwrap().post(format!("http://{address}/")).body(body).send();
    let error = bounded(call).await.unwrap_err();
    assert!(error.is_connect(), "what reqwest makes of it");
    assert_means(&error, Class::Rejected, Cause::Unknown);
}

#[tokio::test]
async fn wrapped_into_an_io_error() {
    let error = io::Error::other(http1_error(servers::refusing()).await);
    assert_means(&error, Class::NotSent, Cause::Connect);
}
