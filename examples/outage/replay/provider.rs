//! The provider: three regions, one ledger.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use fastrand::Rng;
use serde_json::json;

use super::clock::Clock;
use super::ledger::{Admission, Invoice, Ledger, whole_seconds};
use super::network::{Network, Place};
use super::server::serve;
use super::timeline::{self, Condition, REGIONS};

/// The path below which the API lives.
const BASE: &str = "/v1";

/// The header that tells an accepted call's number.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// The slowest reply of a region that is well.
pub(crate) const SLOWEST: Duration = Duration::from_secs(1);

const MEDIAN: Duration = Duration::from_millis(35);

/// Of the logarithm of the latency: a hundredth of the calls take over 225 ms.
const RANGE: f64 = 0.8;

pub(crate) struct Provider {
    clock: Clock,
    /// The one customer's key.
    key: String,
    ledger: Mutex<Ledger>,
    random: Mutex<Rng>,
}

/// A region's own view.
#[derive(Clone)]
struct Region {
    provider: Arc<Provider>,
    number: usize,
}

impl Provider {
    /// Opens the regions. Replies with their base URLs.
    pub(crate) fn open(
        network: &Network,
        clock: Clock,
        key: &str,
        seed: u64,
    ) -> std::io::Result<(Arc<Self>, Vec<String>)> {
        let provider = Arc::new(Self {
            clock,
            key: key.to_owned(),
            ledger: Mutex::default(),
            random: Mutex::new(Rng::with_seed(seed)),
        });
        let mut bases = Vec::new();
        for (number, name) in REGIONS.into_iter().enumerate() {
            let place = network.place(&format!("{name}.{key}.test"))?;
            bases.push(base_url(&place.authority()));
            let region = Region { provider: Arc::clone(&provider), number };
            tokio::spawn(async move {
                if let Err(error) = region.keep(place).await {
                    eprintln!("{name} can't be served: {error}");
                }
            });
        }
        Ok((provider, bases))
    }

    pub(crate) fn invoice(&self) -> Invoice {
        self.ledger.lock().unwrap().invoice
    }

    /// How long a reply takes: log-normal, as latencies are.
    fn latency(&self) -> Duration {
        let (u, v) = {
            let mut random = self.random.lock().unwrap();
            (1.0 - random.f64(), random.f64())
        };
        // Box and Muller's normal variate.
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        MEDIAN.mul_f64((RANGE * normal).exp()).min(SLOWEST)
    }
}

impl Region {
    /// Listens while the timeline says so.
    async fn keep(self, mut place: Place) -> std::io::Result<()> {
        let clock = self.provider.clock;
        let app = Router::new()
            .route(&format!("{BASE}/chat/completions"), post(complete))
            .route(&format!("{BASE}/health"), get(health))
            .layer(from_fn_with_state(self.clone(), gateway))
            .with_state(self.clone());
        loop {
            clock.wait_until(timeline::next(clock.elapsed(), self.number, false)).await;
            let listener = place.listen()?;
            let goes_down = timeline::next(clock.elapsed(), self.number, true);
            tokio::select! {
                biased;
                () = clock.wait_until(goes_down) => {}
                served = serve(listener, app.clone()) => served?,
            }
            place.close()?;
        }
    }

    fn condition(&self) -> Condition {
        timeline::at(self.provider.clock.elapsed()).regions[self.number]
    }

    /// What a region replies that has accepted a call: after a while, or never.
    async fn reply(&self, well: impl IntoResponse) -> Response {
        if self.condition() == Condition::Hangs {
            return std::future::pending().await;
        }
        tokio::time::sleep(self.provider.latency()).await;
        well.into_response()
    }
}

/// Stands before a region: while that fails, nothing gets through.
async fn gateway(State(region): State<Region>, request: Request, next: Next) -> Response {
    match region.condition() {
        Condition::Fails => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => next.run(request).await,
    }
}

/// Where a region's API lives.
pub(crate) fn base_url(authority: &str) -> String {
    format!("http://{authority}{BASE}")
}

async fn health(State(region): State<Region>) -> Response {
    region.reply(StatusCode::OK).await
}

async fn complete(State(region): State<Region>, headers: HeaderMap) -> Response {
    let provider = &region.provider;
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if bearer.and_then(|bearer| bearer.strip_prefix("Bearer ")) != Some(&provider.key) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let now = provider.clock.elapsed();
    let limit = timeline::at(now).limit;
    let (admission, left) = {
        let mut ledger = provider.ledger.lock().unwrap();
        (ledger.admit(now, limit), ledger.left(now, limit))
    };
    let limits = [
        ("x-ratelimit-limit", limit.to_string()),
        ("x-ratelimit-remaining", left.calls.to_string()),
        ("x-ratelimit-reset", whole_seconds(left.reset).to_string()),
    ];
    match admission {
        Admission::Accepted { number } => {
            let said = json!({
                "id": number,
                "object": "chat.completion",
                "choices": [{
                    "index": 0,
                    "message": { "role": "assistant", "content": "Good morning." },
                    "finish_reason": "stop",
                }],
                "usage": { "total_tokens": 1000 },
            });
            let id = [(REQUEST_ID, number.to_string())];
            region.reply((StatusCode::OK, limits, id, Json(said))).await
        }
        Admission::Limited { retry_after } => {
            let wait = [("retry-after", whole_seconds(retry_after).to_string())];
            let said = json!({ "error": { "type": "rate_limit_exceeded" } });
            (StatusCode::TOO_MANY_REQUESTS, limits, wait, Json(said)).into_response()
        }
        Admission::Suspended => {
            let said = json!({ "error": { "type": "key_suspended" } });
            (StatusCode::UNAUTHORIZED, Json(said)).into_response()
        }
    }
}
