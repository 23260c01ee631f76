//! The state of one layer.

use super::circuits::{Change, Circuits};
use super::latch::Latches;
use crate::sync::Mutex;

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
    #[inline]
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
