use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::config::Config;
use super::future::ResponseFuture;
use super::progress::{Progress, ends};
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::replay::{HttpReplay, Replay};
use crate::scope::CallScope;
use crate::spare::Spare;

/// A service that retries. Made by [`RetryLayer`](super::RetryLayer).
#[derive(Debug)]
pub struct Retry<S, C = HttpClassifier, R = HttpReplay> {
    inner: S,
    /// Why the inner service didn't get ready: the first attempt of the call
    /// that comes next has failed with it.
    unready: Option<BoxError>,
    shared: Arc<Shared<S, C, R>>,
}

/// What is behind one call of `layer()`.
#[derive(Debug)]
pub(super) struct Shared<S, C, R> {
    pub(super) spare: Spare<S>,
    pub(super) config: Config<C, R>,
}

impl<S: Clone, C, R> Retry<S, C, R> {
    pub(super) fn new(inner: S, config: Config<C, R>) -> Self {
        let shared = Arc::new(Shared { spare: Spare::new(&inner), config });
        Self { inner, unready: None, shared }
    }
}

/// A clone isn't ready: readiness stays with the handle that was readied.
impl<S: Clone, C, R> Clone for Retry<S, C, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), unready: None, shared: Arc::clone(&self.shared) }
    }
}

impl<S, Req, C, R> Service<Req> for Retry<S, C, R>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    R: Replay<Req>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, Req, C, R>;

    /// Ready when the inner service is. That it failed to get ready is a failed
    /// attempt of the call that comes next, which may retry it.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.unready.is_none()
            && let Err(error) = ready!(self.inner.poll_ready(cx))
        {
            self.unready = Some(error.into());
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let shared = &self.shared;
        let config = &shared.config;
        let unready = mem::take(&mut self.unready);
        if unready.is_some() {
            self.inner = shared.spare.fresh();
        }
        let outer = CallScope::offered();
        if outer.is_some_and(|outer| outer.has_retry()) {
            // One loop a call: a retry above counts the attempts.
            let attempt = unready.map_or_else(|| Ok(self.inner.call(request)), Err);
            return ResponseFuture::new(attempt, None, None, Arc::clone(shared));
        }
        if let Some(budget) = &config.budget {
            budget.deposit();
        }
        let asked = config.replay.overrides(&request);
        let deadline = asked.deadline.or(config.deadline);
        let max_attempts = asked.max_attempts.unwrap_or(config.policy.max_attempts);
        let mut scope = CallScope::begin(outer, ends(deadline)).with_retry();
        config.count(&mut request, 0);
        let retries = max_attempts > 1;
        let idempotent =
            (retries && config.key(&mut request)) || config.replay.is_idempotent(&request);
        // No copy where no retry can follow.
        let (request, kept) = if retries { config.replay.keep(request) } else { (request, None) };
        let attempt_ends = ends(config.attempt_timeout);
        let attempt = unready.map_or_else(|| Ok(scope.call(|| self.inner.call(request))), Err);
        let progress = Progress::new(scope, max_attempts, idempotent, attempt_ends);
        ResponseFuture::new(attempt, kept, Some(progress), Arc::clone(shared))
    }
}
