use std::sync::Arc;

use tower_layer::Layer;

use super::breaker::BreakerState;
use super::{CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerHandle};
use crate::classify::HttpClassifier;
use crate::key::{AllCalls, ByCredential};

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
