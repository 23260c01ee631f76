//! The reuse of the connection of a dropped response for the next attempt: HTTP/1 over loopback.

#![cfg(all(feature = "retry", feature = "peek", feature = "hyper-util"))]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};
use tower_upstream::retry::Backoff;
use tower_upstream::retry::RetryBuilder;
use tower_upstream::{PeekLayer, RetryLayer};

/// The delay of a late body after its head.
const LATER: Duration = Duration::from_millis(20);

/// Starts a server that responds to every request with 503 and a body of this length, which may be
/// sent later than the head. Returns its address and the number of accepted connections.
async fn serve(length: usize, later: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(fail(socket, length, later));
        }
    });
    (address, accepted)
}

async fn fail(mut socket: TcpStream, length: usize, later: bool) {
    let head = format!("HTTP/1.1 503 Service Unavailable\r\ncontent-length: {length}\r\n\r\n");
    let body = vec![b' '; length];
    let mut request = [0; 4096];
    // A request without a body arrives in one piece here.
    while socket.read(&mut request).await.is_ok_and(|read| read > 0) {
        let response = if later {
            if socket.write_all(head.as_bytes()).await.is_err() {
                return;
            }
            tokio::time::sleep(LATER).await;
            body.clone()
        } else {
            [head.as_bytes(), &body].concat()
        };
        if socket.write_all(&response).await.is_err() {
            return;
        }
    }
}

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn retry() -> RetryBuilder {
    RetryLayer::builder().max_attempts(4).backoff(Backoff::constant(Duration::from_millis(50)))
}

/// Returns the number of connections that a call of four attempts uses.
async fn connections<S, B>(client: S, length: usize, later: bool) -> usize
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError>,
{
    let (address, accepted) = serve(length, later).await;
    let request = Request::get(format!("http://{address}/")).body(Full::default()).unwrap();
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 503);
    accepted.load(Ordering::Relaxed)
}

#[tokio::test]
async fn connection_short_response_is_reused() {
    for length in [0, 100, 1_000] {
        assert_eq!(
            connections(retry().build().unwrap().layer(client()), length, false).await,
            1,
            "{length} bytes"
        );
    }
}

/// hyper closes the connection of a body that is dropped before its end.
#[tokio::test]
async fn connection_long_or_late_response_is_reused_only_with_peek() {
    for (length, later) in [(60_000, false), (100, true), (60_000, true)] {
        let case = format!("{length} bytes, later: {later}");
        assert_eq!(
            connections(retry().build().unwrap().layer(client()), length, later).await,
            4,
            "{case}"
        );
        let peek = ServiceBuilder::new()
            .layer(retry().build().unwrap())
            .layer(PeekLayer::new())
            .service(client());
        assert_eq!(connections(peek, length, later).await, 1, "{case}");
    }
    // A peek layer reads only up to its limit.
    let peek = ServiceBuilder::new()
        .layer(retry().build().unwrap())
        .layer(PeekLayer::new())
        .service(client());
    assert_eq!(connections(peek, 200_000, true).await, 4);
}
