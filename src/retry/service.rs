use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::config::Config;
use super::future::ResponseFuture;
use super::progress::{Progress, ends};
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::replay::{HttpReplay, Replay};
use crate::scope::CallScope;
use crate::spare::{CallWhenReady, Spare};

/// A service that retries. Made by [`RetryLayer`](super::RetryLayer).
#[derive(Debug)]
pub struct Retry<S, C = HttpClassifier, R = HttpReplay> {
    inner: S,
    readiness: Readiness,
    shared: Arc<Shared<S, C, R>>,
}

/// How the inner service is, for the call that comes next.
#[derive(Debug, Default)]
enum Readiness {
    #[default]
    Ready,
    /// It isn't ready yet, and the call waits for it, as long as its deadline allows.
    Later,
    /// It failed to get ready: the first attempt has failed with it.
    Failed(BoxError),
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
        Self { inner, readiness: Readiness::Ready, shared }
    }
}

/// A clone isn't ready: readiness stays with the handle that was readied.
impl<S: Clone, C, R> Clone for Retry<S, C, R> {
    fn clone(&self) -> Self {
        let (inner, shared) = (self.inner.clone(), Arc::clone(&self.shared));
        Self { inner, readiness: Readiness::Ready, shared }
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
    ///
    /// With a [deadline](super::RetryLayer::deadline) it is ready at once: waiting for the inner service is
    /// then part of the call, and bounded as the rest of it is.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if matches!(self.readiness, Readiness::Failed(_)) {
            return Poll::Ready(Ok(()));
        }
        self.readiness = match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => Readiness::Ready,
            Poll::Ready(Err(error)) => Readiness::Failed(error.into()),
            Poll::Pending if self.shared.config.deadline.is_some() => {
                // Its place in a queue, if it has one, goes with it.
                self.inner = self.shared.spare.fresh();
                Readiness::Later
            }
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let shared = &self.shared;
        let config = &shared.config;
        let readiness = mem::take(&mut self.readiness);
        if matches!(readiness, Readiness::Failed(_)) {
            self.inner = shared.spare.fresh();
        }
        let inner = &mut self.inner;
        let ready = matches!(readiness, Readiness::Ready);
        let attempt = |scope: Option<&mut CallScope>, request| match (readiness, scope) {
            (Readiness::Ready, Some(scope)) => {
                Ok(CallWhenReady::calling(scope.call(|| inner.call(request))))
            }
            (Readiness::Ready, None) => Ok(CallWhenReady::calling(inner.call(request))),
            (Readiness::Later, _) => Ok(CallWhenReady::new(shared.spare.fresh(), request)),
            (Readiness::Failed(error), _) => Err(error),
        };
        let outer = CallScope::offered();
        if outer.is_some_and(|outer| outer.has_retry()) {
            // One loop a call: a retry above counts the attempts.
            return ResponseFuture::new(attempt(None, request), None, None, Arc::clone(shared));
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
        let attempt_ends = if ready { ends(config.attempt_timeout) } else { None };
        let attempt = attempt(Some(&mut scope), request);
        let progress = Progress::new(scope, max_attempts, idempotent, attempt_ends);
        ResponseFuture::new(attempt, kept, Some(progress), Arc::clone(shared))
    }
}
