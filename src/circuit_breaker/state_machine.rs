//! The circuit's state machine: functions of `(state, now, event)`.
//!
//! The [module](super) draws its states. Every arrow starts a new *generation*. A call remembers
//! the generation that let it through, and its result counts in no other: a timeout of a call begun
//! before the circuit opened can't reopen one that has recovered since.
//!
//! Nothing here reads a clock, takes a lock or emits an event.

use std::time::Duration;

use super::config::{Config, Recovery};
use super::packed_state::GENERATIONS;
use super::{CallResult, OpenDuration};
use crate::error::CircuitState;
use crate::time::{self, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { in_flight: u32, succeeded: u32, failed: u32, last_admitted: Instant },
    // Each call adds the time since the ramp-up began; one passes whenever that sums up to `ramp`.
    RampUp { credit: Duration },
    ForcedOpen,
    ForcedClosed,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) from: CircuitState,
    pub(super) to: CircuitState,
    /// The generation that begins with it.
    pub(super) generation: u32,
    /// How long the circuit will be open at least, if it opened.
    pub(super) open_for: Duration,
}

/// The decision on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It passes.
    Pass { probe: bool },
    /// It is rejected. No call passes before `until`, if that is known.
    Reject { until: Option<Instant> },
}

/// The state of one circuit.
#[derive(Clone, Debug)]
pub(super) struct StateMachine {
    state: State,
    generation: u32,
    since: Instant,
    /// The number of doublings for the next opening.
    doublings: u32,
    /// How long it was opened for last, without jitter.
    held: Duration,
    random: fastrand::Rng,
}

impl StateMachine {
    pub(super) fn new(now: Instant, random: fastrand::Rng) -> Self {
        let (generation, doublings, held) = (0, 0, Duration::ZERO);
        Self { state: State::Closed, generation, since: now, doublings, held, random }
    }

    pub(super) fn state(&self) -> CircuitState {
        match self.state {
            State::Closed => CircuitState::Closed,
            State::Open { .. } => CircuitState::Open,
            State::HalfOpen { .. } => CircuitState::HalfOpen,
            State::RampUp { .. } => CircuitState::RampUp,
            State::ForcedOpen => CircuitState::ForcedOpen,
            State::ForcedClosed => CircuitState::ForcedClosed,
        }
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// When time alone changes the state: from then on an open circuit admits a probe, and a
    /// ramp-up ends.
    pub(super) fn until(&self, config: &Config) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::RampUp { .. } => Some(time::after(self.since, config.ramp)),
            _ => None,
        }
    }

    /// Whether a handle holds the circuit open or closed.
    pub(super) fn is_forced(&self) -> bool {
        matches!(self.state, State::ForcedOpen | State::ForcedClosed)
    }

    /// Returns the last time at which the state of a circuit that isn't closed affected a call.
    pub(super) fn last_relevant(&self, config: &Config) -> Option<Instant> {
        match self.state {
            State::HalfOpen { last_admitted, .. } => Some(last_admitted),
            _ => self.until(config),
        }
    }

    /// Decides on a call, and enters the next state if its time has come.
    pub(super) fn admit(
        &mut self,
        config: &Config,
        now: Instant,
    ) -> (Admission, Option<Transition>) {
        let transition = match self.state {
            State::Open { until } if now < until => {
                return (Admission::Reject { until: Some(until) }, None);
            }
            State::Open { .. } => Some(match config.recovery {
                Recovery::Reset => self.recover(config, now),
                Recovery::HalfOpen { .. } => self.go(half_open(now), now),
            }),
            State::RampUp { .. } if self.ramp_is_over(config, now) => {
                Some(self.go(State::Closed, now))
            }
            _ => None,
        };
        (self.admit_now(config, now), transition)
    }

    fn admit_now(&mut self, config: &Config, now: Instant) -> Admission {
        match &mut self.state {
            State::Closed | State::ForcedClosed => Admission::Pass { probe: false },
            // The time at which a handle resets the circuit is unknown.
            State::Open { .. } | State::ForcedOpen => Admission::Reject { until: None },
            State::RampUp { credit } => {
                let ramped = now.saturating_duration_since(self.since);
                *credit = credit.saturating_add(ramped);
                if *credit < config.ramp {
                    // Which of the next calls passes depends on how many there are.
                    return Admission::Reject { until: None };
                }
                *credit -= config.ramp;
                Admission::Pass { probe: false }
            }
            State::HalfOpen { in_flight, succeeded, failed, last_admitted } => {
                if *in_flight + *succeeded + *failed < config.probes() {
                    *in_flight += 1;
                    *last_admitted = now;
                    return Admission::Pass { probe: true };
                }
                if now < time::after(*last_admitted, config.probe_lease) {
                    // The time at which a probe ends is unknown.
                    return Admission::Reject { until: None };
                }
                // The probes hang. Another round begins, in which their results no longer count.
                self.generation = next(self.generation);
                self.state = half_open(now);
                self.admit_now(config, now)
            }
        }
    }

    fn ramp_is_over(&self, config: &Config, now: Instant) -> bool {
        now >= time::after(self.since, config.ramp)
    }

    /// A trip policy says that the circuit must open, for at least `asked`.
    pub(super) fn trip(
        &mut self,
        config: &Config,
        now: Instant,
        generation: u32,
        asked: Option<Duration>,
    ) -> Option<Transition> {
        let current = generation == self.generation && self.state().counts_results();
        current.then(|| self.open(config, now, asked))
    }

    /// A probe has ended. If that opens the circuit, it opens for at least `asked`.
    pub(super) fn probed(
        &mut self,
        config: &Config,
        now: Instant,
        generation: u32,
        count: CallResult,
        asked: Option<Duration>,
    ) -> Option<Transition> {
        if generation != self.generation {
            return None;
        }
        let State::HalfOpen { in_flight, succeeded, failed, .. } = &mut self.state else {
            return None;
        };
        *in_flight = in_flight.saturating_sub(1);
        match count {
            CallResult::Neutral => None,
            CallResult::Failure => {
                *failed += 1;
                (*failed > config.failures()).then(|| self.open(config, now, asked))
            }
            CallResult::Success => {
                *succeeded += 1;
                (*succeeded >= config.successes()).then(|| self.recover(config, now))
            }
        }
    }

    /// Closes the circuit and resets the growth of its open duration.
    pub(super) fn reset(&mut self, now: Instant) -> Option<Transition> {
        (self.doublings, self.held) = (0, Duration::ZERO);
        self.go_if_changed(State::Closed, now)
    }

    /// Starts a new generation of a closed circuit: results of calls in flight no longer count.
    pub(super) fn reset_counts(&mut self) {
        if self.state == State::Closed {
            self.generation = next(self.generation);
        }
    }

    /// Holds the circuit open or closed, until it is reset.
    pub(super) fn force(&mut self, open: bool, now: Instant) -> Option<Transition> {
        let transition =
            self.go_if_changed(if open { State::ForcedOpen } else { State::ForcedClosed }, now);
        let open_for = if open { Duration::MAX } else { Duration::ZERO };
        transition.map(|transition| Transition { open_for, ..transition })
    }

    fn go_if_changed(&mut self, state: State, now: Instant) -> Option<Transition> {
        let transition = self.go(state, now);
        (transition.from != transition.to).then_some(transition)
    }

    fn open(&mut self, config: &Config, now: Instant, asked: Option<Duration>) -> Transition {
        let doublings = self.doublings_left(now);
        // At least for as long as the server asked, up to a cap that is separate from the
        // doubling's.
        let asked = asked.unwrap_or_default().min(config.hint_cap);
        self.held = config.open_for.doubled(doublings).max(asked);
        self.doublings = more(&config.open_for, doublings);
        let open_for = config.open_for.with_jitter(self.held, &mut self.random);
        let transition = self.go(State::Open { until: time::after(now, open_for) }, now);
        Transition { open_for, ..transition }
    }

    /// The doublings that are left now: each stretch of health as long as the last opening takes
    /// one back.
    fn doublings_left(&self, now: Instant) -> u32 {
        if !self.state().counts_results() {
            return self.doublings;
        }
        let healthy = now.saturating_duration_since(self.since).as_nanos();
        let taken_back = healthy / self.held.as_nanos().max(1);
        self.doublings.saturating_sub(u32::try_from(taken_back).unwrap_or(u32::MAX))
    }

    /// Enters the ramp-up, or closes the circuit if there is none.
    fn recover(&mut self, config: &Config, now: Instant) -> Transition {
        let state = if config.ramp.is_zero() {
            State::Closed
        } else {
            // Enough credit for the first call to pass.
            State::RampUp { credit: config.ramp }
        };
        self.go(state, now)
    }

    fn go(&mut self, state: State, now: Instant) -> Transition {
        let from = self.state();
        self.state = state;
        self.generation = next(self.generation);
        self.since = now;
        let (to, generation) = (self.state(), self.generation);
        Transition { from, to, generation, open_for: Duration::ZERO }
    }
}

fn next(generation: u32) -> u32 {
    (generation + 1) % GENERATIONS
}

fn half_open(now: Instant) -> State {
    State::HalfOpen { in_flight: 0, succeeded: 0, failed: 0, last_admitted: now }
}

/// One doubling more, unless that makes no difference. Doublings beyond the cap aren't counted, or
/// recovery would have to undo them one by one.
fn more(open_for: &OpenDuration, doublings: u32) -> u32 {
    let longer = open_for.doubled(doublings + 1) > open_for.doubled(doublings);
    doublings + u32::from(longer)
}

#[cfg(test)]
#[path = "state_machine/tests.rs"] // found also from tests/loom, which includes this file
mod tests;
