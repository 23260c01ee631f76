use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::response::Parts;
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::{BodyPrefix, PeekBody};
use super::config::Config;
use crate::classify::ResponseVerdict;
use crate::error::BoxError;
use crate::head::HttpResponse;
use crate::time::{self, Sleep};

/// A service that reads the beginning of failed responses. Made by [`PeekLayer`](super::PeekLayer).
#[derive(Clone, Debug)]
pub struct Peek<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> Peek<S> {
    pub(super) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }

    /// Returns the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service, mutably.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, Req> Service<Req> for Peek<S>
where
    S: Service<Req>,
    S::Response: PeekResponse,
    S::Error: Into<BoxError>,
{
    type Response = <S::Response as PeekResponse>::Peeked;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, S::Response>;

    /// Ready when the inner service is.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ResponseFuture::new(self.inner.call(request), Arc::clone(&self.config))
    }
}

pin_project! {
    /// The future of a [`Peek`](super::Peek).
    pub struct ResponseFuture<F, Res: PeekResponse> {
        #[pin]
        state: State<F, Res>,
        config: Arc<Config>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<F, Res: PeekResponse> {
        // The inner service was called. A response that must be read → `Reading`.
        Calling { #[pin] future: F },
        // The body is read until it ends, or the limit or the timeout is reached.
        Reading {
            #[pin] timer: Option<Sleep>,
            response: Option<(Parts, PeekBody<Res::Body>)>,
        },
    }
}

impl<F, Res: PeekResponse> ResponseFuture<F, Res> {
    pub(super) fn new(future: F, config: Arc<Config>) -> Self {
        Self { state: State::Calling { future }, config }
    }
}

impl<F, Res, E> Future for ResponseFuture<F, Res>
where
    F: Future<Output = Result<Res, E>>,
    Res: PeekResponse,
    E: Into<BoxError>,
{
    type Output = Result<Res::Peeked, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProject::Calling { future } => {
                    let response = ready!(future.poll(cx)).map_err(Into::into)?;
                    if !this.config.reads(response.status(), response.headers()) {
                        return Poll::Ready(Ok(response.unread()));
                    }
                    let (head, body) = response.into_parts();
                    if body.size_hint().lower() > this.config.limit as u64 {
                        return Poll::Ready(Ok(Res::from_parts(head, PeekBody::new(body))));
                    }
                    let response = Some((head, PeekBody::new(body)));
                    this.state.set(State::Reading { timer: None, response });
                }
                StateProject::Reading { timer, response } => {
                    let (_, body) = response.as_mut().expect("future polled after completion");
                    if body.poll_read(cx, this.config.limit).is_pending() {
                        ready!(poll_timeout(timer, this.config, cx));
                    }
                    let response =
                        response.take().map(|(head, body)| judged::<Res>(this.config, head, body));
                    return Poll::Ready(Ok(response.expect("future polled after completion")));
                }
            }
        }
    }
}

/// Polls the timeout of the body, which starts when the body is first pending.
fn poll_timeout(
    mut timer: Pin<&mut Option<Sleep>>,
    config: &Config,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if timer.is_none() {
        timer.set(Some(time::sleep_until(time::after(time::now(), config.timeout))));
    }
    time::poll_timer(timer, cx)
}

/// Returns the response with the complete body, and with the verdict in its extensions.
fn judged<Res: PeekResponse>(
    config: &Config,
    mut head: Parts,
    body: PeekBody<Res::Body>,
) -> Res::Peeked {
    let bytes = body.bytes();
    let body_prefix = BodyPrefix::new(head.status, &head.headers, &bytes);
    if let Some(verdict) = config.classify_body(&body_prefix, body.trailers()) {
        head.extensions.insert(ResponseVerdict::new(verdict));
    }
    Res::from_parts(head, body)
}

impl<F, Res: PeekResponse> fmt::Debug for ResponseFuture<F, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// A response whose body can be read and restored.
///
/// Implemented for `http::Response<B>` and, with the feature `reqwest`, for `reqwest::Response`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't a response whose body can be read",
    note = "`http::Response<B>` where `B: Body + Unpin` and, with the feature `reqwest`, the `Response` of reqwest 0.13 are understood"
)]
pub trait PeekResponse: HttpResponse {
    /// The body of the response.
    type Body: Body + Unpin;

    /// The response that the layer returns.
    type Peeked;

    /// Splits the response.
    fn into_parts(self) -> (Parts, Self::Body);

    /// Joins the parts of a response.
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

        // Keeps the URL, which reqwest stores in an extension that only reqwest can create.
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
