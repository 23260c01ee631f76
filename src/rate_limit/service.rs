use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::RateLimitLayer;
use super::cost::{Cost, Settle, UnitCost};
use super::limiter::{Arrival, Limiter};
use super::permit::{Permit, Reservation};
use super::queue::QueuedCall;
use crate::call_state::{CallState, InFlight, PendingCall};
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
    /// Makes a call that doesn't pass by the fast path. Kept out of queue, so that `call` builds the
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

pin_project! {
    /// The future of a [`RateLimit`](super::RateLimit).
    pub struct ResponseFuture<S, Req, C, W = UnitCost>
    where
        S: Service<Req>,
    {
        #[pin]
        pub(super) state: CallState<S::Future, SentCall<C, W>, WaitingCall<S, Req, C, W>>,
    }
}

/// A call that was sent.
pub(super) struct SentCall<C, W> {
    pub(super) permit: Permit,
    pub(super) classifier: C,
    pub(super) cost: W,
}

/// A call that is sent when it has passed and its service is ready.
pub(super) struct WaitingCall<S, Req, C, W> {
    pub(super) entry: Entry,
    pub(super) service: S,
    pub(super) request: Req,
    pub(super) classifier: C,
    pub(super) cost: W,
    /// Whether a layer above offered its call scope to this call.
    pub(super) scoped: bool,
}

/// How far a call has got past the limiter.
pub(super) enum Entry {
    InLine(Pin<Box<QueuedCall>>),
    SentCall(Reservation),
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
        self.permit.take_in(response, &self.classifier, &self.cost);
    }

    #[cold]
    fn on_error(&mut self, error: BoxError) -> BoxError {
        self.permit.settle(&self.classifier.classify(Err(&*error)));
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

    /// PendingCall for the call's turn, and then for its service to get ready. The call is sent if the
    /// gate is still open then.
    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, BoxError>> {
        loop {
            match &mut self.entry {
                Entry::InLine(ticket) => {
                    self.entry = Entry::SentCall(ready!(ticket.as_mut().poll(cx))?);
                }
                Entry::SentCall(reservation) => {
                    if let Err(error) = ready!(self.service.poll_ready(cx)) {
                        let error = error.into();
                        reservation.settle(&self.classifier.classify(Err(&*error)));
                        return Poll::Ready(Err(error));
                    }
                    if let Some(permit) = reservation.send() {
                        return Poll::Ready(Ok(permit));
                    }
                    // The gate has closed meanwhile. Dropping the old handle lets go of its
                    // readiness.
                    self.service = self.service.clone();
                    self.entry = Entry::InLine(Box::pin(reservation.line_up_anew()?));
                }
            }
        }
    }

    fn send(self, permit: Permit) -> (S::Future, SentCall<C, W>) {
        let Self { entry: _, mut service, request, classifier, cost, scoped } = self;
        if scoped {
            scope::note_queued(false);
        }
        let future = scope::call_later(scoped, || service.call(request));
        (future, SentCall { permit, classifier, cost })
    }
}

impl<S: Service<Req>, Req, C, W> fmt::Debug for ResponseFuture<S, Req, C, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
