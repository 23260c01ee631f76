//! Which responses are read, and how far.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use super::json;
use crate::classify::{Outcome, grpc};
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
    /// Whether a response with this head is read.
    pub(super) fn reads(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let content_type = text(headers, CONTENT_TYPE.as_str());
        if status == StatusCode::OK && begins(content_type, "application/grpc") {
            return self.grpc && !headers.contains_key("grpc-status");
        }
        let encoding = text(headers, CONTENT_ENCODING.as_str());
        let plain = encoding.is_empty() || encoding.eq_ignore_ascii_case("identity");
        let looked_into = status.as_u16() >= 400 || (self.successes && is_json(content_type));
        // A stream of events may never end.
        plain && looked_into && !begins(content_type, "text/event-stream")
    }

    /// Returns what was read means, if that differs from what the head means.
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

/// Returns a header's value, or an empty text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether this is `application/json`, or one of the many types that end in `+json`.
fn is_json(content_type: &str) -> bool {
    const SUFFIX: &str = "+json";
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let end = essence.len().checked_sub(SUFFIX.len()).and_then(|end| essence.get(end..));
    essence.eq_ignore_ascii_case("application/json")
        || end.is_some_and(|end| end.eq_ignore_ascii_case(SUFFIX))
}

/// Whether a content type begins with this, in upper or lower case (RFC 9110 §8.3.1).
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

/// A response's head, and what was read of its body.
#[derive(Clone, Copy)]
pub struct BodyPrefix<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

impl<'a> BodyPrefix<'a> {
    pub(super) const fn new(status: StatusCode, headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        Self { status, headers, body }
    }

    /// Returns the status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns the body, or its beginning if it is longer than what is read.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Returns what the head alone means.
    pub fn verdict(&self) -> Verdict {
        Outcome::head(self.status, self.headers).verdict()
    }
}

impl fmt::Debug for BodyPrefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without headers and body, which can hold secrets.
        f.debug_struct("BodyPrefix").field("status", &self.status).finish_non_exhaustive()
    }
}
