//! The settings: which responses are read, and how far.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use super::body::BodyPrefix;
use super::json;
use crate::classify::grpc;
use crate::verdict::Verdict;

type ClassifyBody = Arc<dyn Fn(&BodyPrefix<'_>) -> Option<Verdict> + Send + Sync>;

/// The settings of a peek layer.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) limit: usize,
    pub(super) timeout: Duration,
    pub(super) successes: bool,
    pub(super) grpc: bool,
    pub(super) classify_body: Option<ClassifyBody>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limit: 64 * 1024,
            timeout: Duration::from_secs(1),
            successes: false,
            grpc: false,
            classify_body: None,
        }
    }
}

impl Config {
    /// Returns whether a response with this head is read.
    pub(super) fn reads(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let content_type = text(headers, CONTENT_TYPE.as_str());
        if status == StatusCode::OK && begins(content_type, "application/grpc") {
            return self.grpc && !headers.contains_key("grpc-status");
        }
        let encoding = text(headers, CONTENT_ENCODING.as_str());
        let uncompressed = encoding.is_empty() || encoding.eq_ignore_ascii_case("identity");
        let may_have_error = status.as_u16() >= 400 || (self.successes && is_json(content_type));
        // A stream of events may never end.
        uncompressed && may_have_error && !begins(content_type, "text/event-stream")
    }

    /// Returns the verdict on the body, if it differs from the verdict on the head.
    pub(super) fn classify_body(
        &self,
        body_prefix: &BodyPrefix<'_>,
        trailers: Option<&HeaderMap>,
    ) -> Option<Verdict> {
        let trailers_verdict = trailers.filter(|_| self.grpc).and_then(grpc::trailers_verdict);
        trailers_verdict
            .or_else(|| {
                self.classify_body.as_ref().and_then(|classify_body| classify_body(body_prefix))
            })
            .or_else(|| json::verdict(body_prefix))
    }
}

/// Returns a header's value, or an empty string.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Returns whether this is `application/json` or a type that ends in `+json`.
fn is_json(content_type: &str) -> bool {
    const SUFFIX: &str = "+json";
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let end = essence.len().checked_sub(SUFFIX.len()).and_then(|end| essence.get(end..));
    essence.eq_ignore_ascii_case("application/json")
        || end.is_some_and(|end| end.eq_ignore_ascii_case(SUFFIX))
}

/// Returns whether a content type begins with this, ignoring case (RFC 9110 §8.3.1).
fn begins(content_type: &str, with: &str) -> bool {
    content_type.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("limit", &self.limit)
            .field("timeout", &self.timeout)
            .field("successes", &self.successes)
            .field("grpc", &self.grpc)
            .finish_non_exhaustive()
    }
}
