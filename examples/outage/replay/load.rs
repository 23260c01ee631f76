//! What is asked for that morning.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, Request};
use http_body_util::Full;
use serde_json::json;

use super::timeline;

/// How many requests come a minute, of which so many come at once.
const A_MINUTE: usize = 48;
const BURST: usize = 20;

const MINUTE: Duration = Duration::from_secs(60);

/// The header by which a request that is sent twice is known for the same.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// When requests come, in order: each minute a burst, and the others at random.
pub(crate) fn arrivals(seed: u64) -> Vec<Duration> {
    let mut random = Rng::with_seed(seed);
    let mut all = Vec::new();
    let mut minute = Duration::ZERO;
    while minute < timeline::length() {
        let mut instant = || minute + MINUTE.mul_f64(random.f64());
        all.extend([instant(); BURST]);
        all.extend(std::iter::repeat_with(instant).take(A_MINUTE - BURST));
        minute += MINUTE;
    }
    all.sort();
    all
}

/// The request of this number.
pub(crate) fn request(base: &str, key: &str, number: usize) -> http::Result<Request<Full<Bytes>>> {
    let prompt = json!({
        "model": "gpt-4.1",
        "messages": [{ "role": "user", "content": format!("Prompt {number}") }],
    });
    Request::post(format!("{base}/chat/completions"))
        .header(AUTHORIZATION, format!("Bearer {key}"))
        .header(CONTENT_TYPE, "application/json")
        .header(IDEMPOTENCY_KEY, format!("morning-{number}"))
        .body(Full::from(prompt.to_string()))
}
