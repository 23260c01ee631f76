//! What the layers read of requests and responses, without naming a client.

use http::{Extensions, HeaderMap, Method, StatusCode, Uri};

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

    /// The extensions, in which layers below say what isn't in the head
    /// ([`ResponseVerdict`](crate::classify::ResponseVerdict)). Default: none.
    fn extensions(&self) -> Option<&Extensions> {
        None
    }

    /// The extensions, for writing. Default: none.
    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        None
    }
}

/// The head of a request, whatever its type.
///
/// It holds what a layer may decide by. Its `Debug` shows only the method, since headers and targets
/// can hold secrets.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    method: &'a Method,
    /// As the target writes it, with user name and password if there are any.
    authority: Option<&'a str>,
    path: &'a str,
    headers: &'a HeaderMap,
}

impl<'a> RequestHead<'a> {
    /// A head of this method and these headers, whose target isn't known.
    #[inline]
    #[must_use]
    pub const fn new(method: &'a Method, headers: &'a HeaderMap) -> Self {
        Self { method, authority: None, path: "", headers }
    }

    /// The same head with this target: an authority (`api.example.com:8443`), and a path. Leave out the
    /// query, as it may hold secrets.
    #[inline]
    #[must_use]
    pub const fn target(mut self, authority: Option<&'a str>, path: &'a str) -> Self {
        (self.authority, self.path) = (authority, path);
        self
    }

    /// A head of these parts. The authority is the target's or, if it has none, the `Host` header's.
    #[inline]
    #[must_use]
    pub fn from_parts(method: &'a Method, uri: &'a Uri, headers: &'a HeaderMap) -> Self {
        let authority = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => headers.get(http::header::HOST).and_then(|host| host.to_str().ok()),
        };
        Self::new(method, headers).target(authority, uri.path())
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// The host of the target, and the port where it names one; without user name and password.
    #[must_use]
    pub fn authority(&self) -> Option<&'a str> {
        let authority = self.authority?;
        Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
    }

    /// The host of the target, without user name and password.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        self.authority().map(|authority| host_and_port(authority).0)
    }

    /// The port of the target, where it names one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        host_and_port(self.authority()?).1
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

    /// A header's value, if it is there and text; the first of several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// `[::1]:80` is a host with a port, `[::1]` one without.
fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, port.parse().ok())
        }
        _ => (authority, None),
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

    fn extensions(&self) -> Option<&Extensions> {
        Some(self.extensions())
    }

    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        Some(self.extensions_mut())
    }
}

#[cfg(feature = "reqwest")]
impl HttpRequest for reqwest::Request {
    fn head(&self) -> RequestHead<'_> {
        let url = self.url();
        let authority = Some(url.authority()).filter(|authority| !authority.is_empty());
        RequestHead::new(self.method(), self.headers()).target(authority, url.path())
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

    fn extensions(&self) -> Option<&Extensions> {
        Some(self.extensions())
    }

    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        Some(self.extensions_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_in_each_of_its_forms() {
        let table = [
            ("api.example.com", "api.example.com", "api.example.com", None),
            ("api.example.com:8443", "api.example.com:8443", "api.example.com", Some(8443)),
            ("user:secret@api.example.com:1", "api.example.com:1", "api.example.com", Some(1)),
            ("[::1]", "[::1]", "[::1]", None),
            ("[::1]:80", "[::1]:80", "[::1]", Some(80)),
            ("api.example.com:", "api.example.com:", "api.example.com", None),
            ("api.example.com:99999", "api.example.com:99999", "api.example.com", None),
        ];
        let headers = HeaderMap::new();
        for (given, authority, host, port) in table {
            let head = RequestHead::new(&Method::GET, &headers).target(Some(given), "/");
            assert_eq!(head.authority(), Some(authority));
            assert_eq!((head.host(), head.port()), (Some(host), port), "{given}");
        }
        let unknown = RequestHead::new(&Method::GET, &headers);
        assert_eq!((unknown.authority(), unknown.host(), unknown.port()), (None, None, None));
    }

    #[test]
    fn a_target_without_an_authority_has_that_of_the_host_header() {
        let request = http::Request::get("/models").header("host", "api.example.com:81").body(());
        let request = request.unwrap();
        assert_eq!(request.head().authority(), Some("api.example.com:81"));
        let request = http::Request::get("http://b.test/").header("host", "a.test").body(());
        assert_eq!(request.unwrap().head().host(), Some("b.test"));
    }

    #[cfg(feature = "reqwest")]
    #[test]
    fn a_target_of_reqwests() {
        let url = "http://user:secret@api.example.com:81/v1?key=secret".parse().unwrap();
        let request = reqwest::Request::new(Method::GET, url);
        assert_eq!(request.head().authority(), Some("api.example.com:81"));
        assert_eq!(request.head().path(), "/v1");
    }
}
