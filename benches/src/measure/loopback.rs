//! A server and a client over real sockets, on this machine.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tower::{BoxError, Service, ServiceExt};
use tower_upstream::stack::Upstream;

use crate::rows::REGIONS;
use crate::rows::stack::{Stack, stack, tower_stack};
use crate::rows::upstream::{self, upstream};
use crate::subject::Sizes;

/// hyper-util's client.
pub type HyperClient = Client<HttpConnector, Full<Bytes>>;

/// How many calls are under way at a time: one waits for the wire, several keep the
/// client's processor busy.
pub const AT_ONCE: [u64; 2] = [1, 8];
const ANSWER: &[u8] = br#"{"choices":[{"message":{"role":"assistant","content":"hello"}}]}"#;

pub fn client() -> HyperClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// The stack over that client, with this server as its primary region.
pub fn stacked(server: SocketAddr) -> Stack<HyperClient> {
    let primary = format!("http://{server}");
    stack(client(), &[&primary, "http://127.0.0.2:1", "http://127.0.0.3:1"], false)
}

/// The stack as `UpstreamLayer` builds it over that client, with this server as its primary region.
pub fn upstream_of(server: SocketAddr) -> Upstream<HyperClient> {
    upstream(client(), &[&format!("http://{server}"), "http://127.0.0.2:1"])
}

/// The stack's service and future over that client, and those of tower's own layers.
pub fn sizes() -> [(&'static str, Sizes); 4] {
    type Body = Full<Bytes>;
    let (ours, theirs) = (stack(client(), &REGIONS, false), tower_stack(client()));
    [
        ("bare", Sizes::of::<Body, _>(&client())),
        ("stack", Sizes::of::<Body, _>(&ours)),
        ("upstream", Sizes::of::<Body, _>(&upstream(client(), &upstream::REGIONS))),
        ("tower: retry, timeout, load shed, concurrency limit", Sizes::of::<Body, _>(&theirs)),
    ]
}

/// A runtime that keeps its tasks to the thread that runs it, whose time they then are.
///
/// # Panics
///
/// If the system has no sockets.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Starts an HTTP/1 server on a thread of its own, which lasts as long as the program.
///
/// # Panics
///
/// If it can't.
pub fn serve() -> SocketAddr {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async {
            let observers = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(observers.local_addr().expect("an address")).expect("somebody waits");
            loop {
                let (socket, _) = observers.accept().await.expect("a connection");
                let answer = |request: Request<Incoming>| async {
                    let _ = request.into_body().collect().await;
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(ANSWER))))
                };
                let service = hyper::service::service_fn(answer);
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(socket), service));
            }
        });
    });
    told.recv().expect("a server")
}

/// Makes at least so many calls, so many at a time.
///
/// # Panics
///
/// If one isn't answered.
pub async fn call<S>(service: &S, server: SocketAddr, calls: u64, at_once: u64)
where
    S: Service<Request<Full<Bytes>>, Response = Response<Incoming>> + Clone,
    S::Error: Into<BoxError>,
{
    let task = || async {
        let mut service = service.clone();
        for _ in 0..calls.div_ceil(at_once) {
            let request = Request::post(format!("http://{server}/v1/chat/completions"))
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from_static(ANSWER)))
                .expect("a valid request");
            let ready = service.ready().await.map_err(Into::into).expect("ready");
            let answer = ready.call(request).await.map_err(Into::into).expect("an answer");
            assert!(answer.status().is_success());
            let body = answer.into_body().collect().await.expect("a body");
            assert_eq!(body.to_bytes(), ANSWER);
        }
    };
    join_all((0..at_once).map(|_| task())).await;
}
