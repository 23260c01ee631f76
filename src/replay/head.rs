use http::{Extensions, HeaderMap, Method, Request, Uri, Version};

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
    #[inline(never)]
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
