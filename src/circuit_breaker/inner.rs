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
    /// Until when results of this state that speak for opening asked to be left alone.
    pub(super) asked: Option<Instant>,
    /// Whether it is counted in [`Tripped`](super::tripped::Tripped).
    pub(super) counted: bool,
}

impl Inner {
    pub(super) fn new(machine: Machine) -> Self {
        Self { machine, why: None, asked: None, counted: false }
    }

    /// A result of this generation speaks for opening, and asks to be left alone for so long;
    /// `first`: none that still counts came before.
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

    /// For how long it is asked to be left alone, from now on.
    pub(super) fn asked_for(&self, now: Instant) -> Option<Duration> {
        self.asked.map(|until| until.saturating_duration_since(now))
    }

    /// Whether what it knows is too old to matter.
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
