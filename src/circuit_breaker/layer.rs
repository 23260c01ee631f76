use std::sync::Arc;

use tower_layer::Layer;

use super::circuits::{Change, Circuits};
use super::latch::Latches;
use super::{CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerHandle};
use crate::classify::HttpClassifier;
use crate::key::{AllCalls, ByCredential};
use crate::sync::Mutex;

/// Stops calling an upstream that is down, and finds out when it is back.
///
/// See the [module](super) for what it does and an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct CircuitBreakerLayer<C = HttpClassifier, K = AllCalls, L = ByCredential> {
    pub(super) classifier: C,
    pub(super) key: K,
    pub(super) credential: L,
    pub(super) breaker: Arc<BreakerState>,
}

impl CircuitBreakerLayer {
    /// A breaker that opens after 5 failures in a row, for 30 s, and closes
    /// when one probe succeeds.
    #[allow(clippy::missing_panics_doc)] // the defaults are valid: it never does
    pub fn new() -> Self {
        CircuitBreakerBuilder::new().build().expect("the defaults are valid")
    }

    /// A builder, for all other settings.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new()
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C, K, L> CircuitBreakerLayer<C, K, L> {
    /// A handle to look at the circuits, to close them, and to hold them open or closed.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(Arc::clone(&self.breaker))
    }

    /// How many failures can open a circuit that has seen nothing else.
    pub(crate) fn failures_to_open(&self) -> u32 {
        self.breaker.circuits.common.config.failures_to_open()
    }
}

impl<S, C, K, L> Layer<S> for CircuitBreakerLayer<C, K, L>
where
    S: Clone,
    C: Clone,
    K: Clone,
    L: Clone,
{
    type Service = CircuitBreaker<S, C, K, L>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker::new(inner, self)
    }
}

/// The state of one layer, which all its services share.
#[derive(Debug)]
pub(super) struct BreakerState {
    pub(super) circuits: Circuits,
    pub(super) latches: Option<Latches>,
    /// Serialises changes to all circuits, so that two callers can't leave some as one wanted and
    /// some as the other.
    changing: Mutex<()>,
}

impl BreakerState {
    pub(super) fn new(circuits: Circuits, latches: Option<Latches>) -> Self {
        Self { circuits, latches, changing: Mutex::default() }
    }

    /// Whether calls are checked by their credentials, since one was refused lately.
    pub(super) fn watches_credentials(&self) -> bool {
        self.latches.as_ref().is_some_and(Latches::is_watching)
    }

    /// The circuits of credentials.
    pub(super) fn credentials(&self) -> Option<&Circuits> {
        self.latches.as_ref().map(Latches::circuits)
    }

    /// Changes all circuits, those of credentials too if `latches`. Changes are emitted only
    /// afterwards, without the lock: an observer may change them again.
    pub(super) fn change_all(&self, latches: bool, change: impl Fn(&Circuits) -> Vec<Change>) {
        let changing = self.changing.lock();
        let all = std::iter::once(&self.circuits).chain(self.credentials().filter(|_| latches));
        let changes: Vec<_> = all.flat_map(change).collect();
        drop(changing);
        changes.into_iter().for_each(Change::emit);
    }
}
