use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::circuit::SpreadCircuit;
use super::circuits::Circuits;
use super::future::{ResponseFuture, Uncalled, Waiting};
use super::permit::{Passage, Permit};
use super::readiness::{Readiness, Watch};
use super::{CircuitBreakerLayer, CircuitOpen};
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::key::{AllCalls, ByCredential, Key, KeyRef, Last};
use crate::scope::{self, CallScope};
use crate::spare::Spare;

/// A service behind a circuit breaker. Made by [`CircuitBreakerLayer`].
#[derive(Debug)]
pub struct CircuitBreaker<S, C = HttpClassifier, K = AllCalls, L = ByCredential> {
    inner: S,
    readiness: Readiness,
    watch: Watch,
    classifier: C,
    key: K,
    credential: L,
    last: Last<SpreadCircuit>,
    shared: Arc<Shared<S>>,
}

/// What is behind one call of `layer()`.
#[derive(Debug)]
struct Shared<S> {
    spare: Spare<S>,
    circuits: Arc<Circuits>,
}

impl<S> Shared<S> {
    /// Whether calls pass the inner service's readiness by, as a circuit isn't closed.
    #[inline]
    fn is_tripped(&self) -> bool {
        self.circuits.is_any_tripped() && !self.circuits.common.rules.dry_run
    }
}

impl<S: Clone, C: Clone, K: Clone, L: Clone> CircuitBreaker<S, C, K, L> {
    pub(super) fn new(inner: S, layer: &CircuitBreakerLayer<C, K, L>) -> Self {
        let spare = Spare::new(&inner);
        let shared = Shared { spare, circuits: Arc::clone(&layer.circuits) };
        Self {
            inner,
            readiness: Readiness::Unready,
            watch: Watch::default(),
            classifier: layer.classifier.clone(),
            key: layer.key.clone(),
            credential: layer.credential.clone(),
            last: Last::default(),
            shared: Arc::new(shared),
        }
    }
}

impl<S: Clone, C, K, L> CircuitBreaker<S, C, K, L> {
    /// Lets go of what the inner service's readiness, or its place in a queue
    /// for that, holds: another handle takes its place.
    #[inline]
    fn let_go(&mut self) {
        if !matches!(self.readiness, Readiness::Unready) {
            self.replace_inner();
        }
    }

    #[cold]
    fn replace_inner(&mut self) {
        self.readiness = Readiness::Unready;
        self.inner = self.shared.spare.fresh();
    }
}

impl<S, C, K, L> CircuitBreaker<S, C, K, L> {
    /// Asks the credential's circuit, then the call's.
    #[inline]
    fn admit<Req>(&mut self, request: &Req) -> Result<Passage, Box<CircuitOpen>>
    where
        K: Key<Req>,
        L: Key<Req>,
    {
        let circuits = &self.shared.circuits;
        let credential = match &circuits.common.latches {
            Some(latches) if latches.is_watching() => {
                latches.admit(&self.credential.key(request))?
            }
            _ => None,
        };
        Ok(Passage::new(self.admit_by_key(request)?, credential))
    }

    #[inline]
    fn admit_by_key<Req>(&mut self, request: &Req) -> Result<Permit, Box<CircuitOpen>>
    where
        K: Key<Req>,
    {
        let circuits = &self.shared.circuits;
        match self.key.key(request) {
            KeyRef::Shared => {}
            key => return circuits.admit(&key, &mut self.last),
        }
        // Past the match, which has let go of the key: there's nothing left to clean up.
        circuits.admit_shared()
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
            last: Last::default(),
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
        // Only now, at the moment of sending, and not in `poll_ready`: a
        // readiness that isn't used must not cost a probe its place.
        let mut passage = match self.admit(&request) {
            Ok(passage) => passage,
            Err(open) => {
                self.let_go();
                return ResponseFuture::uncalled(Uncalled::Failed(open));
            }
        };
        if !matches!(self.readiness, Readiness::Ready) {
            return ResponseFuture::uncalled(self.call_unready(request, passage));
        }
        self.readiness = Readiness::Unready;
        if CallScope::offered().is_some() {
            scope::note_sent(scope::now());
        }
        passage.sent();
        let future = self.inner.call(request);
        ResponseFuture::called(future, passage, self.classifier.clone())
    }
}

impl<S: Clone, C: Clone, K, L> CircuitBreaker<S, C, K, L> {
    /// Ready when a circuit has opened, also one that opened before this task could hear of it:
    /// that makes the breaker ready.
    #[cold]
    fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.readiness = Readiness::Asked;
        let opened = self.watch.poll(&self.shared.circuits.common.opened, cx);
        if self.shared.is_tripped() { Poll::Ready(()) } else { opened }
    }

    /// A call that was let through past a readiness that failed or wasn't waited for.
    #[cold]
    fn call_unready<Req>(&mut self, request: Req, mut passage: Passage) -> Uncalled<S, Req, C>
    where
        S: Service<Req>,
        C: Classify<S::Response>,
    {
        match mem::take(&mut self.readiness) {
            Readiness::Unready => {}
            Readiness::Asked | Readiness::Ready => self.replace_inner(),
            Readiness::Failed(error) => {
                self.replace_inner();
                return Uncalled::Failed(passage.failed(error, &self.classifier));
            }
        }
        // By a call that passes while a circuit isn't closed: that may be one which nobody calls.
        self.shared.circuits.look_for_rest();
        let (service, classifier) = (self.shared.spare.fresh(), self.classifier.clone());
        let scoped = CallScope::offered().is_some();
        Uncalled::Waiting(Box::new(Waiting { service, request, passage, classifier, scoped }))
    }
}
