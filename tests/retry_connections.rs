//! Whether the connection of a discarded answer serves the next attempt: HTTP/1 over loopback.

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

/// How long the body comes after its head, where it does.
const LATER: Duration = Duration::from_millis(20);

/// Starts a server that answers every request with 503 and a body of this length, which may come
/// later than the head. Returns its address, and how many connections it has accepted.
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
    // A request without a body comes in one piece here.
    while socket.read(&mut request).await.is_ok_and(|read| read > 0) {
        let answer = if later {
            if socket.write_all(head.as_bytes()).await.is_err() {
                return;
            }
            tokio::time::sleep(LATER).await;
            body.clone()
        } else {
            [head.as_bytes(), &body].concat()
        };
        if socket.write_all(&answer).await.is_err() {
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

/// How many connections a call of four attempts takes.
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
async fn a_short_answer_that_came_with_its_head_leaves_its_connection() {
    for length in [0, 100, 1_000] {
        assert_eq!(
            connections(retry().build().unwrap().layer(client()), length, false).await,
            1,
            "{length} bytes"
        );
    }
}

/// hyper doesn't wait for the rest of a body that is dropped, but closes the connection. Waiting would
/// cost time; a layer that reads the body spends that time anyway.
#[tokio::test]
async fn a_longer_or_later_answer_takes_its_connection_along_unless_it_is_looked_into() {
    for (length, later) in [(60_000, false), (100, true), (60_000, true)] {
        let what = format!("{length} bytes, later: {later}");
        assert_eq!(
            connections(retry().build().unwrap().layer(client()), length, later).await,
            4,
            "{what}"
        );
        let peek = ServiceBuilder::new()
            .layer(retry().build().unwrap())
            .layer(PeekLayer::new())
            .service(client());
        assert_eq!(connections(peek, length, later).await, 1, "{what}");
    }
    // Within its bound.
    let peek = ServiceBuilder::new()
        .layer(retry().build().unwrap())
        .layer(PeekLayer::new())
        .service(client());
    assert_eq!(connections(peek, 200_000, true).await, 4);
}
