use std::sync::Arc;

use super::CircuitOpen;
use super::circuit::Circuit;
use crate::classify::Verdict;

/// A call that a circuit let through.
///
/// Dropped without a report, the call was abandoned: it says nothing about the
/// upstream, and a probe gives its slot back.
#[derive(Debug)]
pub(super) struct Permit {
    circuit: Arc<Circuit>,
    generation: u32,
    probe: bool,
    reported: bool,
}

impl Permit {
    #[inline]
    pub(super) fn new(circuit: Arc<Circuit>, generation: u32, probe: bool) -> Self {
        Self { circuit, generation, probe, reported: false }
    }

    /// Asks again just before a call that had to wait is sent: the same permit if
    /// nothing has changed, else what the circuit says now.
    pub(super) fn renew(mut self) -> Result<Self, CircuitOpen> {
        if self.circuit.is_at(self.generation) {
            return Ok(self);
        }
        // Of a state that is past, this one holds nothing, and nothing was sent.
        self.reported = true;
        self.circuit.admit()
    }

    /// Reports how the call ended.
    #[inline]
    pub(super) fn report(mut self, verdict: &Verdict) {
        // The user's closure first: should it panic, the call was abandoned.
        let count = self.circuit.count(verdict);
        self.reported = true;
        self.circuit.report(self.generation, self.probe, count, verdict);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.reported {
            self.circuit.abandoned(self.generation, self.probe);
        }
    }
}
