use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::RateLimitLayer;
use super::cost::{Cost, OneEach, Settle};
use super::future::ResponseFuture;
use super::limiter::{Entry, Limiter};
use super::queue::Ticket;
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::key::{AllCalls, Key, Registry};
use crate::scope::CallScope;
use crate::spare::Spare;

/// A service behind a rate limiter. Made by [`RateLimitLayer`].
#[derive(Debug)]
pub struct RateLimit<S, C = HttpClassifier, K = AllCalls, W = OneEach> {
    inner: S,
    classifier: C,
    key: K,
    cost: W,
    shared: Arc<Shared<S>>,
}

/// What is behind one call of `layer()`.
#[derive(Debug)]
struct Shared<S> {
    spare: Spare<S>,
    limiters: Arc<Registry<Limiter>>,
}

impl<S: Clone, C: Clone, K: Clone, W: Clone> RateLimit<S, C, K, W> {
    pub(super) fn new(inner: S, layer: &RateLimitLayer<C, K, W>) -> Self {
        let shared = Shared { spare: Spare::new(&inner), limiters: Arc::clone(&layer.limiters) };
        Self {
            inner,
            classifier: layer.classifier.clone(),
            key: layer.key.clone(),
            cost: layer.cost.clone(),
            shared: Arc::new(shared),
        }
    }
}

/// A clone isn't ready: readiness stays with the handle that was readied.
impl<S: Clone, C: Clone, K: Clone, W: Clone> Clone for RateLimit<S, C, K, W> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            classifier: self.classifier.clone(),
            key: self.key.clone(),
            cost: self.cost.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S, Req, C, K, W> Service<Req> for RateLimit<S, C, K, W>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response> + Clone,
    K: Key<Req>,
    W: Cost<Req> + Settle<S::Response> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, Req, C, W>;

    /// Ready when the inner service is. The quota isn't asked here: a readiness
    /// that isn't used must not spend it.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let limiter = self.shared.limiters.get(&self.key.key(&request));
        let deadline = || CallScope::offered().and_then(|scope| scope.deadline());
        let judge = (self.classifier.clone(), self.cost.clone());
        match limiter.enter(self.cost.costs(&request), deadline) {
            Entry::Pass(permit) => ResponseFuture::calling(self.inner.call(request), permit, judge),
            Entry::Wait(place, patience) => {
                // Who waits holds no readiness of the inner service: it goes
                // with the old handle, and another is readied after the wait.
                self.inner = self.shared.spare.fresh();
                let ticket = Ticket::new(place, patience);
                let service = self.shared.spare.fresh();
                ResponseFuture::waiting(ticket, service, request, judge)
            }
            Entry::Reject(error) => {
                self.inner = self.shared.spare.fresh();
                ResponseFuture::failed(error)
            }
        }
    }
}
