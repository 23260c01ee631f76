//! What the layers read of requests and responses, without naming a client.

use http::{HeaderMap, Method, StatusCode, Uri};

/// A request with a method, a target and headers.
///
/// Implemented for `http::Request<B>` and, with the feature `reqwest`, for
/// `reqwest::Request`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't an HTTP request that tower-upstream can read",
    label = "has no head that this layer can read",
    note = "`http::Request<B>` and, with the feature `reqwest`, the `Request` of reqwest 0.13 are understood; implement `HttpRequest` for your own type",
    note = "for requests that aren't HTTP use the setters that take a closure over your request"
)]
pub trait HttpRequest {
    /// The request's head.
    fn head(&self) -> RequestHead<'_>;
}

/// A response with a status and headers.
///
/// Implemented for `http::Response<B>` and, with the feature `reqwest`, for
/// `reqwest::Response`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't an HTTP response that tower-upstream can read",
    label = "has no status and headers that this layer can read",
    note = "`http::Response<B>` and, with the feature `reqwest`, the `Response` of reqwest 0.13 are understood; implement `HttpResponse` for your own type",
    note = "for responses that aren't HTTP give the layer `.classifier(ErrorClassifier::new())`"
)]
pub trait HttpResponse {
    /// The status.
    fn status(&self) -> StatusCode;

    /// The headers.
    fn headers(&self) -> &HeaderMap;
}

/// The head of a request, whatever its type.
///
/// Shows what a layer may decide by; its `Debug` shows nothing of it, since
/// headers and targets can hold secrets.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    method: &'a Method,
    host: Option<&'a str>,
    port: Option<u16>,
    path: &'a str,
    headers: &'a HeaderMap,
}

impl<'a> RequestHead<'a> {
    /// A head of this method and these headers, whose target isn't known.
    #[must_use]
    pub const fn new(method: &'a Method, headers: &'a HeaderMap) -> Self {
        Self { method, host: None, port: None, path: "", headers }
    }

    /// The same with this target: a host and port, without user name and
    /// password, and a path without a query, which may hold secrets.
    #[must_use]
    pub const fn target(mut self, host: Option<&'a str>, port: Option<u16>, path: &'a str) -> Self {
        (self.host, self.port, self.path) = (host, port, path);
        self
    }

    /// A head of these parts, host and port being the target's or, without
    /// one there, those of the `Host` header.
    #[must_use]
    pub fn from_parts(method: &'a Method, uri: &'a Uri, headers: &'a HeaderMap) -> Self {
        let head = Self::new(method, headers);
        if let Some(authority) = uri.authority() {
            return head.target(Some(authority.host()), authority.port_u16(), uri.path());
        }
        let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        let (host, port) = match host.and_then(|host| host.rsplit_once(':')) {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (Some(name), port.parse().ok())
            }
            _ => (host, None),
        };
        head.target(host, port, uri.path())
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// The host of the target, without user name and password.
    #[must_use]
    pub const fn host(&self) -> Option<&'a str> {
        self.host
    }

    /// The port of the target, where it names one.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The path of the target, without the query.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// The headers.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// A header's value, if it is there and text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl std::fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestHead").field("method", self.method).finish_non_exhaustive()
    }
}

impl<B> HttpRequest for http::Request<B> {
    fn head(&self) -> RequestHead<'_> {
        RequestHead::from_parts(self.method(), self.uri(), self.headers())
    }
}

impl<B> HttpResponse for http::Response<B> {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}

#[cfg(feature = "reqwest")]
impl HttpRequest for reqwest::Request {
    fn head(&self) -> RequestHead<'_> {
        let url = self.url();
        RequestHead::new(self.method(), self.headers()).target(
            url.host_str(),
            url.port(),
            url.path(),
        )
    }
}

#[cfg(feature = "reqwest")]
impl HttpResponse for reqwest::Response {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}
