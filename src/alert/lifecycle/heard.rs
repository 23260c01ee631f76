//! Which sinks heard of something, and how bad it was said to be.

use crate::alert::audience::Sinks;
use crate::event::Severity;

/// Sinks, by the severity that they were told last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard([Sinks; 3]);

impl Heard {
    /// Returns the sinks that heard this severity last.
    pub(super) fn at(self, severity: Severity) -> Sinks {
        self.0[severity as usize]
    }

    pub(super) fn all(self) -> Sinks {
        self.0.into_iter().fold(Sinks::default(), Sinks::and)
    }

    /// These sinks hear this severity.
    pub(super) fn hear(&mut self, sinks: Sinks, severity: Severity) {
        self.take(sinks);
        let heard = &mut self.0[severity as usize];
        *heard = heard.and(sinks);
    }

    /// Takes these sinks out, and returns what they had heard.
    pub(super) fn take(&mut self, sinks: Sinks) -> Self {
        let taken = self.0.map(|heard| heard.only(sinks));
        self.0 = self.0.map(|heard| heard.without(sinks));
        Self(taken)
    }

    /// Sets what these sinks have heard back to what it was `before`.
    pub(super) fn restore(&mut self, sinks: Sinks, mut before: Self) {
        self.take(sinks);
        let known = before.take(sinks);
        for severity in Severity::ALL {
            self.hear(known.at(severity), severity);
        }
    }
}
