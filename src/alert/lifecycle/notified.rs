//! Which sinks notified of something, and how bad it was said to be.

use crate::alert::recipients::Sinks;
use crate::event::Severity;

/// Sinks, by the severity that they were notified last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Notified([Sinks; 3]);

impl Notified {
    /// Returns the sinks that notified this severity last.
    pub(super) fn at(self, severity: Severity) -> Sinks {
        self.0[severity as usize]
    }

    pub(super) fn all(self) -> Sinks {
        self.0.into_iter().fold(Sinks::default(), Sinks::and)
    }

    /// These sinks receive this severity.
    pub(super) fn receive(&mut self, sinks: Sinks, severity: Severity) {
        self.take(sinks);
        let notified = &mut self.0[severity as usize];
        *notified = notified.and(sinks);
    }

    /// Takes these sinks out, and returns what they had notified.
    pub(super) fn take(&mut self, sinks: Sinks) -> Self {
        let taken = self.0.map(|notified| notified.only(sinks));
        self.0 = self.0.map(|notified| notified.without(sinks));
        Self(taken)
    }

    /// Sets what these sinks have notified back to what it was `before`.
    pub(super) fn restore(&mut self, sinks: Sinks, mut before: Self) {
        self.take(sinks);
        let known = before.take(sinks);
        for severity in Severity::ALL {
            self.receive(known.at(severity), severity);
        }
    }
}
