//! The requests that calls are measured with.

use std::sync::LazyLock;

use bytes::Bytes;
use http::Request;

/// A body, and the request that it comes in.
pub trait Content: Send + Sized + 'static {
    /// What the names of its rows end in.
    const SUFFIX: &str;

    /// The request of one call.
    fn request() -> Request<Self>;
}

/// A request without URI, headers or body: what is left is the layers' own cost.
impl Content for () {
    const SUFFIX: &str = "";

    #[inline]
    fn request() -> Request<()> {
        Request::new(())
    }
}

/// A request as a client of an API sends it: a full URI and 4 headers, which the client
/// keeps and copies, and a body that it has just written.
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
