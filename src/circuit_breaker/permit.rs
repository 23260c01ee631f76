use super::CircuitOpen;
use super::circuit::Circuit;
use super::count::refusal;
use crate::classify::{Cause, Verdict};
use crate::scope::CallScope;
use crate::stripe::Handle;
use crate::time::{self, Instant};

/// A call that a circuit let through.
///
/// Dropped without a report, the call was abandoned: it says nothing about the
/// upstream, and a probe gives its slot back. Unless it was sent, and took too long: a
/// retry above dropped it for that, or it took as long as the layer was told.
#[derive(Debug)]
pub(super) struct Permit {
    circuit: Handle<Circuit>,
    generation: u32,
    probe: bool,
    sent: bool,
    reported: bool,
    /// When it was sent, where it matters how long it takes.
    sent_at: Option<Instant>,
}

impl Permit {
    #[inline]
    pub(super) fn new(circuit: Handle<Circuit>, generation: u32, probe: bool) -> Self {
        Self { circuit, generation, probe, sent: false, reported: false, sent_at: None }
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
    fn sent(&mut self) {
        self.sent = true;
        if self.circuit.common().rules.times_calls() {
            self.sent_at = Some(time::now());
        }
    }

    #[inline]
    fn report(&mut self, verdict: &Verdict) {
        // The user's closure first: should it panic, the call was abandoned.
        let count = self.circuit.count(verdict);
        self.reported = true;
        let took = self.sent_at.map(|at| time::now().saturating_duration_since(at));
        self.circuit.report((self.generation, self.probe), count, verdict, took);
    }

    /// Gives back what it holds, and takes no report any more.
    #[cold]
    fn abandon(&mut self) {
        if self.took_too_long() {
            self.report(&Verdict::transient().cause_is(Cause::Timeout));
        } else {
            self.reported = true;
            self.circuit.abandoned(self.generation, self.probe);
        }
    }

    fn took_too_long(&self) -> bool {
        let longest = self.circuit.common().rules.abandoned_after;
        let long = |(at, longest)| time::now().saturating_duration_since(at) >= longest;
        self.sent && (CallScope::has_expired() || self.sent_at.zip(longest).is_some_and(long))
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
}

impl Passage {
    #[inline]
    pub(super) fn new(permit: Permit, credential: Option<Permit>) -> Self {
        Self { permit, credential: credential.map(Box::new) }
    }

    /// Asks again just before a call that had to wait is sent: the same passage if
    /// nothing has changed, else what the circuits say now. One that is refused takes no
    /// report any more.
    pub(super) fn renew(&mut self) -> Result<(), Box<CircuitOpen>> {
        let credential = self.credential.as_mut().map_or(Ok(()), |permit| permit.renew());
        let renewed = credential.and_then(|()| self.permit.renew());
        if renewed.is_err() {
            self.credential = None;
            if !self.permit.reported {
                self.permit.abandon();
            }
        }
        renewed
    }

    /// The call is being sent.
    #[inline]
    pub(super) fn sent(&mut self) {
        self.permit.sent();
        if let Some(credential) = &mut self.credential {
            credential.sent();
        }
    }

    /// Reports how the call ended, once.
    #[inline]
    pub(super) fn report(&mut self, verdict: &Verdict) {
        if self.permit.reported {
            return;
        }
        self.permit.report(verdict);
        if let Some(mut credential) = self.credential.take() {
            credential.report(verdict);
        }
        if refusal(verdict).is_some() {
            self.permit.circuit.common().notice_refusal();
        }
    }
}
