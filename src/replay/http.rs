use std::fmt;

use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri, Version};

use super::{Override, RepeatableBody, Replay, ReplayBody};
use crate::error::BoxError;

/// How many bytes of a streamed body are recorded at most, by default.
const LIMIT: usize = 64 * 1024;

/// Repeats HTTP requests whose bodies are [`RepeatableBody`]. The default.
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

/// What is saved of an HTTP request: its head, and what its body keeps of itself.
pub struct SavedRequest<B> {
    head: Head,
    body: B,
}

impl<B> fmt::Debug for SavedRequest<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SavedRequest(..)")
    }
}

/// Whether a request is idempotent by its method (RFC 9110 §9.2.2), or by a key that lets the server
/// recognise a repetition.
pub(super) fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || has_key(headers)
}

/// SavedRequest out of line: for most requests the method decides.
fn has_key(headers: &HeaderMap) -> bool {
    static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
    // Names are compared instead of looked up. Most are standard names, which differ at the first
    // comparison, and that takes less time than hashing this one.
    headers.keys().any(|name| name == IDEMPOTENCY_KEY)
}

impl<B: RepeatableBody> Replay<Request<B>> for HttpReplay {
    type SavedRequest = SavedRequest<B::SavedRequest>;

    fn keep(&self, request: &mut Request<B>) -> Option<Self::SavedRequest> {
        let body = request.body_mut().keep(self.limit)?;
        Some(SavedRequest { head: Head::of(request), body })
    }

    fn again(
        &self,
        saved: Self::SavedRequest,
        last: bool,
    ) -> Option<(Request<B>, Option<Self::SavedRequest>)> {
        let (body, rest) = B::again(saved.body, last)?;
        Some(again(saved.head, body, rest))
    }

    fn is_idempotent(&self, request: &Request<B>) -> bool {
        is_idempotent(request.method(), request.headers())
    }

    fn overrides(&self, request: &Request<B>) -> Override {
        Override::of(request.extensions())
    }

    fn headers_mut<'a>(&self, request: &'a mut Request<B>) -> Option<&'a mut HeaderMap> {
        Some(request.headers_mut())
    }
}

fn again<B, K>(head: Head, body: B, rest: Option<K>) -> (Request<B>, Option<SavedRequest<K>>) {
    let saved = rest.map(|body| SavedRequest { head: head.clone(), body });
    (head.with_body(body), saved)
}

/// Repeats HTTP requests with any body, by recording the body while it is sent.
///
/// Made by [`RetryLayer::replay_body`](crate::RetryLayer::replay_body).
#[derive(Clone, Copy)]
pub struct BodyReplay<F> {
    limit: usize,
    wrap: F,
}

impl<F> BodyReplay<F> {
    /// Records up to 64 KiB of a body. `wrap` makes a recording body into one of the request's own
    /// type.
    pub const fn new(wrap: F) -> Self {
        Self { limit: LIMIT, wrap }
    }

    /// Records up to `bytes` of a body. A longer one is sent once.
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

impl<F, B> Replay<Request<B>> for BodyReplay<F>
where
    F: Fn(ReplayBody<B>) -> B,
    B: http_body::Body + Unpin,
    B::Error: Into<BoxError>,
{
    type SavedRequest = SavedRequest<ReplayBody<B>>;

    fn keep(&self, request: &mut Request<B>) -> Option<Self::SavedRequest> {
        let body = ReplayBody::record(request.body_mut(), self.limit, &self.wrap)?;
        Some(SavedRequest { head: Head::of(request), body })
    }

    fn again(
        &self,
        saved: Self::SavedRequest,
        last: bool,
    ) -> Option<(Request<B>, Option<Self::SavedRequest>)> {
        let body = saved.body.rewind()?;
        Some(again(saved.head, (self.wrap)(body), (!last).then_some(saved.body)))
    }

    fn is_idempotent(&self, request: &Request<B>) -> bool {
        is_idempotent(request.method(), request.headers())
    }

    fn overrides(&self, request: &Request<B>) -> Override {
        Override::of(request.extensions())
    }

    fn headers_mut<'a>(&self, request: &'a mut Request<B>) -> Option<&'a mut HeaderMap> {
        Some(request.headers_mut())
    }
}

/// The head of a request. http's own `Parts` aren't used: a request must be taken apart to get them and
/// put together again, and each of the two moves all of it.
#[derive(Clone)]
pub(super) struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    extensions: Extensions,
}

impl Head {
    /// Never inlined, so that it writes the head directly to where it is saved.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            extensions: request.extensions().clone(),
        }
    }

    pub(super) fn with_body<B>(self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        *request.extensions_mut() = self.extensions;
        request
    }
}
