//! One circuit, shared by all calls that go through it.

use std::sync::Arc;
use std::time::Duration;

use super::Count;
use super::common::Common;
use super::gate::{Admitted, Changed, Gate};
use super::machine::Admission;
use super::permit::Permit;
use super::reason::Why;
use super::shut::Shut;
use super::stats::{LastFailure, Tally, Totals};
use super::status::CircuitStatus;
use crate::error::{CircuitOpen, CircuitState, OpenReason};
use crate::event::{CircuitRejected, CircuitWouldReject};
use crate::key::Keyed;
use crate::sharded::{ShardRef, ShardedArc};
use crate::time::{self, Instant};
use crate::verdict::{Cause, Verdict};

/// The [`Gate`] decides. The circuit around it has the name, reads the clock, keeps totals and
/// tells observers.
#[derive(Debug)]
pub(super) struct Circuit {
    gate: Gate,
    last_failure: LastFailure,
    shut: Shut,
    name: Arc<str>,
    common: Arc<Common>,
    /// True if a success only has to be counted: default counting, and no call is timed.
    plain: bool,
}

/// A circuit whose references and statistics are kept by each thread.
pub(super) type ShardedCircuit = ShardedArc<Circuit, Tally>;

/// A call's reference to its circuit.
pub(super) type CircuitHandle = ShardRef<Circuit, Tally>;

const FORCED: Why = Why { reason: OpenReason::Forced, cause: Cause::Unknown };

impl Circuit {
    pub(super) fn new(name: Arc<str>, common: Arc<Common>) -> Self {
        let now = time::now();
        let gate = Gate::new(&common.rules, Arc::clone(&common.tripped), common.random(), now);
        if let Some(open) = common.forced() {
            // Not told: the circuit was never in another state, and it is made under the registry's
            // lock.
            gate.force(open, FORCED, now);
        }
        let (last_failure, plain) = (LastFailure::new(now), common.rules.are_plain());
        Self { gate, last_failure, shut: Shut::new(), name, common, plain }
    }

    #[inline]
    pub(super) fn common(&self) -> &Common {
        &self.common
    }

    /// Returns the generation if every call passes and a success only has to be counted.
    #[inline]
    pub(super) fn passes_plainly(&self) -> Option<u32> {
        self.gate.passes_all().filter(|_| self.plain)
    }

    /// Lets a call through, or says why not.
    #[inline]
    pub(super) fn admit(circuit: &ShardedCircuit) -> Result<Permit, Box<CircuitOpen>> {
        match circuit.gate.passes_all() {
            Some(generation) => Ok(Permit::new(circuit.shard_ref(), generation, false)),
            None => circuit.admit_slowly(|| circuit.shard_ref()),
        }
    }

    /// Asks again for a call that already has a handle.
    pub(super) fn admit_again(handle: &CircuitHandle) -> Result<Permit, Box<CircuitOpen>> {
        handle.admit_slowly(|| handle.clone())
    }

    #[cold]
    fn admit_slowly(
        &self,
        handle: impl FnOnce() -> CircuitHandle,
    ) -> Result<Permit, Box<CircuitOpen>> {
        let now = time::now();
        let generation = self.gate.generation();
        match self.shut.reject(generation, now) {
            Some(open) => self.turn_away(generation, open),
            None => self.admit_by_gate(handle, now),
        }
    }

    #[inline(never)]
    fn admit_by_gate(
        &self,
        handle: impl FnOnce() -> CircuitHandle,
        now: Instant,
    ) -> Result<Permit, Box<CircuitOpen>> {
        let rules = &self.common.rules;
        let Admitted { admission, generation, state, changed } = self.gate.admit(rules, now);
        match admission {
            Admission::Pass { probe } => {
                let permit = Permit::new(handle(), generation, probe);
                // With the permit in hand: should an observer panic, dropping it gives a probe's
                // place back. A state change made by `admit` always comes with a pass, so it is
                // told only here.
                self.tell_change(changed);
                Ok(permit)
            }
            Admission::Reject { .. } if rules.dry_run => {
                let reason = changed.why.map_or(OpenReason::Forced, |why| why.reason);
                let event = || CircuitWouldReject::new(&self.name, generation, reason);
                self.common.audience.emit(event);
                Ok(Permit::uncounted(handle(), generation))
            }
            Admission::Reject { until } => {
                if let Some(until) = until {
                    self.shut.remember(generation, (now, until), changed.why, &self.name);
                }
                let open = rejection(&self.name, state, changed.why, now, until);
                self.turn_away(generation, open)
            }
        }
    }

    #[inline]
    fn turn_away(
        &self,
        generation: u32,
        open: Box<CircuitOpen>,
    ) -> Result<Permit, Box<CircuitOpen>> {
        let (reason, retry_after) = (open.reason(), open.retry_after());
        let event = || CircuitRejected::new(&self.name, generation, reason, retry_after);
        self.common.audience.emit(event);
        Err(open)
    }

    /// Whether calls are timed.
    #[inline]
    pub(super) fn times_calls(&self) -> bool {
        !self.plain && self.common.rules.times_calls()
    }

    /// Whether it is still in the state that granted a permit of this generation.
    pub(super) fn is_at(&self, generation: u32) -> bool {
        self.gate.is_at(generation)
    }

    /// What a verdict counts as here.
    pub(super) fn count(&self, verdict: &Verdict) -> Count {
        self.common.rules.counting.count(verdict)
    }

    /// Takes in a success in the common case: nothing has failed, and no call is timed. Returns
    /// whether it did; if not, [`report`](Self::report) must. That comes to the same, in four times
    /// the instructions.
    #[inline]
    pub(super) fn succeeded(&self, generation: u32) -> bool {
        self.plain && self.gate.succeed(generation, time::now)
    }

    /// Takes in how a call that was let through has ended, and how long it took if calls are timed.
    pub(super) fn report(
        &self,
        (generation, probe): (u32, bool),
        count: Count,
        verdict: &Verdict,
        took: Option<Duration>,
    ) {
        let rules = &self.common.rules;
        if count == Count::Failure {
            self.last_failure.is_at(time::now());
        }
        let slow = rules.is_slow(took);
        if probe {
            return self.probed(generation, count, slow, verdict);
        }
        if count == Count::Neutral {
            return;
        }
        if slow || count == Count::Failure {
            self.gate.note(rules, generation, verdict.hint().retry_after, time::now());
        }
        if let Some(reason) = self.gate.count(rules, generation, (count, slow), time::now) {
            self.trip(generation, reason, verdict);
        }
    }

    /// A call was dropped before it ended. A probe gives its place back.
    pub(super) fn abandoned(&self, generation: u32, probe: bool) {
        if probe {
            let (rules, ended) = (&self.common.rules, (Count::Neutral, None));
            self.tell_change(self.gate.probed(rules, generation, ended, None, time::now()));
        }
    }

    #[cold]
    fn trip(&self, generation: u32, reason: OpenReason, verdict: &Verdict) {
        let rules = &self.common.rules;
        let reason = rules.counting.reason(reason, verdict).unwrap_or(reason);
        let why = Why { reason, cause: verdict.cause() };
        self.tell_change(self.gate.trip(rules, generation, why, time::now()));
    }

    #[cold]
    fn probed(&self, generation: u32, count: Count, slow: bool, verdict: &Verdict) {
        let rules = &self.common.rules;
        let count = match rules.counting.of_probe(count, verdict) {
            // An upstream that is still too slow isn't back.
            Count::Success if slow => Count::Failure,
            count => count,
        };
        let reason = rules.counting.reason(OpenReason::Probe, verdict);
        let why = reason.map(|reason| Why { reason, cause: verdict.cause() });
        let ended = (count, verdict.hint().retry_after);
        self.tell_change(self.gate.probed(rules, generation, ended, why, time::now()));
    }

    /// Closes the circuit and forgets its failures. Returns the change, for the caller to tell.
    pub(super) fn reset(&self) -> Changed {
        self.gate.reset(time::now())
    }

    /// Forgets what a closed circuit has counted.
    pub(super) fn forget_results(&self, now: Instant) {
        self.gate.forget_results(now);
    }

    /// Holds it open or closed until it is reset. Returns the change, for the caller to tell.
    pub(super) fn force(&self, open: bool) -> Changed {
        self.gate.force(open, FORCED, time::now())
    }

    /// Stops counting as tripped if nobody has called this circuit for long: a tripped one changes
    /// [`poll_ready`](super::CircuitBreaker) for the calls of all circuits. It stays open, and its
    /// next call is a probe.
    pub(super) fn release_if_idle(&self, now: Instant) {
        self.gate.release_if_idle(&self.common.rules, self.last_failure.get(), now);
    }

    /// Tells of a change of state. The caller holds no lock.
    pub(super) fn tell_change(&self, changed: Changed) {
        if changed.transition.is_some_and(|transition| transition.to.is_open()) {
            self.common.opened.notify_waiters();
        }
        self.common.audience.tell_change(&self.name, changed);
    }

    /// The circuit's status, with these totals of its calls.
    fn status(&self, totals: Totals) -> CircuitStatus {
        let now = time::now();
        let glance = self.gate.glance(&self.common.rules);
        CircuitStatus {
            name: Arc::clone(&self.name),
            at: now,
            state: glance.state,
            generation: glance.generation,
            since: glance.since,
            until: glance.until,
            reason: glance.why.map(|why| why.reason),
            cause: glance.why.map_or(Cause::Unknown, |why| why.cause),
            calls: totals.calls,
            successes: totals.successes,
            // One of the two counts is zero unless both policies are on.
            failure_count: glance.counts.consecutive.max(glance.counts.leaky),
            last_failure: self.last_failure.get(),
        }
    }
}

impl ShardedCircuit {
    /// The circuit's status, with the totals of all threads.
    pub(super) fn status(&self) -> CircuitStatus {
        Circuit::status(self, Totals::of(self.locals()))
    }
}

impl Keyed for ShardedCircuit {
    /// Only calls in flight hold a handle. Services that called it last keep other references, and
    /// may never call it again.
    fn is_referenced(circuit: &Arc<Self>) -> bool {
        Self::is_referenced(circuit)
    }

    /// A circuit that failed lately is kept, whatever its state. One that failed long ago, even if
    /// it is open, must not take a place for ever.
    fn retires(&self, now: Instant) -> bool {
        self.gate.is_past(&self.common.rules, self.last_failure.get(), now)
    }
}

/// Returns the rejection by a circuit in this state. `until` is the time at which a call may pass.
pub(super) fn rejection(
    circuit: &Arc<str>,
    state: CircuitState,
    why: Option<Why>,
    now: Instant,
    until: Option<Instant>,
) -> Box<CircuitOpen> {
    let mut open = CircuitOpen::new(Arc::clone(circuit)).with_state(state);
    if let Some(Why { reason, cause }) = why {
        open = open.with_reason(reason, cause);
    }
    if let Some(until) = until {
        open = open.with_retry_after(until.saturating_duration_since(now));
    }
    Box::new(open)
}
