use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::CircuitBreakerLayer;
use super::circuit::Circuit;
use super::common::Common;
use super::future::ResponseFuture;
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::key::{AllCalls, Key, Registry};
use crate::scope::{self, CallScope};
use crate::spare::Spare;
use crate::time;

/// A service behind a circuit breaker. Made by [`CircuitBreakerLayer`].
#[derive(Debug)]
pub struct CircuitBreaker<S, C = HttpClassifier, K = AllCalls> {
    inner: S,
    readiness: Readiness,
    classifier: C,
    key: K,
    shared: Arc<Shared<S>>,
}

/// What is behind one call of `layer()`.
#[derive(Debug)]
struct Shared<S> {
    spare: Spare<S>,
    circuits: Arc<Registry<Circuit>>,
    common: Arc<Common>,
}

impl<S> Shared<S> {
    /// Whether a circuit isn't closed that has been called lately: one of a host
    /// that is gone for good must not end the backpressure for all others.
    #[cold]
    fn is_tripped(&self) -> bool {
        let now = time::now();
        if self.common.looks_for_rest(now) {
            self.circuits.all().iter().for_each(|circuit| circuit.rest(now));
        }
        self.common.is_any_tripped()
    }
}

/// What `poll_ready` found.
#[derive(Debug, Default)]
enum Readiness {
    /// Not asked: a call readies a handle of its own.
    #[default]
    Unready,
    /// Asked, and not ready yet: the handle may stand in a queue for its readiness.
    Asked,
    /// The inner service is ready, and holds what that takes.
    Ready,
    /// The inner service failed to get ready. The failure belongs to the call
    /// that comes next, whose circuit must count it.
    Failed(BoxError),
}

impl<S: Clone, C: Clone, K: Clone> CircuitBreaker<S, C, K> {
    pub(super) fn new(inner: S, layer: &CircuitBreakerLayer<C, K>) -> Self {
        let shared = Shared {
            spare: Spare::new(&inner),
            circuits: Arc::clone(&layer.circuits),
            common: Arc::clone(&layer.common),
        };
        Self {
            inner,
            readiness: Readiness::Unready,
            classifier: layer.classifier.clone(),
            key: layer.key.clone(),
            shared: Arc::new(shared),
        }
    }
}

impl<S: Clone, C, K> CircuitBreaker<S, C, K> {
    /// Lets go of what the inner service's readiness, or its place in a queue
    /// for that, holds: another handle takes its place. What it was.
    fn let_go(&mut self) -> Readiness {
        let readiness = mem::take(&mut self.readiness);
        if !matches!(readiness, Readiness::Unready) {
            self.inner = self.shared.spare.fresh();
        }
        readiness
    }
}

/// A clone isn't ready: readiness stays with the handle that was readied.
impl<S: Clone, C: Clone, K: Clone> Clone for CircuitBreaker<S, C, K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            readiness: Readiness::Unready,
            classifier: self.classifier.clone(),
            key: self.key.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S, Req, C, K> Service<Req> for CircuitBreaker<S, C, K>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response> + Clone,
    K: Key<Req>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, Req, C>;

    /// Ready when the inner service is, or at once while a circuit isn't closed:
    /// what is down may never get ready, and an open circuit must answer all the same.
    /// Which circuit a call goes through is known only with its request.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if matches!(self.readiness, Readiness::Ready | Readiness::Failed(_)) {
            return Poll::Ready(Ok(()));
        }
        if self.shared.common.is_any_tripped() && self.shared.is_tripped() {
            self.let_go();
            return Poll::Ready(Ok(()));
        }
        self.readiness = Readiness::Asked;
        self.readiness = match ready!(self.inner.poll_ready(cx)) {
            Ok(()) => Readiness::Ready,
            Err(error) => Readiness::Failed(error.into()),
        };
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        // Only now, at the moment of sending, and not in `poll_ready`: a
        // readiness that isn't used must not cost a probe its place.
        let permit = match self.shared.circuits.get(&self.key.key(&request)).admit() {
            Ok(permit) => permit,
            Err(open) => {
                self.let_go();
                return ResponseFuture::failed(open.into());
            }
        };
        if matches!(self.readiness, Readiness::Ready) {
            self.readiness = Readiness::Unready;
            if CallScope::offered().is_some() {
                scope::note_sent(time::now());
            }
            let future = self.inner.call(request);
            return ResponseFuture::calling(future, permit.sent(), self.classifier.clone());
        }
        if let Readiness::Failed(error) = self.let_go() {
            permit.report(&self.classifier.classify(Err(&*error)));
            return ResponseFuture::failed(error);
        }
        let service = self.shared.spare.fresh();
        ResponseFuture::readying(service, request, permit, self.classifier.clone())
    }
}
