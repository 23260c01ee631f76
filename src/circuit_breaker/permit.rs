use std::time::Duration;

use super::CallResult;
use super::circuit::{Circuit, CircuitHandle};
use super::count::credential_rejection;
use crate::error::CircuitOpen;
use crate::scope::CallScope;
use crate::time::{self, Instant};
use crate::verdict::{Cause, Verdict};

/// Shows that a circuit let a call through. Small enough to be handed over in registers.
///
/// If it is dropped without a report, the call wasn't made, and a probe's slot is released.
#[derive(Debug)]
pub(super) struct CircuitPermit {
    circuit: CircuitHandle,
    generation: u32,
    probe: bool,
    /// Whether the call's result was reported, or isn't to be.
    reported: bool,
}

impl CircuitPermit {
    #[inline]
    pub(super) fn new(circuit: CircuitHandle, generation: u32, probe: bool) -> Self {
        Self { circuit, generation, probe, reported: false }
    }

    /// For a call that passes only because of a dry run: its result isn't reported.
    pub(super) fn uncounted(circuit: CircuitHandle, generation: u32) -> Self {
        Self { circuit, generation, probe: false, reported: true }
    }

    fn renew(&mut self) -> Result<(), Box<CircuitOpen>> {
        if !self.circuit.is_at(self.generation) {
            // The state that granted it is over, so there is no slot to release and nothing to
            // report.
            self.reported = true;
            *self = Circuit::admit_again(&self.circuit)?;
        }
        Ok(())
    }

    fn times_calls(&self) -> bool {
        self.circuit.times_calls()
    }

    /// Reports a success in the common case, where it changes no state. Returns whether it did.
    #[inline]
    fn succeeded(&mut self) -> bool {
        let succeeded = self.circuit.succeeded(self.generation);
        if succeeded {
            self.reported = true;
            self.circuit.local().success();
        }
        succeeded
    }

    fn report(&mut self, verdict: &Verdict, took: Option<Duration>) {
        // The user's closure first: should it panic, the call isn't reported yet, and counts as
        // abandoned.
        let count = self.circuit.count(verdict);
        self.reported = true;
        self.circuit.local().record(count);
        self.circuit.report((self.generation, self.probe), count, verdict, took);
    }

    /// Releases the probe's slot. No report can follow.
    #[cold]
    fn withdraw(&mut self) {
        if !self.reported {
            self.reported = true;
            self.circuit.abandoned(self.generation, self.probe);
        }
    }

    /// Reports a call that its caller has dropped: it says nothing about the upstream.
    #[cold]
    fn abandon(&mut self) {
        if !self.reported {
            self.circuit.local().record(CallResult::Neutral);
            self.withdraw();
        }
    }

    /// Reports a timeout for a call that its caller dropped after it was sent, if it took too long:
    /// a retry above dropped it for that, or it took `abandoned_after` or longer.
    fn time_out(&mut self, took: Option<Duration>) {
        let longest = self.circuit.common().config.abandoned_after;
        let long = |(took, longest)| took >= longest;
        if CallScope::has_expired() || took.zip(longest).is_some_and(long) {
            self.report(&Verdict::transient().with_cause(Cause::Timeout), took);
        }
    }
}

impl Drop for CircuitPermit {
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
pub(super) struct CallPermit {
    permit: CircuitPermit,
    /// Boxed, since it is rare: every call's future would be larger by it.
    credential: Option<Box<CircuitPermit>>,
    sent: Sent,
}

/// Whether a call has been sent and, if it is timed, when.
#[derive(Clone, Copy, Debug)]
enum Sent {
    No,
    Yes,
    At(Instant),
}

impl CallPermit {
    pub(super) fn new(permit: CircuitPermit, credential: Option<Box<CircuitPermit>>) -> Self {
        Self { permit, credential, sent: Sent::No }
    }

    /// For a call that was sent through a closed circuit, and isn't timed.
    #[inline]
    pub(super) fn sent_untimed(circuit: CircuitHandle, generation: u32) -> Self {
        let permit = CircuitPermit::new(circuit, generation, false);
        Self { permit, credential: None, sent: Sent::Yes }
    }

    /// Asks the circuits again, just before a call that had to wait is sent. Permits of circuits
    /// that haven't changed are kept; the others are decided anew. If one is refused, no report
    /// follows.
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

    #[cold]
    fn report_all(&mut self, verdict: &Verdict) {
        if !self.counts() {
            return;
        }
        let took = self.took();
        self.permit.report(verdict, took);
        if let Some(mut credential) = self.credential.take() {
            credential.report(verdict, took);
        }
        if credential_rejection(verdict).is_some() {
            self.permit.circuit.common().refusals.notice();
        }
    }

    /// Whether the call's result is still to be reported. In a dry run, a call that either circuit
    /// would have rejected counts in neither, since otherwise it would not have been sent.
    fn counts(&self) -> bool {
        let credential = self.credential.as_ref();
        !self.permit.reported && credential.is_none_or(|credential| !credential.reported)
    }

    /// The caller has dropped the call.
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

impl Drop for CallPermit {
    #[inline]
    fn drop(&mut self) {
        if !self.permit.reported {
            self.abandon();
        }
    }
}
