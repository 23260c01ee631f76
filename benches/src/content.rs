//! Requests used for the measurements.

use std::sync::LazyLock;

use bytes::Bytes;
use http::Request;

/// A type of body and its request.
pub trait Content: Send + Sized + 'static {
    /// Suffix of the names of its rows.
    const SUFFIX: &str;

    /// Returns the request of one call.
    fn request() -> Request<Self>;
}

/// A request without URI, headers or body: only the cost of the layers is measured.
impl Content for () {
    const SUFFIX: &str = "";

    #[inline]
    fn request() -> Request<()> {
        Request::new(())
    }
}

/// A typical request to an API: an absolute URI and 4 headers, cloned from a template, and a newly
/// allocated body.
impl Content for Bytes {
    const SUFFIX: &str = "_realistic";

    #[inline]
    fn request() -> Request<Bytes> {
        static KEPT: LazyLock<Request<()>> = LazyLock::new(kept);
        const BODY: &[u8] = br#"{"model":"gpt-4.1","messages":[{"role":"user","content":"hi"}]}"#;
        KEPT.clone().map(|()| Bytes::copy_from_slice(BODY))
    }
}

fn kept() -> Request<()> {
    Request::post("https://us-west-2.example.com/v1/chat/completions?api-version=1")
        .header("authorization", "Bearer sk-0123456789abcdef0123456789abcdef")
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .header("user-agent", "benches/0.0.0")
        .body(())
        .expect("a valid request")
}
