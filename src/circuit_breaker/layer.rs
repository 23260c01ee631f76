use std::sync::Arc;

use tower_layer::Layer;

use super::breaker::BreakerState;
use super::{CircuitBreaker, CircuitBreakerHandle};
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
        let Self { classifier, key, credential, breaker } = self.clone();
        CircuitBreaker::new(inner, breaker, (classifier, key, credential))
    }
}
