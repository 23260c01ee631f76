use std::sync::Arc;

use super::circuit::{Circuit, ShardedCircuit, SharedConfig};
use super::shared_state::StateChange;
use crate::key::{KeyRef, LastKey, Registry};
use crate::time;

/// The circuits of all keys, and what they share.
#[derive(Debug)]
pub(super) struct Circuits {
    registry: Registry<ShardedCircuit>,
    /// Whether calls without a key share a circuit. Not where the keys are credentials.
    shares: bool,
    pub(super) common: Arc<SharedConfig>,
}

impl Circuits {
    pub(super) fn new(name: Arc<str>, max_keys: usize, common: SharedConfig, shares: bool) -> Self {
        let common = Arc::new(common);
        let for_circuits = Arc::clone(&common);
        let registry = Registry::new(max_keys, move |key| {
            ShardedCircuit::new(Circuit::new(key.name_in(&name), Arc::clone(&for_circuits)))
        });
        Self { registry, shares, common }
    }

    /// The circuit of this key. `last` saves the look-up if it is the one that was called last.
    #[inline]
    pub(super) fn by_last<'a>(
        &'a self,
        key: KeyRef<'_>,
        last: &'a mut LastKey<ShardedCircuit>,
    ) -> &'a ShardedCircuit {
        self.registry.by_last(key, last)
    }

    /// The key's own circuit, made if it is new. `None` without a key, or without room for one
    /// more.
    pub(super) fn get_own(&self, key: &KeyRef<'_>) -> Option<Arc<ShardedCircuit>> {
        let circuit = self.registry.get(key);
        (!self.is_shared(&circuit)).then_some(circuit)
    }

    fn is_shared(&self, circuit: &Arc<ShardedCircuit>) -> bool {
        Arc::ptr_eq(circuit, self.registry.common())
    }

    /// The key's own circuit, if it has one already.
    pub(super) fn find_own(&self, key: &KeyRef<'_>) -> Option<Arc<ShardedCircuit>> {
        self.find(key).filter(|circuit| !self.is_shared(circuit))
    }

    pub(super) fn find(&self, key: &KeyRef<'_>) -> Option<Arc<ShardedCircuit>> {
        self.registry.find(key)
    }

    /// The circuit of calls without a key.
    pub(super) fn shared(&self) -> &ShardedCircuit {
        self.registry.common()
    }

    /// All circuits. The one of calls without a key comes first, if they have one.
    pub(super) fn all(&self) -> Vec<Arc<ShardedCircuit>> {
        let mut all = self.registry.all();
        all.drain(..usize::from(!self.shares));
        all
    }

    /// Whether any circuit that was called lately isn't closed.
    pub(super) fn is_any_open(&self) -> bool {
        self.common.open_circuits.is_any()
    }

    /// Looks periodically for circuits without callers, so that they no longer count as open.
    /// An open circuit of a host that is gone for good must not end the backpressure for all
    /// others.
    pub(super) fn release_idle(&self) {
        let now = time::now();
        if self.common.is_turn_to_look(now) {
            self.all().iter().for_each(|circuit| circuit.release_if_idle(now));
        }
    }

    /// Clears the counts of closed circuits.
    pub(super) fn reset_counts(&self) {
        let now = time::now();
        self.all().iter().for_each(|circuit| circuit.reset_counts(now));
    }

    /// Holds every circuit open or closed, also those of new keys. Returns the changes, for the
    /// caller to emit.
    pub(super) fn force(&self, open: bool) -> Vec<Change> {
        // First: a circuit that is made meanwhile sees this, or is among those changed below.
        self.common.force(Some(open));
        self.change_all(|circuit| circuit.force(open))
    }

    /// Closes every circuit and clears its counts. Returns the changes, for the caller to emit.
    pub(super) fn reset(&self) -> Vec<Change> {
        self.common.force(None);
        self.change_all(Circuit::reset)
    }

    fn change_all(&self, change: impl Fn(&Circuit) -> StateChange) -> Vec<Change> {
        let changed = |circuit: Arc<ShardedCircuit>| {
            let changed = change(&circuit);
            Change { circuit, changed }
        };
        self.all().into_iter().map(changed).collect()
    }
}

/// A change of a circuit that is not emitted yet.
pub(super) struct Change {
    circuit: Arc<ShardedCircuit>,
    changed: StateChange,
}

impl Change {
    /// Emits the change. The caller holds no lock.
    pub(super) fn emit(self) {
        self.circuit.emit_change(self.changed);
    }
}
