//! A server and a client over loopback sockets.

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

/// The client of hyper-util.
pub type HyperClient = Client<HttpConnector, Full<Bytes>>;

/// Numbers of concurrent calls: one is bound by the network, several are bound by the client's
/// processor.
pub const AT_ONCE: [u64; 2] = [1, 8];
const BODY: &[u8] = br#"{"choices":[{"message":{"role":"assistant","content":"hello"}}]}"#;

pub fn client() -> HyperClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Returns the stack over that client, with this server as its primary region.
pub fn stacked(server: SocketAddr) -> Stack<HyperClient> {
    let primary = format!("http://{server}");
    stack(client(), &[&primary, "http://127.0.0.2:1", "http://127.0.0.3:1"], false)
}

/// Returns the stack as `UpstreamLayer` builds it, with this server as its primary region.
pub fn upstream_of(server: SocketAddr) -> Upstream<HyperClient> {
    upstream(client(), &[&format!("http://{server}"), "http://127.0.0.2:1"])
}

/// Returns the sizes of the stacks over that client, and of tower's own layers.
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

/// Returns a runtime that runs its tasks on the calling thread, whose processor time includes them.
///
/// # Panics
///
/// If the runtime can't be built.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Starts an HTTP/1 server on its own thread, which runs until the program ends.
///
/// # Panics
///
/// If the server can't be started.
pub fn serve() -> SocketAddr {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address")).expect("a receiver");
            loop {
                let (socket, _) = listener.accept().await.expect("a connection");
                let respond = |request: Request<Incoming>| async {
                    let _ = request.into_body().collect().await;
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(BODY))))
                };
                let service = hyper::service::service_fn(respond);
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(socket), service));
            }
        });
    });
    receiver.recv().expect("a server")
}

/// Makes at least this number of calls, `at_once` of them concurrently.
///
/// # Panics
///
/// If a call fails.
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
                .body(Full::new(Bytes::from_static(BODY)))
                .expect("a valid request");
            let ready = service.ready().await.map_err(Into::into).expect("ready");
            let response = ready.call(request).await.map_err(Into::into).expect("a response");
            assert!(response.status().is_success());
            let body = response.into_body().collect().await.expect("a body");
            assert_eq!(body.to_bytes(), BODY);
        }
    };
    join_all((0..at_once).map(|_| task())).await;
}
