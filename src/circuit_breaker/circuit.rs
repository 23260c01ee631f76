//! One circuit, shared by all calls that go through it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::CallResult;
use super::config::{Config, OpenCause};
use super::count::CredentialRejections;
use super::observers::CircuitObservers;
use super::permit::CircuitPermit;
use super::shared_state::{Admitted, AtomicState, OpenCircuitCount, StateChange};
use super::state_machine::Admission;
use super::status::{CallCounters, CallTotals, CircuitStatus, LastFailure};
use crate::error::{CircuitOpen, CircuitState, OpenReason};
use crate::event::{CircuitRejected, CircuitWouldReject};
use crate::key::Keyed;
use crate::random::RandomSource;
use crate::sharded::{ShardRef, ShardedArc};
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::{self, Instant, TimeOrigin};
use crate::verdict::{Cause, Verdict};

/// One circuit: its [`AtomicState`] with a name, totals and observers. The circuit reads the clock and
/// emits the events; the state decides.
#[derive(Debug)]
pub(super) struct Circuit {
    shared_state: AtomicState,
    last_failure: LastFailure,
    name: Arc<str>,
    common: Arc<SharedConfig>,
    /// True if a success only has to be counted: default counting, and no call is timed.
    plain: bool,
}

/// A circuit whose references and statistics are kept by each thread.
pub(super) type ShardedCircuit = ShardedArc<Circuit, CallCounters>;

/// A call's reference to its circuit.
pub(super) type CircuitHandle = ShardRef<Circuit, CallCounters>;

const FORCED: OpenCause = OpenCause { reason: OpenReason::Forced, cause: Cause::Unknown };

impl Circuit {
    pub(super) fn new(name: Arc<str>, common: Arc<SharedConfig>) -> Self {
        let now = time::now();
        let shared_state = AtomicState::new(
            &common.config,
            Arc::clone(&common.open_circuits),
            common.random(),
            now,
        );
        if let Some(open) = common.forced() {
            // No event: the circuit was never in another state, and the registry's lock is held.
            shared_state.force(open, FORCED, now);
        }
        let (last_failure, plain) = (LastFailure::new(now), common.config.are_plain());
        Self { shared_state, last_failure, name, common, plain }
    }

    pub(super) fn common(&self) -> &SharedConfig {
        &self.common
    }

    /// Returns the generation if every call passes and a success only has to be counted.
    #[inline]
    pub(super) fn passes_plainly(&self) -> Option<u32> {
        self.shared_state.passes_all().filter(|_| self.plain)
    }

    /// Returns a permit for a call, or its rejection.
    pub(super) fn admit(circuit: &ShardedCircuit) -> Result<CircuitPermit, Box<CircuitOpen>> {
        match circuit.shared_state.passes_all() {
            Some(generation) => Ok(CircuitPermit::new(circuit.shard_ref(), generation, false)),
            None => circuit.admit_locked(|| circuit.shard_ref()),
        }
    }

    /// Returns a new permit for a call that already has a handle.
    pub(super) fn admit_again(handle: &CircuitHandle) -> Result<CircuitPermit, Box<CircuitOpen>> {
        handle.admit_locked(|| handle.clone())
    }

    fn admit_locked(
        &self,
        handle: impl FnOnce() -> CircuitHandle,
    ) -> Result<CircuitPermit, Box<CircuitOpen>> {
        let now = time::now();
        let config = &self.common.config;
        let Admitted { admission, generation, state, changed } =
            self.shared_state.admit(config, now);
        match admission {
            Admission::Pass { probe } => {
                let permit = CircuitPermit::new(handle(), generation, probe);
                // Emitted while the permit exists: if an observer panics, dropping the permit
                // releases the probe's slot. Only a call that passes changes the state here.
                self.emit_change(changed);
                Ok(permit)
            }
            Admission::Reject { .. } if config.dry_run => {
                let reason =
                    changed.open_cause.map_or(OpenReason::Forced, |open_cause| open_cause.reason);
                let event = || CircuitWouldReject::new(&self.name, generation, reason);
                self.common.observers.emit(event);
                Ok(CircuitPermit::uncounted(handle(), generation))
            }
            Admission::Reject { until } => {
                let open = rejection(&self.name, state, changed.open_cause, now, until);
                let (reason, retry_after) = (open.reason(), open.retry_after());
                let event = || CircuitRejected::new(&self.name, generation, reason, retry_after);
                self.common.observers.emit(event);
                Err(Box::new(open))
            }
        }
    }

    /// Whether calls are timed.
    pub(super) fn times_calls(&self) -> bool {
        !self.plain && self.common.config.times_calls()
    }

    /// Whether it is still in the state that granted a permit of this generation.
    pub(super) fn is_at(&self, generation: u32) -> bool {
        self.shared_state.is_at(generation)
    }

    /// What a verdict counts as here.
    pub(super) fn count(&self, verdict: &Verdict) -> CallResult {
        self.common.config.counting.count(verdict)
    }

    /// Records a success without the lock if nothing has failed and no call is timed. Returns false
    /// if [`report`](Self::report) must record it.
    #[inline]
    pub(super) fn succeeded(&self, generation: u32) -> bool {
        self.plain && self.shared_state.succeed(generation, time::now)
    }

    /// Records the result of an admitted call, and its duration if calls are timed.
    pub(super) fn report(
        &self,
        (generation, probe): (u32, bool),
        count: CallResult,
        verdict: &Verdict,
        took: Option<Duration>,
    ) {
        let config = &self.common.config;
        if count == CallResult::Failure {
            self.last_failure.record(time::now());
        }
        let slow = config.is_slow(took);
        if probe {
            return self.probed(generation, count, slow, verdict);
        }
        if count == CallResult::Neutral {
            return;
        }
        if slow || count == CallResult::Failure {
            self.shared_state.note(config, generation, verdict.hint().retry_after, time::now());
        }
        if let Some(reason) = self.shared_state.count(config, generation, (count, slow), time::now)
        {
            self.trip(generation, reason, verdict);
        }
    }

    /// Releases the slot of a probe that was dropped before it ended.
    pub(super) fn abandoned(&self, generation: u32, probe: bool) {
        if probe {
            let (config, ended) = (&self.common.config, (CallResult::Neutral, None));
            self.emit_change(self.shared_state.probed(
                config,
                generation,
                ended,
                None,
                time::now(),
            ));
        }
    }

    fn trip(&self, generation: u32, reason: OpenReason, verdict: &Verdict) {
        let config = &self.common.config;
        let reason = config.counting.reason(reason, verdict).unwrap_or(reason);
        let open_cause = OpenCause { reason, cause: verdict.cause() };
        self.emit_change(self.shared_state.trip(config, generation, open_cause, time::now()));
    }

    fn probed(&self, generation: u32, count: CallResult, slow: bool, verdict: &Verdict) {
        let config = &self.common.config;
        let count = match config.counting.of_probe(count, verdict) {
            // A slow upstream has not recovered.
            CallResult::Success if slow => CallResult::Failure,
            count => count,
        };
        let reason = config.counting.reason(OpenReason::Probe, verdict);
        let open_cause = reason.map(|reason| OpenCause { reason, cause: verdict.cause() });
        let ended = (count, verdict.hint().retry_after);
        self.emit_change(self.shared_state.probed(
            config,
            generation,
            ended,
            open_cause,
            time::now(),
        ));
    }

    /// Closes the circuit and clears its counts. Returns the change, for the caller to emit.
    pub(super) fn reset(&self) -> StateChange {
        self.shared_state.reset(time::now())
    }

    /// Clears the counts of a closed circuit.
    pub(super) fn reset_counts(&self, now: Instant) {
        self.shared_state.reset_counts(now);
    }

    /// Holds the circuit open or closed until a reset. Returns the change, for the caller to emit.
    pub(super) fn force(&self, open: bool) -> StateChange {
        self.shared_state.force(open, FORCED, time::now())
    }

    /// Stops counting as open if the circuit has had no calls for long: an open one changes
    /// [`poll_ready`](super::CircuitBreaker) for the calls of all circuits. It stays open, and its
    /// next call is a probe.
    pub(super) fn release_if_idle(&self, now: Instant) {
        self.shared_state.release_if_idle(&self.common.config, self.last_failure.get(), now);
    }

    /// Emits a change of state. The caller holds no lock.
    pub(super) fn emit_change(&self, changed: StateChange) {
        if changed.transition.is_some_and(|transition| transition.to.is_open()) {
            self.common.opened.notify_waiters();
        }
        self.common.observers.emit_change(&self.name, changed);
    }

    /// The circuit's status, with these totals of its calls.
    fn status(&self, totals: CallTotals) -> CircuitStatus {
        let now = time::now();
        let snapshot = self.shared_state.snapshot(&self.common.config);
        CircuitStatus {
            name: Arc::clone(&self.name),
            at: now,
            state: snapshot.state,
            generation: snapshot.generation,
            since: snapshot.since,
            until: snapshot.until,
            reason: snapshot.open_cause.map(|open_cause| open_cause.reason),
            cause: snapshot.open_cause.map_or(Cause::Unknown, |open_cause| open_cause.cause),
            calls: totals.calls,
            successes: totals.successes,
            // One of the two counts is zero unless both policies are on.
            failure_count: snapshot.counts.consecutive.max(snapshot.counts.leaky),
            last_failure: self.last_failure.get(),
        }
    }
}

impl ShardedCircuit {
    /// The circuit's status, with the totals of all threads.
    pub(super) fn status(&self) -> CircuitStatus {
        Circuit::status(self, CallTotals::of(self.locals()))
    }
}

impl Keyed for ShardedCircuit {
    /// Only calls in flight hold a handle. Services that called it last keep other references, and
    /// may never call it again.
    fn is_referenced(circuit: &Arc<Self>) -> bool {
        Self::is_referenced(circuit)
    }

    /// A circuit that failed lately is kept, whatever its state. One that failed long ago, even if
    /// it is open, must not take a slot for ever.
    fn retires(&self, now: Instant) -> bool {
        self.shared_state.is_past(&self.common.config, self.last_failure.get(), now)
    }
}

/// Returns the rejection by a circuit in this state. `until` is the time at which a call may pass.
fn rejection(
    circuit: &Arc<str>,
    state: CircuitState,
    open_cause: Option<OpenCause>,
    now: Instant,
    until: Option<Instant>,
) -> CircuitOpen {
    let mut open = CircuitOpen::new(Arc::clone(circuit)).with_state(state);
    if let Some(OpenCause { reason, cause }) = open_cause {
        open = open.with_reason(reason, cause);
    }
    if let Some(until) = until {
        open = open.with_retry_after(until.saturating_duration_since(now));
    }
    open
}

/// What all circuits of one layer share.
#[derive(Debug)]
pub(super) struct SharedConfig {
    pub(super) config: Config,
    pub(super) observers: CircuitObservers,
    pub(super) refusals: Arc<CredentialRejections>,
    pub(super) open_circuits: Arc<OpenCircuitCount>,
    /// Notified when a circuit opens: wakes tasks that wait in `poll_ready` for the inner service.
    pub(super) opened: Arc<Notify>,
    /// How circuits of new keys are held: open (`true`), closed (`false`) or neither.
    forced: Mutex<Option<bool>>,
    random: RandomSource,
    start: TimeOrigin,
    /// When circuits that nobody calls are looked for next, in nanoseconds from `start`.
    next_look: AtomicU64,
}

impl SharedConfig {
    /// How often circuits that nobody calls are looked for.
    const LOOK_EVERY: Duration = Duration::from_secs(60);

    pub(super) fn new(
        config: Config,
        observers: CircuitObservers,
        random: RandomSource,
        refusals: Arc<CredentialRejections>,
    ) -> Self {
        Self {
            config,
            observers,
            refusals,
            open_circuits: Arc::new(OpenCircuitCount::new()),
            opened: Arc::new(Notify::new()),
            forced: Mutex::default(),
            random,
            start: TimeOrigin::new(time::now()),
            next_look: AtomicU64::new(0),
        }
    }

    /// Whether it is this caller's turn to look for circuits that nobody calls.
    pub(super) fn is_turn_to_look(&self, now: Instant) -> bool {
        let now = self.start.nanos(now);
        let due = self.next_look.load(Ordering::Acquire);
        let next = now.saturating_add(time::nanos(Self::LOOK_EVERY));
        now >= due
            && self
                .next_look
                .compare_exchange(due, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    /// How new circuits are held: open (`true`), closed (`false`) or neither.
    pub(super) fn forced(&self) -> Option<bool> {
        *self.forced.lock()
    }

    pub(super) fn force(&self, open: Option<bool>) {
        *self.forced.lock() = open;
    }

    /// A source of random numbers for one circuit.
    pub(super) fn random(&self) -> fastrand::Rng {
        self.random.draw(fastrand::Rng::fork)
    }
}
