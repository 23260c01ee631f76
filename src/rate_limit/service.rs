use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::cost::{Cost, Costs, UnitCost};
use super::limiter::Limiter;
use super::permit::{Permit, Settle};
use super::queue::{QueuedCall, Reservation};
use crate::call_state::{CallState, InFlight, PendingCall};
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::key::{AllCalls, Key, LastKey, Registry};
use crate::scope::{self, CallScope};
use crate::sharded::{ShardRef, ShardedArc};
use crate::time::Instant;
use crate::unready_clone::UnreadyClone;

/// A service behind a rate limiter. Created by a [`RateLimitLayer`](super::RateLimitLayer).
#[derive(Debug)]
pub struct RateLimit<S, C = HttpClassifier, K = AllCalls, W = UnitCost> {
    inner: S,
    classifier: C,
    key: K,
    cost: W,
    last: LastKey<ShardedArc<Limiter>>,
    shared: Arc<Shared<S>>,
}

/// What all clones of a service share.
#[derive(Debug)]
struct Shared<S> {
    unready: UnreadyClone<S>,
    limiters: Arc<Registry<ShardedArc<Limiter>>>,
}

impl<S, C, K, W> RateLimit<S, C, K, W> {
    pub(super) fn new(
        inner: S,
        classifier: C,
        key: K,
        cost: W,
        limiters: Arc<Registry<ShardedArc<Limiter>>>,
    ) -> Self
    where
        S: Clone,
    {
        let shared = Arc::new(Shared { unready: UnreadyClone::new(&inner), limiters });
        Self { inner, classifier, key, cost, last: LastKey::default(), shared }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

/// A clone isn't ready.
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

    /// Returns whether the inner service is ready. `call` takes the units, as a readiness that isn't
    /// used must not spend any.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let (costs, now) = (self.cost.costs(&request), scope::now());
        let limiter = self.shared.limiters.by_last(self.key.key(&request), &mut self.last);
        let Some(charge) = limiter.try_send_fast(now, &costs) else {
            let limiter = limiter.shard_ref();
            return self.call_locked(limiter, costs, now, request);
        };
        let future = self.inner.call(request);
        // Created after `call`: nothing needs to be dropped if that panics.
        let permit = Permit::fast(limiter.shard_ref(), costs.units[0], charge);
        let (classifier, cost) = (self.classifier.clone(), self.cost.clone());
        ResponseFuture { state: CallState::sent(future, SentCall { permit, classifier, cost }) }
    }
}

impl<S: Clone, C: Clone, K, W: Clone> RateLimit<S, C, K, W> {
    /// Sends a call that didn't pass by the fast path, or adds it to the queue.
    fn call_locked<Req>(
        &mut self,
        limiter: ShardRef<Limiter>,
        costs: Costs,
        now: Instant,
        request: Req,
    ) -> ResponseFuture<S, Req, C, W>
    where
        S: Service<Req>,
        K: Key<Req>,
    {
        let Some(charges) = limiter.try_send(now, &costs) else {
            // The registry may have evicted the limiter that this service used last.
            let limiter = self.shared.limiters.get(&self.key.key(&request)).shard_ref();
            return self.enqueue(limiter, costs, now, request);
        };
        let permit = Permit::locked(limiter, charges);
        let (classifier, cost) = (self.classifier.clone(), self.cost.clone());
        let future = self.inner.call(request);
        ResponseFuture { state: CallState::sent(future, SentCall { permit, classifier, cost }) }
    }

    /// Adds a call to the queue, or rejects it.
    fn enqueue<Req>(
        &mut self,
        limiter: ShardRef<Limiter>,
        costs: Costs,
        now: Instant,
        request: Req,
    ) -> ResponseFuture<S, Req, C, W>
    where
        S: Service<Req>,
    {
        // A call that isn't sent now holds no readiness of the inner service.
        self.inner = self.shared.unready.unready_clone();
        let scope = CallScope::offered();
        let deadline = scope.and_then(|scope| scope.deadline());
        let wait_limit = limiter.wait_limit(now, deadline);
        let state = match QueuedCall::join(limiter, costs, now, wait_limit) {
            Ok(queued) => {
                if scope.is_some() {
                    scope::note_queued(true);
                }
                CallState::pending(WaitingCall {
                    stage: WaitingStage::Queued(Box::pin(queued)),
                    service: self.shared.unready.unready_clone(),
                    request,
                    classifier: self.classifier.clone(),
                    cost: self.cost.clone(),
                    is_scoped: scope.is_some(),
                })
            }
            Err(error) => CallState::rejected(error),
        };
        ResponseFuture { state }
    }
}

pin_project! {
    /// The response future of [`RateLimit`].
    pub struct ResponseFuture<S, Req, C, W = UnitCost>
    where
        S: Service<Req>,
    {
        #[pin]
        state: CallState<S::Future, SentCall<C, W>, WaitingCall<S, Req, C, W>>,
    }
}

/// A call that was sent.
struct SentCall<C, W> {
    permit: Permit,
    classifier: C,
    cost: W,
}

/// A call that is sent once it is admitted and its service is ready.
struct WaitingCall<S, Req, C, W> {
    stage: WaitingStage,
    service: S,
    request: Req,
    classifier: C,
    cost: W,
    /// Whether a layer above shares its call scope with this call.
    is_scoped: bool,
}

enum WaitingStage {
    /// The call waits for its units.
    Queued(Pin<Box<QueuedCall>>),
    /// The call has its units, and waits for its service.
    Admitted(Reservation),
}

impl<S, Req, C, W> Future for ResponseFuture<S, Req, C, W>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    W: Settle<S::Response>,
{
    type Output = Result<S::Response, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx)
    }
}

impl<Res, C, W> InFlight<Res> for SentCall<C, W>
where
    C: Classify<Res>,
    W: Settle<Res>,
{
    #[inline]
    fn on_response(&mut self, response: &mut Res) {
        self.permit.on_response(response, &self.classifier, &self.cost);
    }

    fn on_error(&mut self, error: BoxError) -> BoxError {
        self.permit.on_failure(&self.classifier.classify(Err(&*error)));
        error
    }
}

impl<S, Req, C, W> PendingCall for WaitingCall<S, Req, C, W>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
{
    type Future = S::Future;
    type InFlight = SentCall<C, W>;
    type Permit = Permit;

    /// Waits in the queue, and then for the service to become ready.
    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, BoxError>> {
        loop {
            match &mut self.stage {
                WaitingStage::Queued(queued) => {
                    self.stage = WaitingStage::Admitted(ready!(queued.as_mut().poll(cx))?);
                }
                WaitingStage::Admitted(reservation) => {
                    if let Err(error) = ready!(self.service.poll_ready(cx)) {
                        let error = error.into();
                        reservation.apply_verdict(&self.classifier.classify(Err(&*error)));
                        return Poll::Ready(Err(error));
                    }
                    if let Some(permit) = reservation.send() {
                        return Poll::Ready(Ok(permit));
                    }
                    // The gate has closed meanwhile. Dropping the service releases its readiness.
                    self.service = self.service.clone();
                    self.stage = WaitingStage::Queued(Box::pin(reservation.rejoin()?));
                }
            }
        }
    }

    fn send(self, permit: Permit) -> (S::Future, SentCall<C, W>) {
        let Self { mut service, request, classifier, cost, is_scoped, .. } = self;
        if is_scoped {
            scope::note_queued(false);
        }
        let future = scope::call_later(is_scoped, || service.call(request));
        (future, SentCall { permit, classifier, cost })
    }
}

impl<S: Service<Req>, Req, C, W> fmt::Debug for ResponseFuture<S, Req, C, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
