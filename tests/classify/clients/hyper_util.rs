use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::{BoxError, ServiceExt, service_fn, timeout::Timeout};
use tower_upstream::classify::{Cause, Class};

use super::{MAX_WAIT, bounded, resolved, servers};
use crate::{assert_means, verdict};

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

fn client(http2: bool) -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that turns out to be fed by something which refuses connections.
fn failing() -> Body {
    let error: BoxError = Box::new(io::Error::from(io::ErrorKind::ConnectionRefused));
    let frames = [Ok(http_body::Frame::data(Bytes::from("started"))), Err(error)];
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

fn get(address: SocketAddr) -> Request<Body> {
    Request::get(format!("http://{address}/")).body(empty()).unwrap()
}

async fn http1_error(address: SocketAddr) -> hyper_util::client::legacy::Error {
    bounded(client(false).oneshot(get(address))).await.unwrap_err()
}

async fn http2_error(address: SocketAddr) -> hyper_util::client::legacy::Error {
    bounded(client(true).oneshot(get(address))).await.unwrap_err()
}

#[tokio::test]
async fn refused() {
    let address = servers::refusing();
    assert_means(&http1_error(address).await, Class::NotSent, Cause::Connect);
    assert_means(&http2_error(address).await, Class::NotSent, Cause::Connect);
}

#[tokio::test]
async fn no_such_host() {
    let request = Request::get("http://nothing.invalid/").body(empty()).unwrap();
    if let Some(result) = resolved(client(false).oneshot(request)).await {
        assert_means(&result.unwrap_err(), Class::NotSent, Cause::Connect);
    }
}

#[tokio::test]
async fn a_resolver_that_fails() {
    let resolver = service_fn(|_: Name| async { Err::<std::vec::IntoIter<SocketAddr>, _>("down") });
    let connector = HttpConnector::new_with_resolver(resolver);
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::get("http://upstream/").body(empty()).unwrap();
    let error = bounded(client.oneshot(request)).await.unwrap_err();
    assert_means(&error, Class::NotSent, Cause::Connect);
}

#[tokio::test]
async fn whatever_a_connector_fails_with() {
    // As TLS does, when the peer hangs up or isn't who it should be.
    for kind in
        [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::InvalidData]
    {
        let connector = service_fn(move |_: Uri| {
            std::future::ready(Err::<TokioIo<TcpStream>, _>(io::Error::new(kind, "handshake")))
        });
        let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
        let request = Request::get("http://upstream/").body(empty()).unwrap();
        let error = bounded(client.oneshot(request)).await.unwrap_err();
        assert_means(&error, Class::NotSent, Cause::Connect);
    }
}

/// A connection that is made, and breaks before it is of any use.
struct Broken;

impl Connection for Broken {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

impl Write for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn broken_before_the_first_request() {
    for http2 in [false, true] {
        let connector = service_fn(|_: Uri| std::future::ready(Ok::<_, io::Error>(Broken)));
        let client: Client<_, Body> =
            Client::builder(TokioExecutor::new()).http2_only(http2).build(connector);
        let request = Request::get("http://upstream/").body(empty()).unwrap();
        let error = bounded(client.oneshot(request)).await.unwrap_err();
        assert!(!error.is_connect(), "what hyper-util makes of it");
        assert_means(&error, Class::NotSent, Cause::Connect);
    }
}

#[tokio::test]
async fn closed_at_once() {
    // Before or after the request went out: that is up to the kernel.
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
async fn not_http() {
    let address = servers::answering("SSH-2.0-OpenSSH_9.9\r\n").await;
    assert_means(&http1_error(address).await, Class::Transient, Cause::Connection);
}

#[tokio::test]
async fn silent_under_towers_timeout() {
    let address = servers::silent().await;
    let client = Timeout::new(client(false), MAX_WAIT);
    let error = bounded(client.oneshot(get(address))).await.unwrap_err();
    assert_means(&*error, Class::Transient, Cause::Timeout);
}

#[tokio::test]
async fn silent_to_http2_pings() {
    let address = servers::silent().await;
    let client: Client<_, Body> = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_only(true)
        .http2_keep_alive_interval(Duration::from_millis(50))
        .http2_keep_alive_timeout(Duration::from_millis(50))
        .build_http();
    let error = bounded(client.oneshot(get(address))).await.unwrap_err();
    assert_means(&error, Class::Transient, Cause::Timeout);
}

#[tokio::test]
async fn stream_refused() {
    let address = servers::http2(servers::reset(Reason::REFUSED_STREAM), false).await;
    assert_means(&http2_error(address).await, Class::NotSent, Cause::RefusedStream);
}

#[tokio::test]
async fn stream_reset() {
    for reason in
        [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM]
    {
        let address = servers::http2(servers::reset(reason), false).await;
        assert_means(&http2_error(address).await, Class::Transient, Cause::Connection);
    }
}

#[tokio::test]
async fn going_away_before_the_request() {
    for hangs_up in [false, true] {
        let address = servers::http2(servers::go_away(0, Reason::NO_ERROR), hangs_up).await;
        assert_means(&http2_error(address).await, Class::NotSent, Cause::RefusedStream);
    }
}

#[tokio::test]
async fn going_away_after_the_request() {
    // It said that it would reply, and then hung up: who knows.
    let address = servers::http2(servers::go_away(1, Reason::NO_ERROR), true).await;
    assert_means(&http2_error(address).await, Class::Transient, Cause::Connection);
    // Graceful, in two steps: the first names no stream in particular.
    let address = servers::http2(servers::go_away(0x7fff_ffff, Reason::NO_ERROR), true).await;
    assert_means(&http2_error(address).await, Class::Transient, Cause::Connection);
}

#[tokio::test]
async fn going_away_over_an_error() {
    let address = servers::http2(servers::go_away(0, Reason::ENHANCE_YOUR_CALM), false).await;
    assert_means(&http2_error(address).await, Class::Transient, Cause::Connection);
}

#[tokio::test]
async fn a_request_without_a_host() {
    let request = Request::get("/").body(empty()).unwrap();
    let error = bounded(client(false).oneshot(request)).await.unwrap_err();
    assert_means(&error, Class::Rejected, Cause::Unknown);
}

#[tokio::test]
async fn a_request_of_the_wrong_version() {
    let mut request = get(servers::silent().await);
    *request.version_mut() = http::Version::HTTP_2;
    let error = bounded(client(false).oneshot(request)).await.unwrap_err();
    assert_means(&error, Class::Rejected, Cause::Unknown);
}

#[tokio::test]
async fn a_body_that_fails() {
    let request = |address| Request::post(format!("http://{address}/")).body(failing()).unwrap();
    let address = servers::silent().await;
    let error = bounded(client(false).oneshot(request(address))).await.unwrap_err();
    assert_means(&error, Class::Rejected, Cause::Unknown);

    let address = servers::http2(servers::nothing, false).await;
    let error = bounded(client(true).oneshot(request(address))).await.unwrap_err();
    assert_means(&error, Class::Rejected, Cause::Unknown);
}

#[tokio::test]
async fn a_body_shorter_than_declared() {
    let mut request = get(servers::silent().await).map(|_| {
        let short = StreamBody::new(futures_util::stream::iter([Ok(http_body::Frame::data(
            Bytes::from("ab"),
        ))]));
        short.boxed_unsync()
    });
    request.headers_mut().insert("content-length", 3.into());
    let error = bounded(client(false).oneshot(request)).await.unwrap_err();
    assert_means(&error, Class::Rejected, Cause::Unknown);
}

#[tokio::test]
async fn a_response_cut_short() {
    let address = servers::answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    let response = bounded(client(false).oneshot(get(address))).await.unwrap();
    let error = bounded(response.into_body().collect()).await.unwrap_err();
    assert_means(&error, Class::Transient, Cause::Connection);
}
