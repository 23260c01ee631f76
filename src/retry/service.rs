use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::config::{Config, Shared};
use super::future::{ResponseFuture, State};
use super::progress::CallProgress;
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::replay::{HttpReplay, Replay};
use crate::scope::CallScope;
use crate::sharded::ShardedArc;
use crate::unready_clone::UnreadyClone;

/// A service that retries. Made by [`RetryLayer`](super::RetryLayer).
#[derive(Debug)]
pub struct Retry<S, C = HttpClassifier, R = HttpReplay> {
    inner: S,
    readiness: Readiness,
    shared: Arc<ShardedArc<Shared<S, C, R>>>,
}

/// The inner service's readiness for the next call.
#[derive(Debug, Default)]
enum Readiness {
    #[default]
    Ready,
    /// The service is not ready yet. The call waits for it, within its deadline.
    Pending,
    /// `poll_ready` failed, which fails the next call's first attempt.
    Failed(BoxError),
}

impl<S, C, R> Retry<S, C, R> {
    pub(super) fn new(inner: S, config: Config<C, R>) -> Self
    where
        S: Clone,
    {
        let shared = Shared { unready: UnreadyClone::new(&inner), config };
        let shared = Arc::new(ShardedArc::new(shared));
        Self { inner, readiness: Readiness::Ready, shared }
    }

    /// Returns the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service, mutably. Attempts after the first use clones of the service that the
    /// layer was applied to.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
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

    /// Ready when the inner service is. An error of the inner `poll_ready` counts as a failed attempt of
    /// the next call, which may retry it.
    ///
    /// With a [deadline](super::RetryBuilder::deadline) it is ready at once: the call itself waits for
    /// the inner service, within its deadline.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if matches!(self.readiness, Readiness::Failed(_)) {
            return Poll::Ready(Ok(()));
        }
        self.readiness = match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => Readiness::Ready,
            Poll::Ready(Err(error)) => Readiness::Failed(error.into()),
            Poll::Pending if self.shared.config.has_deadline() => {
                // Releases the old handle's place in a queue below.
                self.inner = self.shared.unready.unready_clone();
                Readiness::Pending
            }
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(Ok(()))
    }

    #[inline(never)]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let shared = self.shared.shard_ref();
        if CallScope::offered().is_some_and(|outer| outer.has_retry()) {
            // An outer retry counts the attempts: this layer makes one.
            let state = match self.readiness {
                Readiness::Ready => State::called(self.inner.call(request)),
                _ => self.unready_state(request),
            };
            return ResponseFuture::new(state, None, None, shared);
        }
        let config = &shared.config;
        let mut progress = CallProgress::begin(config, &mut request);
        // A request that can't be retried isn't copied.
        let saved = if progress.may_retry() { config.replay.save(&mut request) } else { None };
        if !matches!(self.readiness, Readiness::Ready) {
            let state = self.unready_state(request);
            return ResponseFuture::new(state, saved, Some(progress), shared);
        }
        let within = progress.start_first_attempt(config.attempt_timeout);
        let future = self.inner.call(request);
        drop(within);
        ResponseFuture::new(State::called(future), saved, Some(progress), shared)
    }
}

impl<S: Clone, C, R> Retry<S, C, R> {
    /// Returns the state of a call whose service isn't ready yet, or failed to get ready.
    fn unready_state<Req>(&mut self, request: Req) -> State<S, Req>
    where
        S: Service<Req>,
    {
        let fresh = self.shared.unready.unready_clone();
        match mem::take(&mut self.readiness) {
            Readiness::Failed(error) => {
                self.inner = fresh;
                State::Unready { error: Some(error), request: Some(Box::new(request)) }
            }
            _ => State::readying(fresh, request),
        }
    }
}
