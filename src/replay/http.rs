use std::fmt;

use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri, Version};

use super::body::{RepeatableBody, ReplayBody};
use super::strategy::{Override, Replay};
use crate::error::BoxError;

/// The default limit of a recording, in bytes.
const LIMIT: usize = 64 * 1024;

/// The default strategy: repeats HTTP requests whose bodies are [`RepeatableBody`].
#[derive(Clone, Copy, Debug)]
pub struct HttpReplay {
    pub(super) limit: usize,
}

impl HttpReplay {
    /// Creates a strategy that records up to 64 KiB of a streamed body.
    #[must_use]
    pub const fn new() -> Self {
        Self { limit: LIMIT }
    }

    /// Sets the limit of a recorded body. Default: 64 KiB. A longer body is sent once.
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

/// A saved HTTP request: its head, and the saved form of its body.
pub struct SavedRequest<B> {
    head: Head,
    body: B,
}

impl<B> fmt::Debug for SavedRequest<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SavedRequest(..)")
    }
}

/// Returns whether a request is idempotent by its method (RFC 9110 §9.2.2), or by a key with which the
/// server recognises a repetition.
pub(super) fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || has_key(headers)
}

fn has_key(headers: &HeaderMap) -> bool {
    static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
    // Names are compared instead of looked up: most are standard names, which differ at the first
    // comparison, and hashing this one takes longer.
    headers.keys().any(|name| name == IDEMPOTENCY_KEY)
}

impl<B: RepeatableBody> Replay<Request<B>> for HttpReplay {
    type SavedRequest = SavedRequest<B::SavedBody>;

    fn save(&self, request: &mut Request<B>) -> Option<Self::SavedRequest> {
        let body = request.body_mut().save(self.limit)?;
        Some(SavedRequest { head: Head::of(request), body })
    }

    fn restore(
        &self,
        saved: Self::SavedRequest,
        last: bool,
    ) -> Option<(Request<B>, Option<Self::SavedRequest>)> {
        let (body, rest) = B::restore(saved.body, last)?;
        Some(restored(saved.head, body, rest))
    }

    fn is_idempotent(&self, request: &Request<B>) -> bool {
        is_idempotent(request.method(), request.headers())
    }

    fn overrides(&self, request: &Request<B>) -> Override {
        Override::from_extensions(request.extensions())
    }

    fn headers_mut<'a>(&self, request: &'a mut Request<B>) -> Option<&'a mut HeaderMap> {
        Some(request.headers_mut())
    }
}

fn restored<B, K>(head: Head, body: B, rest: Option<K>) -> (Request<B>, Option<SavedRequest<K>>) {
    let saved = rest.map(|body| SavedRequest { head: head.clone(), body });
    (head.with_body(body), saved)
}

/// Repeats HTTP requests with any body, by recording the body while it is sent.
///
/// Made by [`RetryBuilder::replay_body`](crate::retry::RetryBuilder::replay_body).
#[derive(Clone, Copy)]
pub struct BodyReplay<F> {
    limit: usize,
    wrap: F,
}

impl<F> BodyReplay<F> {
    /// Creates a strategy that records up to 64 KiB of a body. `wrap` converts the recording into the
    /// request's own body type.
    pub const fn new(wrap: F) -> Self {
        Self { limit: LIMIT, wrap }
    }

    /// Sets the limit of a recorded body. Default: 64 KiB. A longer body is sent once.
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

    fn save(&self, request: &mut Request<B>) -> Option<Self::SavedRequest> {
        let body = ReplayBody::record(request.body_mut(), self.limit, &self.wrap)?;
        Some(SavedRequest { head: Head::of(request), body })
    }

    fn restore(
        &self,
        saved: Self::SavedRequest,
        last: bool,
    ) -> Option<(Request<B>, Option<Self::SavedRequest>)> {
        let body = saved.body.rewind()?;
        Some(restored(saved.head, (self.wrap)(body), (!last).then_some(saved.body)))
    }

    fn is_idempotent(&self, request: &Request<B>) -> bool {
        is_idempotent(request.method(), request.headers())
    }

    fn overrides(&self, request: &Request<B>) -> Override {
        Override::from_extensions(request.extensions())
    }

    fn headers_mut<'a>(&self, request: &'a mut Request<B>) -> Option<&'a mut HeaderMap> {
        Some(request.headers_mut())
    }
}

/// The head of a request. http's own `Parts` can't be copied from a borrowed request.
#[derive(Clone)]
struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    extensions: Extensions,
}

impl Head {
    fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            extensions: request.extensions().clone(),
        }
    }

    fn with_body<B>(self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        *request.extensions_mut() = self.extensions;
        request
    }
}
