use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::future::ResponseFuture;
use super::response::PeekResponse;
use super::rules::Rules;
use crate::error::BoxError;

/// A service whose failing responses are read. Made by [`PeekLayer`](super::PeekLayer).
#[derive(Clone, Debug)]
pub struct Peek<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> Peek<S> {
    pub(super) fn new(inner: S, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
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
        ResponseFuture::new(self.inner.call(request), Arc::clone(&self.rules))
    }
}
