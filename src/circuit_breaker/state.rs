//! The circuit's state machine: plain functions of `(state, now, event)`.
//!
//! ```text
//!            a trip policy says so
//!   ┌────────┐ ───────────────────────────────▶ ┌──────┐
//!   │ Closed │                                  │ Open │ ◀─┐
//!   └────────┘ ◀──────── no half-open ───────── └──────┘   │
//!       ▲            (Recovery::Reset)              │      │ one probe
//!       │                                     time is up   │ fails
//!       │                                           ▼      │
//!       │      enough probes succeed         ┌──────────┐  │
//!       └─────────────────────────────────── │ HalfOpen │ ─┘
//!                                            └──────────┘
//! ```
//!
//! Every arrow starts a new *generation*. A call remembers the generation that
//! let it through, and its result counts in no other: a timeout of a call begun
//! before the circuit opened can't reopen one that has recovered since.
//!
//! Nothing here reads a clock, takes a lock or tells anybody.

use std::time::Duration;

use super::{Count, Recovery, Rules};
use crate::time::{self, Instant};

/// Whether calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitState {
    /// Healthy: every call passes.
    Closed,
    /// Tripped: every call is answered at once with [`CircuitOpen`](super::CircuitOpen).
    Open,
    /// Probing: a few calls pass, and decide.
    HalfOpen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { in_flight: u32, succeeded: u32, last_admitted: Instant },
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) from: CircuitState,
    pub(super) to: CircuitState,
    /// How long the circuit will be open at least, if it opened.
    pub(super) open_for: Duration,
}

/// The answer to a call that wants to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It passes.
    Pass { probe: bool },
    /// It doesn't; when one may, where that is known.
    Reject { retry_after: Option<Duration> },
}

/// The state of one circuit.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    state: State,
    generation: u32,
    since: Instant,
}

impl Machine {
    pub(super) fn new(now: Instant) -> Self {
        Self { state: State::Closed, generation: 0, since: now }
    }

    pub(super) fn state(&self) -> CircuitState {
        match self.state {
            State::Closed => CircuitState::Closed,
            State::Open { .. } => CircuitState::Open,
            State::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// When an open circuit lets the next call through.
    pub(super) fn until(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            _ => None,
        }
    }

    /// Until when a circuit that isn't closed has mattered to its callers, at least.
    pub(super) fn mattered(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Open { until } => Some(until),
            State::HalfOpen { last_admitted, .. } => Some(last_admitted),
        }
    }

    /// A call wants to pass.
    pub(super) fn admit(&mut self, rules: &Rules, now: Instant) -> (Admission, Option<Transition>) {
        let mut transition = None;
        if let State::Open { until } = self.state {
            if now < until {
                let retry_after = Some(until.saturating_duration_since(now));
                return (Admission::Reject { retry_after }, None);
            }
            transition = Some(match rules.recovery {
                Recovery::Reset => self.go(State::Closed, now),
                Recovery::HalfOpen { .. } => self.go(half_open(now), now),
            });
        }
        (self.admit_now(rules, now), transition)
    }

    fn admit_now(&mut self, rules: &Rules, now: Instant) -> Admission {
        let State::HalfOpen { in_flight, succeeded, last_admitted } = &mut self.state else {
            return Admission::Pass { probe: false };
        };
        if *in_flight + *succeeded >= rules.probes() {
            let free_at = time::after(*last_admitted, rules.probe_lease);
            if now < free_at {
                // When a probe ends isn't known, only when its lease does.
                return Admission::Reject { retry_after: None };
            }
            // The probes hang: another round, in which theirs count no more.
            self.generation = next(self.generation);
            self.state = half_open(now);
            return self.admit_now(rules, now);
        }
        *in_flight += 1;
        *last_admitted = now;
        Admission::Pass { probe: true }
    }

    /// A trip policy says that the circuit must open.
    pub(super) fn trip(
        &mut self,
        rules: &Rules,
        now: Instant,
        generation: u32,
        asked: Option<Duration>,
    ) -> Option<Transition> {
        let current = generation == self.generation && self.state == State::Closed;
        current.then(|| self.open(rules, now, asked))
    }

    /// A probe has ended.
    pub(super) fn probed(
        &mut self,
        rules: &Rules,
        now: Instant,
        generation: u32,
        count: Count,
        asked: Option<Duration>,
    ) -> Option<Transition> {
        if generation != self.generation {
            return None;
        }
        let State::HalfOpen { in_flight, succeeded, .. } = &mut self.state else {
            return None;
        };
        *in_flight = in_flight.saturating_sub(1);
        match count {
            Count::Neutral => None,
            Count::Failure => Some(self.open(rules, now, asked)),
            Count::Success => {
                *succeeded += 1;
                let enough = *succeeded >= rules.successes();
                enough.then(|| self.go(State::Closed, now))
            }
        }
    }

    /// Closes the circuit and forgets what it knew.
    pub(super) fn reset(&mut self, now: Instant) -> Option<Transition> {
        let transition = self.go(State::Closed, now);
        (transition.from != CircuitState::Closed).then_some(transition)
    }

    fn open(&mut self, rules: &Rules, now: Instant, asked: Option<Duration>) -> Transition {
        // At least for as long as the server asked, up to a cap of its own.
        let asked = asked.unwrap_or_default().min(rules.hint_cap);
        let open_for = rules.open_for.max(asked);
        let transition = self.go(State::Open { until: time::after(now, open_for) }, now);
        Transition { open_for, ..transition }
    }

    fn go(&mut self, state: State, now: Instant) -> Transition {
        let from = self.state();
        self.state = state;
        self.generation = next(self.generation);
        self.since = now;
        Transition { from, to: self.state(), open_for: Duration::ZERO }
    }
}

/// Generations are kept in 24 bits of an atomic word; a result would have to be
/// late by exactly 16 million transitions to be taken for a current one.
pub(super) const GENERATIONS: u32 = 1 << 24;

fn next(generation: u32) -> u32 {
    (generation + 1) % GENERATIONS
}

fn half_open(now: Instant) -> State {
    State::HalfOpen { in_flight: 0, succeeded: 0, last_admitted: now }
}

#[cfg(test)]
mod tests;
