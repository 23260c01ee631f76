//! Which sinks are notified.

use super::Severity;

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
