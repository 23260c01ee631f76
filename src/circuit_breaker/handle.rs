use std::sync::Arc;

use super::CircuitStatus;
use super::circuit::Circuit;
use crate::key::{KeyRef, Registry};

/// Looks at a breaker's circuits, and closes them.
///
/// Cheap to clone, and good for as long as it is kept.
#[derive(Clone, Debug)]
pub struct CircuitBreakerHandle {
    circuits: Arc<Registry<Circuit>>,
}

impl CircuitBreakerHandle {
    pub(super) fn new(circuits: Arc<Registry<Circuit>>) -> Self {
        Self { circuits }
    }

    /// How the circuit of calls without a key is: the only one, unless circuits
    /// are kept by key.
    #[must_use]
    pub fn status(&self) -> CircuitStatus {
        self.circuits.common().status()
    }

    /// How the circuit of this key is, if it has one.
    #[must_use]
    pub fn status_of(&self, key: &KeyRef<'_>) -> Option<CircuitStatus> {
        self.circuits.find(key).map(|circuit| circuit.status())
    }

    /// How every circuit is, the one of calls without a key first.
    #[must_use]
    pub fn all(&self) -> Vec<CircuitStatus> {
        self.circuits.all().iter().map(|circuit| circuit.status()).collect()
    }

    /// Closes every circuit and forgets its failures.
    pub fn reset(&self) {
        for circuit in self.circuits.all() {
            circuit.reset();
        }
    }
}
