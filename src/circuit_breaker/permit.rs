use std::time::Duration;

use super::CircuitOpen;
use super::circuit::Circuit;
use super::count::refusal;
use crate::classify::{Cause, Verdict};
use crate::scope::CallScope;
use crate::stripe::Handle;
use crate::time::{self, Instant};

/// That a circuit let a call through; small enough to be handed over in registers.
///
/// Dropped without a report, the call was abandoned: it says nothing about the
/// upstream, and a probe gives its slot back.
#[derive(Debug)]
pub(super) struct Permit {
    circuit: Handle<Circuit>,
    generation: u32,
    probe: bool,
    reported: bool,
}

impl Permit {
    #[inline]
    pub(super) fn new(circuit: Handle<Circuit>, generation: u32, probe: bool) -> Self {
        Self { circuit, generation, probe, reported: false }
    }

    fn renew(&mut self) -> Result<(), Box<CircuitOpen>> {
        if !self.circuit.is_at(self.generation) {
            // Of a state that is past, this one holds nothing, and nothing was sent.
            self.reported = true;
            *self = Circuit::admit_again(&self.circuit)?;
        }
        Ok(())
    }

    #[inline]
    fn times_calls(&self) -> bool {
        self.circuit.common().rules.times_calls()
    }

    /// Reports a success if it changes nothing, as most don't; whether it did.
    #[inline]
    fn succeeded(&mut self) -> bool {
        let changes = self.reported || self.probe || !self.circuit.succeeded(self.generation);
        self.reported |= !changes;
        !changes
    }

    fn report(&mut self, verdict: &Verdict, took: Option<Duration>) {
        // The user's closure first: should it panic, the call was abandoned.
        let count = self.circuit.count(verdict);
        self.reported = true;
        self.circuit.report((self.generation, self.probe), count, verdict, took);
    }

    /// Gives back what it holds, and takes no report any more.
    #[cold]
    fn abandon(&mut self) {
        if !self.reported {
            self.reported = true;
            self.circuit.abandoned(self.generation, self.probe);
        }
    }

    /// Reports a call that its caller has dropped after it was sent, if it took too long: a
    /// retry above dropped it for that, or it took as long as the layer was told.
    fn time_out(&mut self, took: Option<Duration>) {
        let longest = self.circuit.common().rules.abandoned_after;
        let long = |(took, longest)| took >= longest;
        if CallScope::has_expired() || took.zip(longest).is_some_and(long) {
            self.report(&Verdict::transient().cause_is(Cause::Timeout), took);
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if !self.reported {
            self.abandon();
        }
    }
}

/// All that lets one call pass: its circuit's permit and, while credentials are
/// watched, its credential's.
#[derive(Debug)]
pub(super) struct Passage {
    permit: Permit,
    /// Boxed, since it is rarely there, and would be carried by every call.
    credential: Option<Box<Permit>>,
    sent: bool,
    /// When it was sent, where it matters how long it takes.
    sent_at: Option<Instant>,
}

impl Passage {
    #[inline]
    pub(super) fn new(permit: Permit, credential: Option<Box<Permit>>) -> Self {
        Self { permit, credential, sent: false, sent_at: None }
    }

    /// Asks again just before a call that had to wait is sent: the same passage if
    /// nothing has changed, else what the circuits say now. A refused one takes no report.
    pub(super) fn renew(&mut self) -> Result<(), Box<CircuitOpen>> {
        let credential = self.credential.as_mut().map_or(Ok(()), |permit| permit.renew());
        let renewed = credential.and_then(|()| self.permit.renew());
        if renewed.is_err() {
            self.credential = None;
            self.permit.abandon();
        }
        renewed
    }

    /// The call is being sent.
    #[inline]
    pub(super) fn sent(&mut self) {
        self.sent = true;
        let credential = self.credential.as_ref().is_some_and(|permit| permit.times_calls());
        if self.permit.times_calls() || credential {
            self.sent_at = Some(time::now());
        }
    }

    fn took(&self) -> Option<Duration> {
        self.sent_at.map(|at| time::now().saturating_duration_since(at))
    }

    /// Reports how the call ended, once.
    #[inline]
    pub(super) fn report(&mut self, verdict: &Verdict) {
        let alone = self.credential.is_none() && self.sent_at.is_none();
        if !(alone && verdict.is_success() && self.permit.succeeded()) {
            self.report_all(verdict);
        }
    }

    fn report_all(&mut self, verdict: &Verdict) {
        if self.permit.reported {
            return;
        }
        let took = self.took();
        self.permit.report(verdict, took);
        if let Some(mut credential) = self.credential.take() {
            credential.report(verdict, took);
        }
        if refusal(verdict).is_some() {
            self.permit.circuit.common().notice_refusal();
        }
    }

    /// It was sent, and its caller has dropped it.
    #[cold]
    fn abandon(&mut self) {
        let took = self.took();
        self.permit.time_out(took);
        if let Some(credential) = &mut self.credential {
            credential.time_out(took);
        }
    }
}

impl Drop for Passage {
    #[inline]
    fn drop(&mut self) {
        if self.sent && !self.permit.reported {
            self.abandon();
        }
    }
}
