//! Sets of sinks: which of them want a severity, and which were notified of one.

use crate::event::Severity;

/// A set of sinks, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SinkSet(u64);

impl SinkSet {
    /// The maximum number of sinks.
    pub(super) const CAPACITY: usize = 64;

    #[cfg(test)]
    pub(super) const fn new(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) fn insert(&mut self, sink: usize) {
        self.0 |= 1 << sink;
    }

    pub(super) fn contains(self, sink: usize) -> bool {
        self.0 & 1 << sink != 0
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The sinks that want alerts of each severity.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Subscriptions([SinkSet; 3]);

impl Subscriptions {
    /// Creates them from the minimum severity of each sink.
    pub(super) fn new(min_severities: impl IntoIterator<Item = Severity>) -> Self {
        let mut subscriptions = Self::default();
        for (sink, min_severity) in min_severities.into_iter().enumerate() {
            for severity in Severity::ALL.into_iter().filter(|one| *one >= min_severity) {
                subscriptions.0[severity as usize].insert(sink);
            }
        }
        subscriptions
    }

    pub(super) fn at(self, severity: Severity) -> SinkSet {
        self.0[severity as usize]
    }
}

/// The sinks that were notified of an alert, by the severity of their last notification.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Notified([SinkSet; 3]);

impl Notified {
    pub(super) fn at(self, severity: Severity) -> SinkSet {
        self.0[severity as usize]
    }

    pub(super) fn all(self) -> SinkSet {
        self.0.into_iter().fold(SinkSet::default(), SinkSet::union)
    }

    /// Records that these sinks are notified of this severity.
    pub(super) fn insert(&mut self, sinks: SinkSet, severity: Severity) {
        self.remove(sinks);
        let notified = &mut self.0[severity as usize];
        *notified = notified.union(sinks);
    }

    /// Removes these sinks. Returns their last notifications.
    pub(super) fn remove(&mut self, sinks: SinkSet) -> Self {
        let removed = self.0.map(|notified| notified.intersection(sinks));
        self.0 = self.0.map(|notified| notified.difference(sinks));
        Self(removed)
    }

    /// Resets these sinks to an earlier state.
    pub(super) fn restore(&mut self, sinks: SinkSet, mut earlier: Self) {
        self.remove(sinks);
        let known = earlier.remove(sinks);
        for severity in Severity::ALL {
            self.insert(known.at(severity), severity);
        }
    }
}
