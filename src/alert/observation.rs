//! What was seen. Nothing is allocated for it, as most of what is seen has been notified already.

use std::time::Duration;

use crate::event::{AlertKind, Severity};
use crate::verdict::Cause;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observation<'a> {
    pub(super) kind: AlertKind,
    /// The name of the region, circuit, limiter or objective; empty where there is none.
    pub(super) label: &'a str,
    /// The region that it happened in, where that is known and isn't the label.
    pub(super) region: Option<&'static str>,
    pub(super) holds: Holds,
    pub(super) details: Details,
    pub(super) lasts: Lasts,
    /// When it happened, for events that can come in another order than they happened.
    pub(super) generation: Option<Generation>,
}

/// The number of a circuit's state: one more at each change, and zero again after 8 million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(pub(super) u32);

impl Generation {
    const ALL: u32 = 1 << 23;

    /// Whether it came before another one, by less than half of the numbers that there are.
    pub(super) fn is_before(self, other: Self) -> bool {
        (1..Self::ALL / 2).contains(&(other.0.wrapping_sub(self.0) % Self::ALL))
    }
}

/// What a message says besides kind and label.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Details {
    pub(super) cause: Option<Cause>,
    /// How often the call was sent again, where that is known.
    pub(super) retries: Option<u32>,
    pub(super) reading: Option<Reading>,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) value: f64,
    pub(super) limit: f64,
    pub(super) over: Duration,
}

/// How long what was seen lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasts {
    /// For this time, and then until it hasn't been seen for a quiet time: no event notify its end.
    For(Duration),
    /// Until an event says that it is over.
    UntilOver,
    /// Not any more: this event says that it is over.
    Over,
}

/// How long it must last to be of each severity, according to the rules that it meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holds([Option<Duration>; 3]);

impl Holds {
    /// Adds a rule: it is of this severity once it has lasted for `hold`. The shortest hold counts.
    pub(super) fn and(mut self, severity: Severity, hold: Duration) -> Self {
        let shortest = &mut self.0[severity as usize];
        *shortest = Some(shortest.map_or(hold, |known| known.min(hold)));
        self
    }

    pub(super) fn of(&self, severity: Severity) -> Option<Duration> {
        self.0[severity as usize]
    }

    /// Returns the worst severity that it may reach.
    pub(super) fn worst(&self) -> Option<Severity> {
        Severity::ALL.into_iter().rfind(|severity| self.of(*severity).is_some())
    }

    /// Whether no rule is met, so that it isn't worth an alert.
    pub(super) fn is_empty(&self) -> bool {
        self.worst().is_none()
    }
}

impl<'a> Observation<'a> {
    pub(super) fn new(kind: AlertKind, lasts: Lasts) -> Self {
        let (holds, details) = (Holds::default(), Details::default());
        Self { kind, label: "", region: None, holds, details, lasts, generation: None }
    }

    pub(super) fn of(mut self, label: &'a str) -> Self {
        self.label = label;
        self
    }

    pub(super) fn cause(mut self, cause: Cause) -> Self {
        self.details.cause = Some(cause);
        self
    }
}

/// A set of sinks, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sinks(u64);

impl Sinks {
    /// How many sinks there can be.
    pub(super) const MOST: usize = 64;

    #[cfg(test)]
    pub(super) const fn new(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) fn with(self, sink: usize) -> Self {
        Self(self.0 | 1 << sink)
    }

    pub(super) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(super) fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(super) fn only(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    pub(super) fn contains(self, sink: usize) -> bool {
        self.0 & 1 << sink != 0
    }

    pub(super) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Which sinks want to receive of each severity.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recipients([Sinks; 3]);

impl Recipients {
    /// Sinks by the least severity that they want to receive of.
    pub(super) fn new(least: impl IntoIterator<Item = Severity>) -> Self {
        let mut recipients = Self::default();
        for (sink, least) in least.into_iter().enumerate() {
            for severity in Severity::ALL.into_iter().filter(|severity| *severity >= least) {
                let sinks = &mut recipients.0[severity as usize];
                *sinks = sinks.with(sink);
            }
        }
        recipients
    }

    pub(super) fn of(self, severity: Severity) -> Sinks {
        self.0[severity as usize]
    }
}
