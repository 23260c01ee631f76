use std::fmt;

use http::{HeaderMap, HeaderName, Method};

use super::head::Head;
use super::{Override, RepeatableBody, Replay, ReplayBody};
use crate::error::BoxError;

/// Up to how many bytes of a streamed body are recorded, unless told otherwise.
const LIMIT: usize = 64 * 1024;

/// Repeats HTTP requests whose bodies it knows: the default.
#[derive(Clone, Copy, Debug)]
pub struct HttpReplay {
    pub(super) limit: usize,
}

impl HttpReplay {
    /// Records up to 64 KiB of a streamed body.
    #[must_use]
    pub const fn new() -> Self {
        Self { limit: LIMIT }
    }

    /// Records up to `bytes` of a streamed body. A longer one is sent once.
    #[must_use]
    pub const fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }
}

impl Default for HttpReplay {
    fn default() -> Self {
        Self::new()
    }
}

/// What is kept of an HTTP request: its head, and its body in its own way.
pub struct Kept<B> {
    head: Head,
    body: B,
}

impl<B> fmt::Debug for Kept<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept(..)")
    }
}

/// Idempotent by its method (RFC 9110 §9.2.2), or by a key that lets the server
/// tell a repetition.
#[inline]
pub(super) fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || has_key(headers)
}

/// Apart, as the method of most requests tells.
#[inline(never)]
fn has_key(headers: &HeaderMap) -> bool {
    static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
    // Compared, not looked up: most names are standard ones, told apart at a glance, and to hash
    // the name takes longer than that.
    headers.keys().any(|name| name == IDEMPOTENCY_KEY)
}

impl<B: RepeatableBody> Replay<http::Request<B>> for HttpReplay {
    type Kept = Kept<B::Kept>;

    #[inline]
    fn keep(&self, request: &mut http::Request<B>) -> Option<Self::Kept> {
        let body = request.body_mut().keep(self.limit)?;
        Some(Kept { head: Head::of(request), body })
    }

    fn again(
        &self,
        kept: Self::Kept,
        last: bool,
    ) -> Option<(http::Request<B>, Option<Self::Kept>)> {
        let (body, rest) = B::again(kept.body, last)?;
        Some(again(kept.head, body, rest))
    }

    fn is_idempotent(&self, request: &http::Request<B>) -> bool {
        is_idempotent(request.method(), request.headers())
    }

    fn overrides(&self, request: &http::Request<B>) -> Override {
        Override::of(request.extensions())
    }

    fn headers_mut<'a>(&self, request: &'a mut http::Request<B>) -> Option<&'a mut HeaderMap> {
        Some(request.headers_mut())
    }
}

fn again<B, K>(head: Head, body: B, rest: Option<K>) -> (http::Request<B>, Option<Kept<K>>) {
    let kept = rest.map(|body| Kept { head: head.clone(), body });
    (head.with_body(body), kept)
}

/// Repeats HTTP requests with any body, which it records while it is sent.
///
/// Made by [`RetryLayer::replay_body`](crate::RetryLayer::replay_body).
#[derive(Clone, Copy)]
pub struct BodyReplay<F> {
    limit: usize,
    wrap: F,
}

impl<F> BodyReplay<F> {
    /// `wrap` makes a body of the request's own type of a recording one. Up to
    /// 64 KiB are recorded.
    pub const fn new(wrap: F) -> Self {
        Self { limit: LIMIT, wrap }
    }

    /// Records up to `bytes`. A longer body is sent once.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }
}

impl<F> fmt::Debug for BodyReplay<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReplay").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<F, B> Replay<http::Request<B>> for BodyReplay<F>
where
    F: Fn(ReplayBody<B>) -> B,
    B: http_body::Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Kept = Kept<ReplayBody<B>>;

    fn keep(&self, request: &mut http::Request<B>) -> Option<Self::Kept> {
        let body = ReplayBody::record(request.body_mut(), self.limit, &self.wrap)?;
        Some(Kept { head: Head::of(request), body })
    }

    fn again(
        &self,
        kept: Self::Kept,
        last: bool,
    ) -> Option<(http::Request<B>, Option<Self::Kept>)> {
        let body = kept.body.rewind()?;
        Some(again(kept.head, (self.wrap)(body), (!last).then_some(kept.body)))
    }

    fn is_idempotent(&self, request: &http::Request<B>) -> bool {
        is_idempotent(request.method(), request.headers())
    }

    fn overrides(&self, request: &http::Request<B>) -> Override {
        Override::of(request.extensions())
    }

    fn headers_mut<'a>(&self, request: &'a mut http::Request<B>) -> Option<&'a mut HeaderMap> {
        Some(request.headers_mut())
    }
}
