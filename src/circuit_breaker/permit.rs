use std::sync::Arc;

use super::CircuitOpen;
use super::circuit::Circuit;
use crate::classify::{Cause, Verdict};
use crate::scope::CallScope;

/// A call that a circuit let through.
///
/// Dropped without a report, the call was abandoned: it says nothing about the
/// upstream, and a probe gives its slot back. Unless it was sent, and a retry above
/// dropped it for taking too long: that is a timeout.
#[derive(Debug)]
pub(super) struct Permit {
    circuit: Arc<Circuit>,
    generation: u32,
    probe: bool,
    sent: bool,
    reported: bool,
}

impl Permit {
    #[inline]
    pub(super) fn new(circuit: Arc<Circuit>, generation: u32, probe: bool) -> Self {
        Self { circuit, generation, probe, sent: false, reported: false }
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

    /// The call is being sent.
    #[inline]
    pub(super) fn sent(mut self) -> Self {
        self.sent = true;
        self
    }

    /// Reports how the call ended.
    #[inline]
    pub(super) fn report(mut self, verdict: &Verdict) {
        self.report_now(verdict);
    }

    #[inline]
    fn report_now(&mut self, verdict: &Verdict) {
        // The user's closure first: should it panic, the call was abandoned.
        let count = self.circuit.count(verdict);
        self.reported = true;
        self.circuit.report(self.generation, self.probe, count, verdict);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.reported {
            return;
        }
        if self.sent && CallScope::has_expired() {
            self.report_now(&Verdict::transient().cause_is(Cause::Timeout));
        } else {
            self.circuit.abandoned(self.generation, self.probe);
        }
    }
}
