use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::config::Config;
use super::future::{ResponseFuture, State};
use super::progress::Progress;
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::replay::{HttpReplay, Replay};
use crate::scope::CallScope;
use crate::spare::Spare;

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
        let outer = CallScope::offered();
        if outer.is_some_and(|outer| outer.has_retry()) {
            // One loop a call: a retry above counts the attempts.
            let state = self.state(request, None);
            return ResponseFuture::new(state, None, None, Arc::clone(&self.shared));
        }
        let config = &self.shared.config;
        let mut progress = Progress::begin(config, outer, &mut request);
        // No copy where no retry can follow.
        let (request, kept) = match progress.may_retry() {
            true => config.replay.keep(request),
            false => (request, None),
        };
        let state = self.state(request, Some(&mut progress));
        ResponseFuture::new(state, kept, Some(progress), Arc::clone(&self.shared))
    }
}

impl<S: Clone, C, R> Retry<S, C, R> {
    /// The state in which a call begins.
    #[inline]
    fn state<Req>(&mut self, request: Req, progress: Option<&mut Progress<S::Response>>) -> State<S, Req>
    where
        S: Service<Req>,
    {
        let Readiness::Ready = self.readiness else {
            return self.unready(request);
        };
        let inner = &mut self.inner;
        State::calling(match progress {
            Some(progress) => {
                progress.call(self.shared.config.attempt_timeout, || inner.call(request))
            }
            None => inner.call(request),
        })
    }

    #[cold]
    fn unready<Req>(&mut self, request: Req) -> State<S, Req>
    where
        S: Service<Req>,
    {
        match mem::take(&mut self.readiness) {
            Readiness::Failed(error) => {
                self.inner = self.shared.spare.fresh();
                State::Unready { error: Some(error) }
            }
            _ => State::readying(self.shared.spare.fresh(), request),
        }
    }
}
