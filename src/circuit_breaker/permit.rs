use std::sync::Arc;

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

    /// Reports how the call ended.
    #[inline]
    pub(super) fn report(mut self, verdict: &Verdict) {
        self.reported = true;
        self.circuit.report(self.generation, self.probe, verdict);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.reported {
            self.circuit.abandoned(self.generation, self.probe);
        }
    }
}
