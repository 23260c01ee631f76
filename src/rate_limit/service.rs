use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::RateLimitLayer;
use super::cost::{Cost, Settle, UnitCost};
use super::future::{Entry, ResponseFuture, SentCall, WaitingCall};
use super::limiter::{Arrival, Limiter};
use super::permit::Permit;
use crate::call_state::CallState;
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::key::{AllCalls, Key, LastKey, Registry};
use crate::scope::{self, CallScope};
use crate::sharded::ShardedArc;
use crate::unready_clone::UnreadyClone;

/// A service behind a rate limiter. Made by [`RateLimitLayer`].
#[derive(Debug)]
pub struct RateLimit<S, C = HttpClassifier, K = AllCalls, W = UnitCost> {
    inner: S,
    classifier: C,
    key: K,
    cost: W,
    last: LastKey<ShardedArc<Limiter>>,
    shared: Arc<Shared<S>>,
}

/// What one call of `layer()` makes, and all clones of its service share.
#[derive(Debug)]
struct Shared<S> {
    unready: UnreadyClone<S>,
    limiters: Arc<Registry<ShardedArc<Limiter>>>,
}

impl<S: Clone, C: Clone, K: Clone, W: Clone> RateLimit<S, C, K, W> {
    pub(super) fn new(inner: S, layer: &RateLimitLayer<C, K, W>) -> Self {
        let shared =
            Shared { unready: UnreadyClone::new(&inner), limiters: Arc::clone(&layer.limiters) };
        Self {
            inner,
            classifier: layer.classifier.clone(),
            key: layer.key.clone(),
            cost: layer.cost.clone(),
            last: LastKey::default(),
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
            last: LastKey::default(),
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

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let (costs, at) = (self.cost.costs(&request), scope::now());
        let limiter = self.shared.limiters.by_last(self.key.key(&request), &mut self.last);
        let Some(fast_permit) = limiter.pass_fast(at, &costs) else {
            let arrival = Arrival { limiter: limiter.shard_ref(), costs, at };
            return self.call_locked(arrival, request);
        };
        let future = self.inner.call(request);
        // Made only now: what exists during the call needs code to drop it should the call panic.
        let permit = Permit::fast(limiter.shard_ref(), &costs, fast_permit);
        let (classifier, cost) = (self.classifier.clone(), self.cost.clone());
        ResponseFuture { state: CallState::sent(future, SentCall { permit, classifier, cost }) }
    }
}

impl<S: Clone, C: Clone, K, W: Clone> RateLimit<S, C, K, W> {
    /// Makes a call that doesn't pass by the fast_path. Kept out of queue, so that `call` builds the
    /// future of one that does in entry.
    #[inline(never)]
    fn call_locked<Req>(&mut self, arrival: Arrival, request: Req) -> ResponseFuture<S, Req, C, W>
    where
        S: Service<Req>,
        K: Key<Req>,
    {
        let Some(charges) = arrival.pass() else {
            // The limiter that the service called last may have retired meanwhile.
            let limiter = self.shared.limiters.get(&self.key.key(&request)).shard_ref();
            return self.line_up(Arrival { limiter, ..arrival }, request);
        };
        let permit = Permit::locked(arrival.limiter, arrival.costs, charges);
        let (classifier, cost) = (self.classifier.clone(), self.cost.clone());
        let future = self.inner.call(request);
        ResponseFuture { state: CallState::sent(future, SentCall { permit, classifier, cost }) }
    }

    /// Lets a call wait that doesn't pass at once, or turns it away.
    #[cold]
    fn line_up<Req>(&mut self, arrival: Arrival, request: Req) -> ResponseFuture<S, Req, C, W>
    where
        S: Service<Req>,
    {
        // A call that waits or is turned away holds no readiness of the inner service. That goes
        // with the old handle, and another handle is readied after the wait.
        self.inner = self.shared.unready.unready_clone();
        let scope = CallScope::offered();
        let deadline = scope.and_then(|scope| scope.deadline());
        let state = match arrival.line_up(deadline) {
            Ok(ticket) => {
                if scope.is_some() {
                    scope::note_queued(true);
                }
                CallState::pending(WaitingCall {
                    entry: Entry::InLine(Box::pin(ticket)),
                    service: self.shared.unready.unready_clone(),
                    request,
                    classifier: self.classifier.clone(),
                    cost: self.cost.clone(),
                    scoped: scope.is_some(),
                })
            }
            Err(error) => CallState::rejected(error),
        };
        ResponseFuture { state }
    }
}
