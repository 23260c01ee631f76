use std::sync::Arc;

use tokio::sync::broadcast;

use super::breaker::BreakerState;
use super::circuits::Circuits;
use super::{CircuitStatus, CircuitTransition};
use crate::key::KeyRef;

/// Looks at a breaker's circuits, closes them, and holds them open or closed.
///
/// Cheap to clone. It works for as long as it is kept, also when the layer is gone.
///
/// ```
/// use std::time::Duration;
/// use tower_upstream::CircuitBreakerLayer;
/// use tower_upstream::circuit_breaker::CircuitState;
/// use tower_upstream::key::KeyRef;
///
/// let breaker = CircuitBreakerLayer::builder().by_authority().build()?;
/// let handle = breaker.handle();
/// // That host is under maintenance: nothing is sent until it is over.
/// let host = KeyRef::text("api.example");
/// assert!(handle.force_open_of(&host));
/// assert_eq!(handle.status_of(&host).unwrap().state, CircuitState::ForcedOpen);
/// assert!(handle.reset_of(&host));
/// // The breaker itself is suspected: it lets everything pass.
/// handle.force_closed();
/// handle.reset();
/// # Ok::<_, tower_upstream::InvalidConfig>(())
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreakerHandle {
    breaker: Arc<BreakerState>,
}

impl CircuitBreakerHandle {
    pub(super) fn new(breaker: Arc<BreakerState>) -> Self {
        Self { breaker }
    }

    /// The circuit's status.
    ///
    /// Where circuits are kept by key, this is the one in the worst state: held open, open,
    /// half-open, ramp-up, closed, held closed. Of several in that state it is the one that
    /// failed last or, if none has failed, the one with the most calls. Its name says which it is.
    #[must_use]
    pub fn status(&self) -> CircuitStatus {
        let worse = |a: CircuitStatus, b: CircuitStatus| if b.rank() > a.rank() { b } else { a };
        self.all().into_iter().fold(self.breaker.circuits.shared().status(), worse)
    }

    /// The status of this key's circuit, if it has one. The key is `KeyRef::text("us-west-2")` for
    /// a region, `KeyRef::text("api.example")` for a host, [`KeyRef::Shared`] for calls without a key.
    #[must_use]
    pub fn status_of(&self, key: &KeyRef<'_>) -> Option<CircuitStatus> {
        self.breaker.circuits.find(key).map(|circuit| circuit.status())
    }

    /// The status of every circuit. The one of calls without a key comes first.
    #[must_use]
    pub fn all(&self) -> Vec<CircuitStatus> {
        self.breaker.circuits.all().iter().map(|circuit| circuit.status()).collect()
    }

    /// The credentials that are [latched](super#latch) or on probation, each shown as a
    /// salted hash.
    #[must_use]
    pub fn latched(&self) -> Vec<CircuitStatus> {
        let all = self.breaker.credentials().map(Circuits::all).unwrap_or_default();
        let statuses = all.iter().map(|circuit| circuit.status());
        statuses.filter(|status| !status.state.passes_all()).collect()
    }

    /// The changes of state from now on, of circuits and of latched credentials.
    ///
    /// A subscriber that is more than 64 behind misses the oldest ones, and learns how many from
    /// tokio's [`Lagged`](broadcast::error::RecvError::Lagged).
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<CircuitTransition> {
        self.breaker.circuits.common.observers.subscribe()
    }

    /// Closes every circuit, also those that are held, lifts every latch, and clears the counts of
    /// failures.
    pub fn reset(&self) {
        self.breaker.change_all(true, Circuits::reset);
    }

    /// Resets one key's circuit, or the latch of a credential (`KeyRef::secret` of its header's
    /// value). Returns false if there is no such key.
    #[must_use]
    pub fn reset_of(&self, key: &KeyRef<'_>) -> bool {
        let latch = self.breaker.credentials().and_then(|circuits| circuits.find_own(key));
        let both = [self.breaker.circuits.find(key), latch];
        let known = both.into_iter().flatten();
        known.map(|circuit| circuit.emit_change(circuit.reset())).count() > 0
    }

    /// Holds every circuit open, also those of new keys: nothing is sent until a reset. A [dry
    /// run](super::CircuitBreakerBuilder::dry_run) only reports this.
    pub fn force_open(&self) {
        self.breaker.change_all(false, |circuits| circuits.force(true));
    }

    /// Holds one key's circuit open until a reset, as [`force_open`](Self::force_open) does all.
    /// Returns false if [the bound on keys](super::CircuitBreakerBuilder::max_keys) leaves it no
    /// circuit of its own.
    #[must_use]
    pub fn force_open_of(&self, key: &KeyRef<'_>) -> bool {
        self.force_one(key, true)
    }

    /// Disables the breaker until a reset: holds every circuit and latch closed, also those of new
    /// keys, so that every call passes and none counts.
    pub fn force_closed(&self) {
        self.breaker.change_all(true, |circuits| circuits.force(false));
    }

    /// Holds one key's circuit closed until a reset. Returns false as does
    /// [`force_open_of`](Self::force_open_of).
    #[must_use]
    pub fn force_closed_of(&self, key: &KeyRef<'_>) -> bool {
        self.force_one(key, false)
    }

    fn force_one(&self, key: &KeyRef<'_>, open: bool) -> bool {
        let circuit = match key {
            KeyRef::Shared => self.breaker.circuits.find(key),
            key => self.breaker.circuits.get_own(key),
        };
        circuit.map(|circuit| circuit.emit_change(circuit.force(open))).is_some()
    }
}
