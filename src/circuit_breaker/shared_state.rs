//! A circuit's state as threads share it.

use std::sync::Arc;
use std::time::Duration;

use super::CallResult;
use super::config::{Config, OpenCause};
use super::packed_state::{Counts, PackedState};
use super::state_machine::{Admission, StateMachine, Transition};
use super::trip::Windows;
use crate::error::{CircuitState, OpenReason};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::time::{self, Instant};

/// The [`StateMachine`], which decides, is behind a lock. The [`PackedState`] shows its state to calls without
/// the lock. The word is written only under the lock, except for the counts of failures, which
/// calls change by [`count`](Self::count).
///
/// It reads no clock and emits no event: its callers do, outside the lock.
#[derive(Debug)]
pub(super) struct AtomicState {
    word: AtomicU64,
    inner: Mutex<LockedState>,
    windows: Option<Windows>,
    open_circuits: Arc<OpenCircuitCount>,
}

/// The decision on a call, and the state that made it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    pub(super) admission: Admission,
    pub(super) generation: u32,
    pub(super) state: CircuitState,
    pub(super) changed: StateChange,
}

/// A change of the state, for the caller to emit.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateChange {
    pub(super) transition: Option<Transition>,
    pub(super) open_cause: Option<OpenCause>,
}

/// The state at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateSnapshot {
    pub(super) state: CircuitState,
    pub(super) generation: u32,
    pub(super) since: Instant,
    pub(super) until: Option<Instant>,
    pub(super) open_cause: Option<OpenCause>,
    pub(super) counts: Counts,
}

impl AtomicState {
    pub(super) fn new(
        config: &Config,
        open_circuits: Arc<OpenCircuitCount>,
        random: fastrand::Rng,
        now: Instant,
    ) -> Self {
        let state_machine = StateMachine::new(now, random);
        let word = PackedState::new(state_machine.generation(), state_machine.state()).pack();
        Self {
            word: AtomicU64::new(word),
            inner: Mutex::new(LockedState::new(state_machine)),
            windows: Windows::new(config.rate, config.slow.map(|slow| slow.rate), now),
            open_circuits,
        }
    }

    /// Returns the generation if every call passes. This is one atomic load.
    pub(super) fn passes_all(&self) -> Option<u32> {
        let word = PackedState::unpack(self.word.load(Ordering::Acquire));
        word.state.passes_all().then_some(word.generation)
    }

    /// Whether it is still in the state that granted a permit of this generation.
    pub(super) fn is_at(&self, generation: u32) -> bool {
        self.generation() == generation
    }

    /// The number of its state.
    pub(super) fn generation(&self) -> u32 {
        PackedState::unpack(self.word.load(Ordering::Acquire)).generation
    }

    pub(super) fn admit(&self, config: &Config, now: Instant) -> Admitted {
        let mut inner = self.inner.lock();
        let (admission, transition) = inner.state_machine.admit(config, now);
        if transition.is_some_and(|transition| transition.from == CircuitState::RampUp) {
            self.publish_ramped(&mut inner);
        } else {
            self.publish(&mut inner, now);
        }
        let (generation, state) = (inner.state_machine.generation(), inner.state_machine.state());
        let changed = StateChange { transition, open_cause: inner.open_cause };
        Admitted { admission, generation, state, changed }
    }

    /// Counts a success in the common case: there are no failures to count it against, and it can't
    /// fill a window. Returns whether it did; if not, [`count`](Self::count) must.
    #[inline]
    pub(super) fn succeed(&self, generation: u32, now: impl FnOnce() -> Instant) -> bool {
        let quiet = PackedState::new(generation, CircuitState::Closed).pack();
        self.word.load(Ordering::Acquire) == quiet
            && self.windows.as_ref().is_none_or(|windows| windows.success(generation, now))
    }

    /// Records the server's hint of a failed or slow call. Called before that result is counted, so
    /// that the opening of the circuit takes all hints into account.
    pub(super) fn note(
        &self,
        config: &Config,
        generation: u32,
        asked: Option<Duration>,
        now: Instant,
    ) {
        let word = PackedState::unpack(self.word.load(Ordering::Acquire));
        if word.generation != generation || !word.state.counts_results() {
            return;
        }
        let settled = self.windows.as_ref().is_none_or(Windows::are_settled);
        // No failure counts any more, so older hints are void. Two threads that find this at once
        // may drop one new hint.
        let first = word.counts == Counts::default() && settled;
        if first || asked.is_some() {
            self.inner.lock().ask(config, generation, first, asked, now);
        }
    }

    /// Counts a result, if the state counts results. Returns the reason if this must open the
    /// circuit. `now` is called only if windows are kept.
    pub(super) fn count(
        &self,
        config: &Config,
        generation: u32,
        (count, slow): (CallResult, bool),
        now: impl FnOnce() -> Instant,
    ) -> Option<OpenReason> {
        let mut packed = self.word.load(Ordering::Acquire);
        loop {
            let word = PackedState::unpack(packed);
            if word.generation != generation || !word.state.counts_results() {
                return None;
            }
            let (counts, trips) = config.counts.after(word.counts, count);
            if trips.is_some() {
                return trips;
            }
            if counts == word.counts {
                break;
            }
            let next = PackedState { counts, ..word }.pack();
            match self.word.compare_exchange_weak(packed, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => break,
                Err(changed) => packed = changed,
            }
        }
        self.windows.as_ref()?.record(count, slow, generation, now)
    }

    /// Opens the circuit, unless the result is late: from an earlier generation.
    pub(super) fn trip(
        &self,
        config: &Config,
        generation: u32,
        open_cause: OpenCause,
        now: Instant,
    ) -> StateChange {
        self.change(now, Some(open_cause), |inner| {
            inner.state_machine.trip(config, now, generation, inner.asked_for(now))
        })
    }

    /// Takes in how a probe ended, and for how long the server asked to be left alone. `open_cause` is
    /// remembered if this opens the circuit.
    pub(super) fn probed(
        &self,
        config: &Config,
        generation: u32,
        (count, asked): (CallResult, Option<Duration>),
        open_cause: Option<OpenCause>,
        now: Instant,
    ) -> StateChange {
        self.change(now, open_cause, |inner| {
            if count == CallResult::Failure {
                inner.ask(config, generation, false, asked, now);
            }
            inner.state_machine.probed(config, now, generation, count, inner.asked_for(now))
        })
    }

    /// Closes the circuit and clears its counts.
    pub(super) fn reset(&self, now: Instant) -> StateChange {
        self.change(now, None, |inner| inner.state_machine.reset(now))
    }

    /// Clears the counts of a closed circuit.
    pub(super) fn reset_counts(&self, now: Instant) {
        let mut inner = self.inner.lock();
        inner.state_machine.reset_counts();
        self.publish(&mut inner, now);
    }

    /// Holds it open or closed until it is reset.
    pub(super) fn force(&self, open: bool, open_cause: OpenCause, now: Instant) -> StateChange {
        self.change(now, Some(open_cause), |inner| inner.state_machine.force(open, now))
    }

    fn change(
        &self,
        now: Instant,
        open_cause: Option<OpenCause>,
        decide: impl FnOnce(&mut LockedState) -> Option<Transition>,
    ) -> StateChange {
        let mut inner = self.inner.lock();
        let transition = decide(&mut inner);
        if transition.is_some_and(|transition| transition.to.is_open()) {
            inner.open_cause = open_cause.or(inner.open_cause);
        }
        self.publish(&mut inner, now);
        StateChange { transition, open_cause: inner.open_cause }
    }

    /// Shows calls the state machine's state, if it is a new one. The caller holds the lock.
    fn publish(&self, inner: &mut LockedState, now: Instant) {
        let (generation, state) = (inner.state_machine.generation(), inner.state_machine.state());
        if self.is_at(generation) {
            return;
        }
        // A swap, not a store, to be in one order with the compare-and-swaps of the counts.
        self.word.swap(PackedState::new(generation, state).pack(), Ordering::AcqRel);
        if let Some(windows) = &self.windows {
            windows.clear(generation, now);
        }
        inner.asked = None;
        self.count_open(inner, !state.passes_all());
    }

    /// As [`publish`](Self::publish), at the end of a ramp: what was counted during the ramp is
    /// kept.
    fn publish_ramped(&self, inner: &mut LockedState) {
        let (generation, state) = (inner.state_machine.generation(), inner.state_machine.state());
        let counts_on =
            |packed| Some(PackedState { generation, state, ..PackedState::unpack(packed) }.pack());
        // Can't fail, as the closure never refuses.
        _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, counts_on);
        if let Some(windows) = &self.windows {
            windows.go_on(generation);
        }
        self.count_open(inner, !state.passes_all());
    }

    fn count_open(&self, inner: &mut LockedState, open: bool) {
        let counted = std::mem::replace(&mut inner.counted, open);
        self.open_circuits.count(counted, open);
    }

    /// Stops counting the circuit as open if it is [past](Self::is_past).
    pub(super) fn release_if_idle(
        &self,
        config: &Config,
        last_failure: Option<Instant>,
        now: Instant,
    ) {
        let mut inner = self.inner.lock();
        if inner.is_past(config, last_failure, now) {
            self.count_open(&mut inner, false);
        }
    }

    /// Whether what the circuit knows is too old to matter.
    pub(super) fn is_past(
        &self,
        config: &Config,
        last_failure: Option<Instant>,
        now: Instant,
    ) -> bool {
        self.inner.lock().is_past(config, last_failure, now)
    }

    pub(super) fn snapshot(&self, config: &Config) -> StateSnapshot {
        let inner = self.inner.lock();
        StateSnapshot {
            state: inner.state_machine.state(),
            generation: inner.state_machine.generation(),
            since: inner.state_machine.since(),
            until: inner.state_machine.until(config),
            open_cause: inner.open_cause,
            counts: PackedState::unpack(self.word.load(Ordering::Acquire)).counts,
        }
    }
}

impl Drop for AtomicState {
    fn drop(&mut self) {
        self.count_open(&mut self.inner.lock(), false);
    }
}

/// The part of an [`AtomicState`] behind its lock.
#[derive(Debug)]
pub(super) struct LockedState {
    pub(super) state_machine: StateMachine,
    pub(super) open_cause: Option<OpenCause>,
    /// The latest time until which a failed or slow call of this state was asked to leave the
    /// server alone.
    pub(super) asked: Option<Instant>,
    /// Whether it is counted in [`OpenCircuitCount`].
    pub(super) counted: bool,
}

impl LockedState {
    pub(super) fn new(state_machine: StateMachine) -> Self {
        Self { state_machine, open_cause: None, asked: None, counted: false }
    }

    /// Takes in that a call of this generation failed or was slow, and for how long its server
    /// `asked` to be left alone. `first`: no earlier one still counts, so what they asked is void.
    pub(super) fn ask(
        &mut self,
        config: &Config,
        generation: u32,
        first: bool,
        asked: Option<Duration>,
        now: Instant,
    ) {
        if generation == self.state_machine.generation() {
            let until = asked.map(|asked| time::after(now, asked.min(config.hint_cap)));
            self.asked = if first { until } else { self.asked.max(until) };
        }
    }

    /// For how long, from now on, the server has asked to be left alone.
    pub(super) fn asked_for(&self, now: Instant) -> Option<Duration> {
        self.asked.map(|until| until.saturating_duration_since(now))
    }

    /// Whether what the circuit knows is too old to matter.
    pub(super) fn is_past(
        &self,
        config: &Config,
        last_failure: Option<Instant>,
        now: Instant,
    ) -> bool {
        let last = self.state_machine.last_relevant(config).max(last_failure);
        let over = |last| time::after(last, config.memory()) <= now;
        !self.state_machine.is_forced() && last.is_none_or(over)
    }
}

/// How many circuits of a layer aren't closed, except those that nobody has called for long. While
/// there are none, `poll_ready` looks no further.
#[derive(Debug)]
pub(super) struct OpenCircuitCount(AtomicUsize);

impl OpenCircuitCount {
    pub(super) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    #[inline]
    pub(super) fn is_any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    /// Counts a circuit in or out.
    pub(super) fn count(&self, before: bool, now: bool) {
        match (before, now) {
            (false, true) => _ = self.0.fetch_add(1, Ordering::AcqRel),
            (true, false) => _ = self.0.fetch_sub(1, Ordering::AcqRel),
            _ => {}
        }
    }
}
