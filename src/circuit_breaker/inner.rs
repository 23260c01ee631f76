use std::time::Duration;

use super::machine::Machine;
use super::reason::Why;
use super::rules::Rules;
use crate::time::{self, Instant};

/// What a [`Gate`](super::gate::Gate) has behind its lock.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) machine: Machine,
    pub(super) why: Option<Why>,
    /// The latest time until which a failed or slow call of this state was asked to leave the
    /// server alone.
    pub(super) asked: Option<Instant>,
    /// Whether it is counted in [`Tripped`](super::tripped::Tripped).
    pub(super) counted: bool,
}

impl Inner {
    pub(super) fn new(machine: Machine) -> Self {
        Self { machine, why: None, asked: None, counted: false }
    }

    /// Takes in that a call of this generation failed or was slow, and for how long its server
    /// `asked` to be left alone. `first`: no earlier one still counts, so what they asked is void.
    pub(super) fn ask(
        &mut self,
        rules: &Rules,
        generation: u32,
        first: bool,
        asked: Option<Duration>,
        now: Instant,
    ) {
        if generation == self.machine.generation() {
            let until = asked.map(|asked| time::after(now, asked.min(rules.hint_cap)));
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
        rules: &Rules,
        last_failure: Option<Instant>,
        now: Instant,
    ) -> bool {
        let last = self.machine.mattered(rules).max(last_failure);
        let over = |last| time::after(last, rules.memory()) <= now;
        !self.machine.is_forced() && last.is_none_or(over)
    }
}
