use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::{fmt, mem};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tower_service::Service;

use super::breaker::BreakerState;
use super::circuit::{Circuit, ShardedCircuit};
use super::latch::Latches;
use super::permit::CallPermit;
use super::shared_state::OpenCircuitCount;
use crate::call_state::{CallState, InFlight, PendingCall};
use crate::classify::{Classify, HttpClassifier};
use crate::error::{BoxError, CircuitOpen};
use crate::key::{AllCalls, ByCredential, Key, LastKey};
use crate::scope::{self, CallScope};
use crate::time;
use crate::unready_clone::UnreadyClone;

/// A service behind a circuit breaker. Built by [`CircuitBreakerLayer`](super::CircuitBreakerLayer).
#[derive(Debug)]
pub struct CircuitBreaker<S, C = HttpClassifier, K = AllCalls, L = ByCredential> {
    inner: S,
    readiness: Readiness,
    opened: OpenedWaiter,
    classifier: C,
    key: K,
    credential: L,
    last: LastKey<ShardedCircuit>,
    shared: Arc<Shared<S>>,
}

/// The state that all clones of one service share.
#[derive(Debug)]
struct Shared<S> {
    unready: UnreadyClone<S>,
    breaker: Arc<BreakerState>,
    /// The one in `breaker`, kept here too because each `poll_ready` reads it.
    open_circuits: Arc<OpenCircuitCount>,
}

impl<S> Shared<S> {
    /// Whether `poll_ready` leaves the inner service alone, as some circuit isn't closed.
    #[inline]
    fn has_open_circuits(&self) -> bool {
        self.open_circuits.is_any() && !self.breaker.circuits.common.config.dry_run
    }
}

impl<S: Clone, C, K, L> CircuitBreaker<S, C, K, L> {
    pub(super) fn new(
        inner: S,
        breaker: Arc<BreakerState>,
        (classifier, key, credential): (C, K, L),
    ) -> Self {
        let unready = UnreadyClone::new(&inner);
        let open_circuits = Arc::clone(&breaker.circuits.common.open_circuits);
        let shared = Shared { unready, breaker, open_circuits };
        Self {
            inner,
            readiness: Readiness::Unready,
            opened: OpenedWaiter::default(),
            classifier,
            key,
            credential,
            last: LastKey::default(),
            shared: Arc::new(shared),
        }
    }
}

impl<S: Clone, C, K, L> CircuitBreaker<S, C, K, L> {
    /// Releases the inner service's readiness, or its position in a queue for it, by replacing the
    /// handle.
    fn release_readiness(&mut self) {
        if !matches!(self.readiness, Readiness::Unready) {
            self.replace_inner();
        }
    }

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
            opened: OpenedWaiter::default(),
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
    /// an upstream that is down may never get ready, and an open circuit must still reject.
    /// Which circuit a call goes through is known only with its request.
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            let has_open = self.shared.has_open_circuits();
            if matches!(self.readiness, Readiness::Ready | Readiness::Failed(_)) {
                break;
            }
            if has_open {
                self.release_readiness();
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
        // The permit is acquired here and not in `poll_ready`: an unused readiness must not take a
        // probe's slot.
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

/// Records in the call scope that the call is being sent.
#[inline]
fn note_sent() {
    if CallScope::offered().is_some() {
        scope::note_sent(scope::now());
    }
}

impl<S: Clone, C: Clone, K, L> CircuitBreaker<S, C, K, L> {
    /// Ready when a circuit has opened, which makes the breaker ready. Looks again after the task
    /// has registered, as a circuit may have opened just before.
    fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.readiness = Readiness::Pending;
        let opened = self.opened.poll(&self.shared.breaker.circuits.common.opened, cx);
        if self.shared.has_open_circuits() { Poll::Ready(()) } else { opened }
    }

    /// Rejects a call.
    #[cold]
    fn reject<Req>(&mut self, open: Box<CircuitOpen>) -> ResponseFuture<S, Req, C>
    where
        S: Service<Req>,
    {
        self.release_readiness();
        ResponseFuture { state: CallState::rejected(open) }
    }

    /// Makes a call that was let through and needs more than its success to be counted.
    #[cold]
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
            Readiness::Pending | Readiness::Ready => self.replace_inner(),
            Readiness::Failed(error) => {
                self.replace_inner();
                return ResponseFuture { state: CallState::rejected(passed.on_error(error)) };
            }
        }
        // This call passes while some circuit isn't closed. That may be one without callers.
        self.shared.breaker.circuits.release_idle();
        let (service, scoped) =
            (self.shared.unready.unready_clone(), CallScope::offered().is_some());
        ResponseFuture {
            state: CallState::pending(WaitingCall { service, request, passed, scoped }),
        }
    }
}

pin_project! {
    /// The future of a [`CircuitBreaker`](super::CircuitBreaker).
    pub struct ResponseFuture<S, Req, C>
    where
        S: Service<Req>,
    {
        #[pin]
        pub(super) state: CallState<S::Future, SentCall<C>, WaitingCall<S, Req, C>>,
    }
}

/// A call that was sent.
pub(super) struct SentCall<C> {
    pub(super) permit: CallPermit,
    pub(super) classifier: C,
}

/// A call that is sent when its service is ready.
pub(super) struct WaitingCall<S, Req, C> {
    pub(super) service: S,
    pub(super) request: Req,
    pub(super) passed: SentCall<C>,
    /// Whether a layer above offered its call scope to this call.
    pub(super) scoped: bool,
}

impl<S, Req, C> Future for ResponseFuture<S, Req, C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
{
    type Output = Result<S::Response, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx)
    }
}

impl<Res, C: Classify<Res>> InFlight<Res> for SentCall<C> {
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn on_response(&mut self, response: &mut Res) {
        self.permit.report(&self.classifier.classify(Ok(response)));
    }

    fn on_error(&mut self, error: BoxError) -> BoxError {
        self.permit.report(&self.classifier.classify(Err(&*error)));
        error
    }
}

impl<S, Req, C> PendingCall for WaitingCall<S, Req, C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
{
    type Future = S::Future;
    type InFlight = SentCall<C>;
    type Permit = ();

    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let ready = ready!(self.service.poll_ready(cx));
        ready.map_err(|error| InFlight::<S::Response>::on_error(&mut self.passed, error.into()))?;
        // The circuit may have opened during the wait for readiness.
        Poll::Ready(self.passed.permit.renew().map_err(|open| open as BoxError))
    }

    fn send(self, (): ()) -> (S::Future, SentCall<C>) {
        let Self { mut service, request, mut passed, scoped } = self;
        passed.permit.sent();
        let future = scope::call_later(scoped, || {
            if scoped {
                scope::note_sent(time::now());
            }
            service.call(request)
        });
        (future, passed)
    }
}

impl<S: Service<Req>, Req, C> fmt::Debug for ResponseFuture<S, Req, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// The result of the last `poll_ready`.
#[derive(Debug, Default)]
pub(super) enum Readiness {
    /// The inner service wasn't polled: a call readies a handle of its own.
    #[default]
    Unready,
    /// The inner service was polled and isn't ready yet: the handle may hold a slot in a queue for
    /// that.
    Pending,
    /// The inner service is ready, and holds whatever its readiness takes, such as a permit.
    Ready,
    /// The inner service failed to get ready. The failure belongs to the call
    /// that comes next, whose circuit must count it.
    Failed(BoxError),
}

/// Waits for a circuit to open while the inner service isn't ready.
///
/// The notification is made when an inner service isn't ready for the first time, and then kept.
#[derive(Debug, Default)]
pub(super) struct OpenedWaiter(Option<Pin<Box<OwnedNotified>>>);

impl OpenedWaiter {
    /// Ready if a circuit has opened since the last poll. Otherwise the task is woken when one
    /// opens.
    pub(super) fn poll(&mut self, opened: &Arc<Notify>, cx: &mut Context<'_>) -> Poll<()> {
        let notified = || Arc::clone(opened).notified_owned();
        let waiter = self.0.get_or_insert_with(|| Box::pin(notified()));
        let opened_since = waiter.as_mut().poll(cx);
        if opened_since.is_ready() {
            waiter.set(notified());
        }
        opened_since
    }
}
