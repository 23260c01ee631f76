use std::time::Duration;

use super::circuit::{Circuit, CircuitHandle};
use super::count::refusal;
use super::{CircuitOpen, Count};
use crate::classify::{Cause, Verdict};
use crate::scope::CallScope;
use crate::time::{self, Instant};

/// That a circuit let a call through; small enough to be handed over in registers.
///
/// Dropped without a report, the call wasn't made, and a probe gives its slot back.
#[derive(Debug)]
pub(super) struct Permit {
    circuit: CircuitHandle,
    generation: u32,
    probe: bool,
    /// Whether it has taken its report, or takes none.
    reported: bool,
}

impl Permit {
    #[inline]
    pub(super) fn new(circuit: CircuitHandle, generation: u32, probe: bool) -> Self {
        Self { circuit, generation, probe, reported: false }
    }

    /// Of a call that would have been turned away, but for a dry run: it takes no report.
    pub(super) fn uncounted(circuit: CircuitHandle, generation: u32) -> Self {
        Self { circuit, generation, probe: false, reported: true }
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
        self.circuit.times_calls()
    }

    /// Reports a success if it changes nothing, as most don't; whether it did.
    #[inline]
    fn succeeded(&mut self) -> bool {
        let succeeded = self.circuit.succeeded(self.generation);
        if succeeded {
            self.reported = true;
            self.circuit.part().success();
        }
        succeeded
    }

    fn report(&mut self, verdict: &Verdict, took: Option<Duration>) {
        // The user's closure first: should it panic, the call was abandoned.
        let count = self.circuit.count(verdict);
        self.reported = true;
        self.circuit.part().record(count);
        self.circuit.report((self.generation, self.probe), count, verdict, took);
    }

    /// Gives back what it holds, and takes no report any more.
    #[cold]
    fn withdraw(&mut self) {
        if !self.reported {
            self.reported = true;
            self.circuit.abandoned(self.generation, self.probe);
        }
    }

    /// Reports a call that its caller has dropped: it says nothing about the upstream.
    fn abandon(&mut self) {
        if !self.reported {
            self.circuit.part().record(Count::Neutral);
            self.withdraw();
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
            self.withdraw();
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
    sent: Sent,
}

/// Whether a call has been sent and, where it matters how long it takes, when.
#[derive(Clone, Copy, Debug)]
enum Sent {
    No,
    Yes,
    At(Instant),
}

impl Passage {
    #[inline]
    pub(super) fn new(permit: Permit, credential: Option<Box<Permit>>) -> Self {
        Self { permit, credential, sent: Sent::No }
    }

    /// Of a call that was sent through a closed circuit, for which it doesn't matter how long it
    /// takes.
    #[inline]
    pub(super) fn sent_plainly(circuit: CircuitHandle, generation: u32) -> Self {
        let permit = Permit::new(circuit, generation, false);
        Self { permit, credential: None, sent: Sent::Yes }
    }

    /// Asks again just before a call that had to wait is sent: the same passage if
    /// nothing has changed, else what the circuits say now. A refused one takes no report.
    pub(super) fn renew(&mut self) -> Result<(), Box<CircuitOpen>> {
        let credential = self.credential.as_mut().map_or(Ok(()), |permit| permit.renew());
        let renewed = credential.and_then(|()| self.permit.renew());
        if renewed.is_err() {
            self.credential = None;
            self.permit.withdraw();
        }
        renewed
    }

    /// The call is being sent.
    #[inline]
    pub(super) fn sent(&mut self) {
        let timed = self.permit.times_calls() || self.credential.is_some();
        self.sent = if timed { Sent::At(time::now()) } else { Sent::Yes };
    }

    fn took(&self) -> Option<Duration> {
        match self.sent {
            Sent::At(at) => Some(time::now().saturating_duration_since(at)),
            Sent::No | Sent::Yes => None,
        }
    }

    /// Reports how the call ended, once.
    #[inline]
    pub(super) fn report(&mut self, verdict: &Verdict) {
        let alone = self.credential.is_none();
        if !(alone && verdict.is_success() && self.permit.succeeded()) {
            self.report_all(verdict);
        }
    }

    #[inline(never)]
    fn report_all(&mut self, verdict: &Verdict) {
        if !self.counts() {
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

    /// Whether a report is still to come. What either circuit would have turned away counts in
    /// neither: it would never have been made.
    fn counts(&self) -> bool {
        let credential = self.credential.as_ref();
        !self.permit.reported && credential.is_none_or(|credential| !credential.reported)
    }

    /// Its caller has dropped it.
    #[cold]
    fn abandon(&mut self) {
        if !self.counts() {
            return;
        }
        let (sent, took) = (!matches!(self.sent, Sent::No), self.took());
        let credential = self.credential.as_deref_mut();
        for permit in [Some(&mut self.permit), credential].into_iter().flatten() {
            if sent {
                permit.time_out(took);
            }
            permit.abandon();
        }
    }
}

impl Drop for Passage {
    #[inline]
    fn drop(&mut self) {
        if !self.permit.reported {
            self.abandon();
        }
    }
}
