use std::time::Duration;

use super::config::Config;
use super::reason::OpenCause;
use super::state_machine::StateMachine;
use crate::time::{self, Instant};

/// What a [`AtomicState`](super::shared_state::AtomicState) has behind its lock.
#[derive(Debug)]
pub(super) struct LockedState {
    pub(super) state_machine: StateMachine,
    pub(super) open_cause: Option<OpenCause>,
    /// The latest time until which a failed or slow call of this state was asked to leave the
    /// server alone.
    pub(super) asked: Option<Instant>,
    /// Whether it is counted in [`OpenCircuitCount`](super::tripped::OpenCircuitCount).
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
        let last = self.state_machine.mattered(config).max(last_failure);
        let over = |last| time::after(last, config.memory()) <= now;
        !self.state_machine.is_forced() && last.is_none_or(over)
    }
}
