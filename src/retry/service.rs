use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::config::Config;
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
    /// It isn't ready yet. The call waits for it, as long as its deadline allows.
    Later,
    /// It failed to get ready, and so the next call's first attempt has failed.
    Failed(BoxError),
}

/// What all clones of the service share.
#[derive(Debug)]
pub(super) struct Shared<S, C, R> {
    pub(super) unready: UnreadyClone<S>,
    pub(super) config: Config<C, R>,
}

impl<S: Clone, C, R> Retry<S, C, R> {
    pub(super) fn new(inner: S, config: Config<C, R>) -> Self {
        let shared =
            Arc::new(ShardedArc::new(Shared { unready: UnreadyClone::new(&inner), config }));
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

    /// Ready when the inner service is. If that fails to get ready, it counts as a failed
    /// attempt of the next call, which may retry it.
    ///
    /// With a [deadline](super::RetryLayer::deadline) it is ready at once: the call itself then waits for
    /// the inner service, within its deadline.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if matches!(self.readiness, Readiness::Failed(_)) {
            return Poll::Ready(Ok(()));
        }
        self.readiness = match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => Readiness::Ready,
            Poll::Ready(Err(error)) => Readiness::Failed(error.into()),
            Poll::Pending if self.shared.config.is_bounded() => {
                // The old handle gives up its place in a queue, if it has one.
                self.inner = self.shared.unready.unready_clone();
                Readiness::Later
            }
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(Ok(()))
    }

    /// Not inlined, so that the caller can have the future written where it stays.
    #[inline(never)]
    fn call(&mut self, mut request: Req) -> Self::Future {
        if CallScope::offered().is_some_and(|outer| outer.has_retry()) {
            // One loop per call: the retry above counts the attempts.
            return self.pass_on(request);
        }
        let shared = self.shared.shard_ref();
        let config = &shared.config;
        let mut progress = CallProgress::begin(config, &mut request);
        // Nothing is saved if no retry can follow.
        let saved = if progress.may_retry() { config.replay.keep(&mut request) } else { None };
        if !matches!(self.readiness, Readiness::Ready) {
            let state = self.unready(request);
            return ResponseFuture::new(state, saved, Some(progress), shared);
        }
        let within = progress.calling(config.attempt_timeout);
        let future = self.inner.call(request);
        drop(within);
        ResponseFuture::new(State::calling(future), saved, Some(progress), shared)
    }
}

impl<S: Clone, C, R> Retry<S, C, R> {
    /// Makes one attempt and keeps nothing of the request.
    #[cold]
    fn pass_on<Req>(&mut self, request: Req) -> ResponseFuture<S, Req, C, R>
    where
        S: Service<Req>,
        R: Replay<Req>,
    {
        let state = match self.readiness {
            Readiness::Ready => State::calling(self.inner.call(request)),
            _ => self.unready(request),
        };
        ResponseFuture::new(state, None, None, self.shared.shard_ref())
    }

    /// Returns the state of a call whose service isn't ready yet, or failed to get ready.
    #[cold]
    fn unready<Req>(&mut self, request: Req) -> State<S, Req>
    where
        S: Service<Req>,
    {
        match mem::take(&mut self.readiness) {
            Readiness::Failed(error) => {
                self.inner = self.shared.unready.unready_clone();
                State::Unready { error: Some(error), request: Some(Box::new(request)) }
            }
            _ => State::readying(self.shared.unready.unready_clone(), request),
        }
    }
}
