use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::RateLimitLayer;
use super::cost::{Cost, OneEach, Settle};
use super::future::ResponseFuture;
use super::limiter::{Arrival, Limiter};
use super::permit::Permit;
use super::queue::Ticket;
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::key::{AllCalls, Key, KeyRef, Registry};
use crate::scope::{self, CallScope};
use crate::spare::Spare;
use crate::stripe::{Handle, Spread};

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
    limiters: Arc<Registry<Spread<Limiter>>>,
}

impl<S> Shared<S> {
    /// The limiter of this key.
    #[inline]
    fn limiter(&self, key: &KeyRef<'_>) -> Handle<Limiter> {
        match key {
            KeyRef::Shared => self.limiters.common().handle(),
            key => self.limiters.get(key).handle(),
        }
    }
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
        let limiter = self.shared.limiter(&self.key.key(&request));
        let (costs, at) = (self.cost.costs(&request), scope::now());
        match limiter.pass_by_lane(at, &costs) {
            Some(passage) => {
                let permit = Permit::by_lane(limiter, &costs, passage);
                let (classifier, cost) = (self.classifier.clone(), self.cost.clone());
                ResponseFuture::calling(self.inner.call(request), permit, classifier, cost)
            }
            None => self.call_by_books(Arrival { limiter, costs, at }, request),
        }
    }
}

impl<S: Clone, C: Clone, K, W: Clone> RateLimit<S, C, K, W> {
    /// A call that doesn't pass by the lane. Apart, so that one that does is made where it goes.
    #[inline(never)]
    fn call_by_books<Req>(&mut self, arrival: Arrival, request: Req) -> ResponseFuture<S, Req, C, W>
    where
        S: Service<Req>,
    {
        match arrival.pass() {
            Some(receipts) => {
                let permit = Permit::sent_at_once(arrival.limiter, arrival.costs, receipts);
                let (classifier, cost) = (self.classifier.clone(), self.cost.clone());
                ResponseFuture::calling(self.inner.call(request), permit, classifier, cost)
            }
            None => self.line_up(arrival, request),
        }
    }

    /// A call that doesn't pass at once.
    #[cold]
    fn line_up<Req>(&mut self, arrival: Arrival, request: Req) -> ResponseFuture<S, Req, C, W>
    where
        S: Service<Req>,
    {
        // Who waits holds no readiness of the inner service, nor does who is turned away: it
        // goes with the old handle, and another is readied after the wait.
        self.inner = self.shared.spare.fresh();
        let deadline = CallScope::offered().and_then(|scope| scope.deadline());
        let (classifier, cost) = (self.classifier.clone(), self.cost.clone());
        match arrival.line_up(deadline) {
            Ok((place, patience)) => {
                let ticket = Ticket::new(place, patience);
                let call = (self.shared.spare.fresh(), request);
                ResponseFuture::waiting(ticket, call, classifier, cost)
            }
            Err(error) => ResponseFuture::refused(error, classifier, cost),
        }
    }
}
