//! Observations: facts that rules are evaluated against. They allocate nothing, because most of them
//! repeat an alert that is already known.

use std::time::Duration;

use crate::error::OpenReason;
use crate::event::{AlertKind, Severity};
use crate::verdict::Cause;

/// A fact that rules are evaluated against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observation<'a> {
    pub(super) kind: AlertKind,
    /// The name of the region, circuit, limiter or objective; empty if there is none.
    pub(super) label: &'a str,
    /// The region of the attempt, if it is known and is not the label.
    pub(super) region: Option<&'static str>,
    pub(super) hold_times: HoldTimes,
    pub(super) facts: Facts,
    pub(super) lifetime: Lifetime,
    /// The generation of the state that the event reports, if events may arrive out of order.
    pub(super) generation: Option<Generation>,
    /// Whether it is the result of a call, as the caller received it.
    pub(super) is_call: bool,
}

impl<'a> Observation<'a> {
    pub(super) fn new(kind: AlertKind, label: &'a str, lifetime: Lifetime) -> Self {
        Self {
            kind,
            label,
            region: None,
            hold_times: HoldTimes::default(),
            facts: Facts::default(),
            lifetime,
            generation: None,
            is_call: false,
        }
    }

    pub(super) fn with_cause(mut self, cause: Cause) -> Self {
        self.facts.cause = Some(cause);
        self
    }
}

/// The generation of a circuit's state. It increases with each change and wraps to zero after 8
/// million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(pub(super) u32);

impl Generation {
    const COUNT: u32 = 1 << 23;

    /// Returns whether this generation is older than another by less than half of all numbers.
    pub(super) fn is_before(self, other: Self) -> bool {
        (1..Self::COUNT / 2).contains(&(other.0.wrapping_sub(self.0) % Self::COUNT))
    }
}

/// The details of a message besides kind and label.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Facts {
    pub(super) cause: Option<Cause>,
    /// Why the circuit opened.
    pub(super) reason: Option<OpenReason>,
    /// The time until the circuit or region is tried again, or until the limiter's pause ends.
    pub(super) retry_after: Option<Duration>,
    /// The number of retries of the failed call, if known.
    pub(super) retries: Option<u32>,
    pub(super) reading: Option<Reading>,
}

/// A measured value that exceeds its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) value: f64,
    pub(super) limit: f64,
    pub(super) window: Duration,
}

/// How long an observed condition lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// For this time, and then until it has not been observed for the quiet time: no event reports
    /// its end.
    AtLeast(Duration),
    /// Until an event reports its end.
    UntilResolved,
    /// This event reports its end.
    Ended,
}

/// The time that a condition must last to have each severity, by the rules that it matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HoldTimes([Option<Duration>; 3]);

impl HoldTimes {
    /// Adds a matching rule. The shortest hold time of a severity counts.
    pub(super) fn with(mut self, severity: Severity, hold: Duration) -> Self {
        let shortest = &mut self.0[severity as usize];
        *shortest = Some(shortest.map_or(hold, |known| known.min(hold)));
        self
    }

    pub(super) fn get(&self, severity: Severity) -> Option<Duration> {
        self.0[severity as usize]
    }

    /// Returns the highest severity that it may reach; `None` if no rule matches.
    pub(super) fn highest(&self) -> Option<Severity> {
        Severity::ALL.into_iter().rfind(|severity| self.get(*severity).is_some())
    }
}
