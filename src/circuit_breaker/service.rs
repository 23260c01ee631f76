use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::CircuitBreakerLayer;
use super::breaker::BreakerState;
use super::circuit::{Circuit, ShardedCircuit};
use super::future::{ResponseFuture, SentCall, WaitingCall};
use super::latch::Latches;
use super::permit::CallPermit;
use super::readiness::{Readiness, Watch};
use super::tripped::OpenCircuitCount;
use crate::call_state::{CallState, InFlight as _};
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::error::CircuitOpen;
use crate::key::{AllCalls, ByCredential, Key, LastKey};
use crate::scope::{self, CallScope};
use crate::unready_clone::UnreadyClone;

/// A service behind a circuit breaker. Made by [`CircuitBreakerLayer`].
#[derive(Debug)]
pub struct CircuitBreaker<S, C = HttpClassifier, K = AllCalls, L = ByCredential> {
    inner: S,
    readiness: Readiness,
    watch: Watch,
    classifier: C,
    key: K,
    credential: L,
    last: LastKey<ShardedCircuit>,
    shared: Arc<Shared<S>>,
}

/// What one call of `layer()` makes, and all clones of its service share.
#[derive(Debug)]
struct Shared<S> {
    unready: UnreadyClone<S>,
    breaker: Arc<BreakerState>,
    /// The one in `breaker`, kept here too because each `poll_ready` reads it.
    tripped: Arc<OpenCircuitCount>,
}

impl<S> Shared<S> {
    /// Whether `poll_ready` leaves the inner service alone, as some circuit isn't closed.
    #[inline]
    fn is_tripped(&self) -> bool {
        self.tripped.is_any() && !self.breaker.circuits.common.config.dry_run
    }
}

impl<S: Clone, C: Clone, K: Clone, L: Clone> CircuitBreaker<S, C, K, L> {
    pub(super) fn new(inner: S, layer: &CircuitBreakerLayer<C, K, L>) -> Self {
        let unready = UnreadyClone::new(&inner);
        let breaker = Arc::clone(&layer.breaker);
        let tripped = Arc::clone(&breaker.circuits.common.tripped);
        let shared = Shared { unready, breaker, tripped };
        Self {
            inner,
            readiness: Readiness::Unready,
            watch: Watch::default(),
            classifier: layer.classifier.clone(),
            key: layer.key.clone(),
            credential: layer.credential.clone(),
            last: LastKey::default(),
            shared: Arc::new(shared),
        }
    }
}

impl<S: Clone, C, K, L> CircuitBreaker<S, C, K, L> {
    /// Lets go of the inner service's readiness, or its slot in a queue for that: a fresh handle
    /// takes the old one's slot.
    #[inline]
    fn let_go(&mut self) {
        if !matches!(self.readiness, Readiness::Unready) {
            self.replace_inner();
        }
    }

    #[cold]
    fn replace_inner(&mut self) {
        self.readiness = Readiness::Unready;
        self.inner = self.shared.unready.unready_clone();
    }
}

/// A clone isn't ready: readiness stays with the handle that was readied.
impl<S: Clone, C: Clone, K: Clone, L: Clone> Clone for CircuitBreaker<S, C, K, L> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            readiness: Readiness::Unready,
            watch: Watch::default(),
            classifier: self.classifier.clone(),
            key: self.key.clone(),
            credential: self.credential.clone(),
            last: LastKey::default(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S, Req, C, K, L> Service<Req> for CircuitBreaker<S, C, K, L>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response> + Clone,
    K: Key<Req>,
    L: Key<Req>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, Req, C>;

    /// Ready when the inner service is, or at once while a circuit isn't closed:
    /// what is down may never get ready, and an open circuit must answer all the same.
    /// Which circuit a call goes through is known only with its request.
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            let tripped = self.shared.is_tripped();
            if matches!(self.readiness, Readiness::Ready | Readiness::Failed(_)) {
                break;
            }
            if tripped {
                self.let_go();
                break;
            }
            match self.inner.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    self.readiness = Readiness::Ready;
                    break;
                }
                Poll::Ready(Err(error)) => {
                    self.readiness = Readiness::Failed(error.into());
                    break;
                }
                Poll::Pending if self.poll_opened(cx).is_pending() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        // The circuit is asked now, at the moment of state, and not in `poll_ready`: a readiness
        // that isn't used must not cost a probe its slot.
        let breaker = &self.shared.breaker;
        if breaker.watches_credentials() {
            return self.call_watched(request);
        }
        let circuit = breaker.circuits.by_last(self.key.key(&request), &mut self.last);
        match circuit.passes_plainly() {
            Some(generation) if matches!(self.readiness, Readiness::Ready) => {
                self.readiness = Readiness::Unready;
                note_sent();
                let future = self.inner.call(request);
                // Made only now: what exists during the call needs code to drop it should the call
                // panic.
                let permit = CallPermit::sent_untimed(circuit.shard_ref(), generation);
                let held = SentCall { permit, classifier: self.classifier.clone() };
                ResponseFuture { state: CallState::sent(future, held) }
            }
            _ => match Circuit::admit(circuit) {
                Ok(permit) => self.call_admitted(CallPermit::new(permit, None), request),
                Err(open) => self.reject(open),
            },
        }
    }
}

/// Tells the layers above that the call is being sent.
#[inline]
fn note_sent() {
    if CallScope::offered().is_some() {
        scope::note_sent(scope::now());
    }
}

impl<S: Clone, C: Clone, K, L> CircuitBreaker<S, C, K, L> {
    /// Ready when a circuit has opened, which makes the breaker ready. Looks again after the task
    /// has registered, as a circuit may have opened just before.
    #[cold]
    fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.readiness = Readiness::Asked;
        let opened = self.watch.poll(&self.shared.breaker.circuits.common.opened, cx);
        if self.shared.is_tripped() { Poll::Ready(()) } else { opened }
    }

    /// Answers a call that isn't let through.
    fn reject<Req>(&mut self, open: Box<CircuitOpen>) -> ResponseFuture<S, Req, C>
    where
        S: Service<Req>,
    {
        self.let_go();
        ResponseFuture { state: CallState::rejected(open) }
    }

    /// Makes a call that was let through and needs more than its success to be counted. Kept out of
    /// line: `call` would otherwise carry its clean-up code for plain calls too.
    #[inline(never)]
    fn call_admitted<Req>(
        &mut self,
        mut permit: CallPermit,
        request: Req,
    ) -> ResponseFuture<S, Req, C>
    where
        S: Service<Req>,
        C: Classify<S::Response>,
    {
        if !matches!(self.readiness, Readiness::Ready) {
            return self.call_unready(request, permit);
        }
        self.readiness = Readiness::Unready;
        note_sent();
        permit.sent();
        let future = self.inner.call(request);
        let held = SentCall { permit, classifier: self.classifier.clone() };
        ResponseFuture { state: CallState::sent(future, held) }
    }

    /// Makes a call while credentials are watched: asks the credential's circuit first, then the
    /// call's own.
    #[cold]
    fn call_watched<Req>(&mut self, request: Req) -> ResponseFuture<S, Req, C>
    where
        S: Service<Req>,
        C: Classify<S::Response>,
        K: Key<Req>,
        L: Key<Req>,
    {
        let BreakerState { circuits, latches, .. } = &*self.shared.breaker;
        let admit = |latches: &Latches| latches.admit(&self.credential.key(&request));
        let credential = latches.as_ref().map_or(Ok(None), admit);
        let admitted = credential.and_then(|credential| {
            let circuit = circuits.by_last(self.key.key(&request), &mut self.last);
            Ok(CallPermit::new(Circuit::admit(circuit)?, credential))
        });
        match admitted {
            Ok(permit) => self.call_admitted(permit, request),
            Err(open) => self.reject(open),
        }
    }

    /// Makes a call that was let through while the inner service isn't ready: `poll_ready` failed,
    /// or didn't wait for it.
    #[cold]
    fn call_unready<Req>(&mut self, request: Req, permit: CallPermit) -> ResponseFuture<S, Req, C>
    where
        S: Service<Req>,
        C: Classify<S::Response>,
    {
        let mut passed = SentCall { permit, classifier: self.classifier.clone() };
        match mem::take(&mut self.readiness) {
            Readiness::Unready => {}
            Readiness::Asked | Readiness::Ready => self.replace_inner(),
            Readiness::Failed(error) => {
                self.replace_inner();
                return ResponseFuture { state: CallState::rejected(passed.on_error(error)) };
            }
        }
        // This call passes while some circuit isn't closed. That may be one which nobody calls.
        self.shared.breaker.circuits.release_idle();
        let (service, scoped) =
            (self.shared.unready.unready_clone(), CallScope::offered().is_some());
        ResponseFuture {
            state: CallState::pending(WaitingCall { service, request, passed, scoped }),
        }
    }
}
