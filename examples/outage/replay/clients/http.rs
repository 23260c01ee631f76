//! What is below every client: HTTP, and a count of what goes out.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

use super::super::load::IDEMPOTENCY_KEY;
use super::super::network::Network;
use super::{Request, Response};

type Http = Client<Network, Full<Bytes>>;

/// A client for what isn't a call of the API: health checks, alerts.
pub(crate) type Plain = BoxCloneSyncService<::http::Request<Bytes>, Response, legacy::Error>;

/// What went out: each time that a client's innermost service was called, also where nobody listened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) attempts: u64,
    /// By the region's authority.
    pub(crate) by_authority: BTreeMap<String, u64>,
    /// The requests that went out, by their idempotency keys.
    pub(crate) sent: HashSet<Vec<u8>>,
}

fn http(network: &Network) -> Http {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .build(network.clone())
}

pub(crate) fn plain(network: &Network) -> Plain {
    let http = http(network).map_request(|request: ::http::Request<Bytes>| request.map(Full::new));
    BoxCloneSyncService::new(http)
}

/// The innermost service of a client of the API.
pub(crate) fn wire(network: &Network) -> (Wire, Arc<Mutex<Counters>>) {
    let counters = Arc::default();
    (Wire { http: http(network), counters: Arc::clone(&counters) }, counters)
}

#[derive(Clone)]
pub(crate) struct Wire {
    http: Http,
    counters: Arc<Mutex<Counters>>,
}

impl Service<Request> for Wire {
    type Response = Response;
    type Error = legacy::Error;
    type Future = legacy::ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), legacy::Error>> {
        self.http.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.counters.lock().unwrap().count(&request);
        self.http.call(request)
    }
}

impl Counters {
    fn count(&mut self, request: &Request) {
        self.attempts += 1;
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        *self.by_authority.entry(authority).or_default() += 1;
        if let Some(key) = request.headers().get(IDEMPOTENCY_KEY) {
            self.sent.insert(key.as_bytes().to_vec());
        }
    }
}
