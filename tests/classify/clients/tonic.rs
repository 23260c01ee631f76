use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use h2::Reason;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::{ServiceExt, service_fn, timeout::Timeout};
use tower_upstream::classify::{Cause, Class, Classify, GrpcCode, HttpClassifier};

use super::{MAX_WAIT, bounded, resolved, servers};
use crate::{assert_means, verdict};

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}

/// The channel's own error, and the status a generated client makes of it.
///
/// Of a new channel each, so that the second call isn't given to what is left
/// of the first one's connection. It is held, as hyper pings no longer for a
/// call that has outlived its channel.
async fn errors(channel: impl Fn() -> Channel) -> (tonic::transport::Error, Status) {
    let held = channel();
    let error = bounded(held.clone().oneshot(request())).await.unwrap_err();
    let held = channel();
    (error, bounded(unary(held.clone())).await.unwrap_err())
}

async fn assert_both_mean(channel: impl Fn() -> Channel, class: Class, cause: Cause) {
    let (error, status) = errors(channel).await;
    assert_means(&error, class, cause);
    assert_means(&status, class, cause);
}

fn request() -> Request<Body> {
    Request::post("/test.Test/Call").body(Body::empty()).unwrap()
}

/// A call as a generated client makes it.
async fn unary(channel: Channel) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static("/test.Test/Call");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    client.unary(tonic::Request::new(()), path, codec).await.map(drop)
}

#[tokio::test]
async fn refused() {
    let address = servers::refusing();
    let channel = || endpoint(address).connect_lazy();
    assert_both_mean(channel, Class::NotSent, Cause::Connect).await;
}

#[tokio::test]
async fn no_such_host() {
    let channel = || Endpoint::from_static("http://nothing.invalid:1").connect_lazy();
    if let Some((error, status)) = resolved(errors(channel)).await {
        assert_means(&error, Class::NotSent, Cause::Connect);
        assert_means(&status, Class::NotSent, Cause::Connect);
    }
}

#[tokio::test]
async fn whatever_a_connector_fails_with() {
    for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::TimedOut, io::ErrorKind::InvalidData]
    {
        let connector = service_fn(move |_: Uri| async move {
            Err::<TokioIo<TcpStream>, _>(io::Error::new(kind, "handshake"))
        });
        let endpoint = Endpoint::from_static("http://upstream");
        let channel = || endpoint.connect_with_connector_lazy(connector);
        assert_both_mean(channel, Class::NotSent, Cause::Connect).await;
    }
}

#[tokio::test]
async fn not_connected_in_time() {
    let connector = service_fn(|_: Uri| std::future::pending::<io::Result<TokioIo<TcpStream>>>());
    let endpoint = Endpoint::from_static("http://upstream").connect_timeout(MAX_WAIT);
    let channel = || endpoint.connect_with_connector_lazy(connector);
    assert_both_mean(channel, Class::NotSent, Cause::Connect).await;
}

#[tokio::test]
async fn closed_at_once() {
    let address = servers::closing().await;
    let (error, status) = errors(|| endpoint(address).connect_lazy()).await;
    for verdict in [verdict(&error), verdict(&status)] {
        match verdict.class() {
            Class::NotSent => {}
            class => assert_eq!((class, verdict.cause()), (Class::Transient, Cause::Connection)),
        }
    }
}

#[tokio::test]
async fn given_to_a_connection_that_is_gone() {
    let address = servers::http2(servers::reset(Reason::INTERNAL_ERROR), true).await;
    let channel = endpoint(address).connect_lazy();
    let error = bounded(channel.clone().oneshot(request())).await.unwrap_err();
    assert_means(&error, Class::Transient, Cause::Connection);
    // Before the channel has seen its end, or after, on a new one.
    let error = bounded(channel.oneshot(request())).await.unwrap_err();
    assert_eq!(verdict(&error).cause(), Cause::Connection);
}

#[tokio::test]
async fn silent() {
    let endpoint = endpoint(servers::silent().await).timeout(MAX_WAIT);
    let (error, status) = errors(|| endpoint.connect_lazy()).await;
    assert_eq!(status.code(), Code::Cancelled, "what tonic makes of it");
    assert_means(&error, Class::Transient, Cause::Timeout);
    assert_means(&status, Class::Transient, Cause::Timeout);
}

#[tokio::test]
async fn silent_under_towers_timeout() {
    let channel = endpoint(servers::silent().await).connect_lazy();
    let error = bounded(Timeout::new(channel, MAX_WAIT).oneshot(request())).await.unwrap_err();
    assert_means(&*error, Class::Transient, Cause::Timeout);
}

#[tokio::test]
async fn silent_to_pings() {
    let endpoint = endpoint(servers::silent().await)
        .http2_keep_alive_interval(Duration::from_millis(50))
        .keep_alive_timeout(Duration::from_millis(50));
    assert_both_mean(|| endpoint.connect_lazy(), Class::Transient, Cause::Timeout).await;
}

#[tokio::test]
async fn stream_refused() {
    let address = servers::http2(servers::reset(Reason::REFUSED_STREAM), false).await;
    let channel = || endpoint(address).connect_lazy();
    assert_both_mean(channel, Class::NotSent, Cause::RefusedStream).await;
}

#[tokio::test]
async fn stream_reset() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM] {
        let address = servers::http2(servers::reset(reason), false).await;
        let channel = || endpoint(address).connect_lazy();
        assert_both_mean(channel, Class::Transient, Cause::Connection).await;
    }
}

#[tokio::test]
async fn going_away() {
    let address = servers::http2(servers::go_away(0, Reason::NO_ERROR), false).await;
    let channel = || endpoint(address).connect_lazy();
    assert_both_mean(channel, Class::NotSent, Cause::RefusedStream).await;
    let address = servers::http2(servers::go_away(1, Reason::NO_ERROR), true).await;
    let channel = || endpoint(address).connect_lazy();
    assert_both_mean(channel, Class::Transient, Cause::Connection).await;
}

/// A server that replies every call with this status and pushback.
async fn answering(code: Code, pushback: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = hyper::service::service_fn(move |_| async move {
                let head = Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", code as i32)
                    .header("grpc-retry-pushback-ms", pushback);
                Ok::<_, Infallible>(head.body(Body::empty()).unwrap())
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(socket), service));
        }
    });
    address
}

#[tokio::test]
async fn a_status_means_the_same_as_response_and_as_error() {
    let wait = Some(Duration::from_millis(250));
    let cases = [
        (Code::Unavailable, "250", Class::Overloaded, wait, None),
        (Code::Unavailable, "-1", Class::Transient, None, Some(false)),
        (Code::ResourceExhausted, "250", Class::Throttled, wait, None),
        (Code::Unauthenticated, "250", Class::CredentialRejected, wait, None),
        (Code::NotFound, "250", Class::Rejected, wait, None),
    ];
    for (code, pushback, class, retry_after, should_retry) in cases {
        let channel = endpoint(answering(code, pushback).await).connect_lazy();
        let response = bounded(channel.clone().oneshot(request())).await.unwrap();
        let status = bounded(unary(channel)).await.unwrap_err();
        assert_eq!(status.code(), code);
        for verdict in [HttpClassifier::new().classify(Ok(&response)), verdict(&status)] {
            assert_eq!(verdict.class(), class, "{code:?}");
            assert_eq!(verdict.cause(), Cause::Grpc(GrpcCode::from_number(code as u32)));
            assert_eq!(verdict.hint().retry_after, retry_after, "{code:?}");
            assert_eq!(verdict.hint().should_retry, should_retry, "{code:?}");
        }
    }
}
