use http::response::Parts;
use http_body::Body;

use super::PeekBody;
use crate::head::HttpResponse;

/// A response whose body can be read and put back.
///
/// Implemented for `http::Response<B>` and, with the feature `reqwest`, for `reqwest::Response`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't a response whose body can be looked into",
    note = "`http::Response<B>` where `B: Body + Unpin` and, with the feature `reqwest`, the `Response` of reqwest 0.13 are understood"
)]
pub trait PeekResponse: HttpResponse {
    /// The body of the response.
    type Body: Body + Unpin;

    /// The response that is passed on.
    type Peeked;

    /// Takes the response apart.
    fn into_parts(self) -> (Parts, Self::Body);

    /// Puts the response together again.
    fn from_parts(head: Parts, body: PeekBody<Self::Body>) -> Self::Peeked;

    /// Returns the response unread.
    fn unread(self) -> Self::Peeked;
}

impl<B: Body + Unpin> PeekResponse for http::Response<B> {
    type Body = B;
    type Peeked = http::Response<PeekBody<B>>;

    fn into_parts(self) -> (Parts, B) {
        self.into_parts()
    }

    fn from_parts(head: Parts, body: PeekBody<B>) -> Self::Peeked {
        http::Response::from_parts(head, body)
    }

    fn unread(self) -> Self::Peeked {
        self.map(PeekBody::new)
    }
}

#[cfg(feature = "reqwest")]
impl PeekResponse for reqwest::Response {
    type Body = reqwest::Body;
    type Peeked = Self;

    fn into_parts(self) -> (Parts, reqwest::Body) {
        use reqwest::ResponseBuilderExt;

        // Its URL would be lost otherwise: reqwest keeps it in an extension that only reqwest can make.
        let url = http::Response::builder().url(self.url().clone()).body(());
        let (mut head, body) = http::Response::from(self).into_parts();
        if let Ok(url) = url {
            head.extensions.extend(url.into_parts().0.extensions);
        }
        (head, body)
    }

    fn from_parts(head: Parts, body: PeekBody<reqwest::Body>) -> Self {
        http::Response::from_parts(head, reqwest::Body::wrap(body)).into()
    }

    fn unread(self) -> Self {
        self
    }
}
