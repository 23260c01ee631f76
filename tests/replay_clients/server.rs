//! A server that follows a script and records the upload of each attempt.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http::HeaderMap;
use http_body_util::BodyExt;
use tokio::net::TcpListener;

use crate::upload;

/// The response to an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// 503, after the whole body was read.
    Fails,
    /// 503, before the body is read.
    FailsEarly,
}

/// The upload of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    length: usize,
    hash: u64,
    sum: Option<String>,
}

impl Received {
    pub(crate) fn of(body: &[u8], sum: Option<&str>) -> Self {
        Self { length: body.len(), hash: hash(body), sum: sum.map(ToOwned::to_owned) }
    }
}

fn hash(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<VecDeque<Reply>>>,
    received: Arc<Mutex<Vec<Option<Received>>>>,
}

impl Server {
    /// Starts a server that follows this script, then responds with success; over HTTP/1 and HTTP/2.
    pub(crate) async fn start(script: &[Reply]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            script: Arc::new(Mutex::new(script.iter().copied().collect())),
            received: Arc::default(),
        };
        let app = Router::new().fallback(any(respond)).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/upload", self.address)
    }

    /// Returns the upload of each attempt; `None` for one that wasn't read.
    pub(crate) fn received(&self) -> Vec<Option<Received>> {
        self.received.lock().unwrap().clone()
    }
}

async fn respond(State(server): State<Server>, request: Request) -> Response {
    let step = server.script.lock().unwrap().pop_front();
    let grpc = request.headers().get("content-type").is_some_and(|kind| kind == "application/grpc");
    let received = match step {
        Some(Reply::FailsEarly) => None,
        _ => match request.into_body().collect().await {
            Ok(body) => {
                let sum = body.trailers().and_then(|trailers| trailers.get(upload::SUM));
                let sum = sum.map(|sum| sum.to_str().unwrap().to_owned());
                Some(Received::of(&body.to_bytes(), sum.as_deref()))
            }
            Err(error) => panic!("the body broke off: {error}"),
        },
    };
    server.received.lock().unwrap().push(received);
    match (grpc, step.is_none()) {
        (false, succeeds) => {
            Response::builder().status(if succeeds { 200 } else { 503 }).body(Body::empty())
        }
        (true, false) => Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "14")
            .body(Body::empty()),
        (true, true) => {
            // An empty message, and trailers with the status OK.
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let message = http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5]));
            let body = message.with_trailers(std::future::ready(Some(Ok(trailers))));
            Response::builder().header("content-type", "application/grpc").body(Body::new(body))
        }
    }
    .unwrap()
}
