use std::sync::Arc;

use super::circuit::{Circuit, SpreadCircuit};
use super::common::Common;
use super::gate::Changed;
use crate::key::{KeyRef, Last, Registry};
use crate::sync::Mutex;
use crate::time;

/// The circuits of all keys, and what they share.
#[derive(Debug)]
pub(super) struct Circuits {
    registry: Registry<SpreadCircuit>,
    /// Whether calls without a key have a circuit, too: as credentials they have none.
    shares: bool,
    /// One after the other changes all circuits: none is left as only one of two wanted it.
    pub(super) turn: Mutex<()>,
    pub(super) common: Arc<Common>,
}

impl Circuits {
    pub(super) fn new(name: Arc<str>, max_keys: usize, common: Common, shares: bool) -> Self {
        let common = Arc::new(common);
        let for_circuits = Arc::clone(&common);
        let registry = Registry::new(max_keys, move |key| {
            SpreadCircuit::new(Circuit::new(key.name_in(&name), Arc::clone(&for_circuits)))
        });
        Self { registry, shares, turn: Mutex::default(), common }
    }

    /// The circuit of a call with this key, by way of the one that was called last.
    #[inline]
    pub(super) fn by_last<'a>(
        &'a self,
        key: KeyRef<'_>,
        last: &'a mut Last<SpreadCircuit>,
    ) -> &'a SpreadCircuit {
        self.registry.by_last(key, last)
    }

    /// The circuit that is this key's alone: none without a key, or a place for it.
    pub(super) fn get_own(&self, key: &KeyRef<'_>) -> Option<Arc<SpreadCircuit>> {
        let circuit = self.registry.get(key);
        (!self.is_shared(&circuit)).then_some(circuit)
    }

    fn is_shared(&self, circuit: &Arc<SpreadCircuit>) -> bool {
        Arc::ptr_eq(circuit, self.registry.common())
    }

    /// The circuit that is this key's alone, if it has one.
    pub(super) fn find_own(&self, key: &KeyRef<'_>) -> Option<Arc<SpreadCircuit>> {
        self.find(key).filter(|circuit| !self.is_shared(circuit))
    }

    pub(super) fn find(&self, key: &KeyRef<'_>) -> Option<Arc<SpreadCircuit>> {
        self.registry.find(key)
    }

    /// The circuit of calls without a key.
    pub(super) fn shared(&self) -> &SpreadCircuit {
        self.registry.common()
    }

    /// The one of calls without a key first, unless they have none.
    pub(super) fn all(&self) -> Vec<Arc<SpreadCircuit>> {
        let mut all = self.registry.all();
        all.drain(..usize::from(!self.shares));
        all
    }

    /// Whether a circuit isn't closed that has been called lately.
    #[inline]
    pub(super) fn is_any_tripped(&self) -> bool {
        self.common.tripped.is_any()
    }

    /// Looks now and then for circuits that nobody calls: one of a host that is gone
    /// for good must not end the backpressure for all others.
    pub(super) fn look_for_rest(&self) {
        let now = time::now();
        if self.common.looks_for_rest(now) {
            self.all().iter().for_each(|circuit| circuit.rest(now));
        }
    }

    /// Forgets what closed circuits have counted.
    pub(super) fn forget_results(&self) {
        let now = time::now();
        self.all().iter().for_each(|circuit| circuit.forget_results(now));
    }

    /// Holds every circuit open or closed, also those of new keys; what is to be told of it.
    pub(super) fn force(&self, open: bool) -> Vec<Change> {
        // First: a circuit that is made meanwhile sees it, or is among all.
        self.common.force(Some(open));
        self.change_all(|circuit| circuit.force(open))
    }

    /// Closes every circuit and forgets its failures; what is to be told of it.
    pub(super) fn reset(&self) -> Vec<Change> {
        self.common.force(None);
        self.change_all(Circuit::reset)
    }

    fn change_all(&self, change: impl Fn(&Circuit) -> Changed) -> Vec<Change> {
        let changed = |circuit: Arc<SpreadCircuit>| {
            let changed = change(&circuit);
            Change { circuit, changed }
        };
        self.all().into_iter().map(changed).collect()
    }
}

/// What was done to a circuit, and isn't told yet.
pub(super) struct Change {
    circuit: Arc<SpreadCircuit>,
    changed: Changed,
}

impl Change {
    /// Tells it; called without a lock.
    pub(super) fn tell(self) {
        self.circuit.tell_change(self.changed);
    }
}
