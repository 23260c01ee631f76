use std::cmp::Reverse;
use std::time::Duration;

use crate::alert::observation::{Lifetime, Observation};
use crate::event::Severity;
use crate::time::{self, Instant};

/// The time for which rules of one severity have matched.
#[derive(Clone, Copy, Debug)]
struct Match {
    since: Instant,
    /// The time until which the condition is known to last.
    until: Instant,
    hold: Duration,
}

impl Match {
    /// Returns when the condition has lasted for the hold time, if it is known to.
    fn reached_at(&self) -> Option<Instant> {
        let at = time::after(self.since, self.hold);
        (at <= self.until).then_some(at)
    }
}

/// The severity of a condition over time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SeverityHistory([Option<Match>; 3]);

impl SeverityHistory {
    pub(super) fn record(&mut self, observation: &Observation<'_>, now: Instant) {
        let until = match observation.lifetime {
            Lifetime::AtLeast(time) => time::after(now, time),
            Lifetime::UntilResolved | Lifetime::Ended => time::after(now, Duration::MAX),
        };
        for severity in Severity::ALL {
            let entry = &mut self.0[severity as usize];
            if let Some(hold) = observation.hold_times.get(severity) {
                let (since, known) = entry.map_or((now, until), |known| (known.since, known.until));
                *entry = Some(Match { since, until: until.max(known), hold });
            } else if observation.lifetime == Lifetime::UntilResolved {
                // A condition with an end has only the severities of its last observation. A single
                // observation of any other condition does not contradict earlier ones.
                *entry = None;
            }
        }
    }

    /// Returns the highest severity that is reached by now.
    pub(super) fn reached(&self, now: Instant) -> Option<Severity> {
        let reached_at = |severity: &Severity| self.0[*severity as usize]?.reached_at();
        Severity::ALL.into_iter().rfind(|severity| reached_at(severity).is_some_and(|at| at <= now))
    }

    /// Returns when the next severity above this one is reached, and which; the highest of several at
    /// once.
    pub(super) fn rises_at(&self, above: Option<Severity>) -> Option<(Instant, Severity)> {
        let higher = Severity::ALL.into_iter().filter(|severity| Some(*severity) > above);
        let reached = higher.filter_map(|one| Some((self.0[one as usize]?.reached_at()?, one)));
        reached.min_by_key(|(at, severity)| (*at, Reverse(*severity)))
    }

    /// Returns the lowest severity with a matching rule, whether or not it is reached.
    pub(super) fn lowest(&self) -> Option<Severity> {
        Severity::ALL.into_iter().find(|severity| self.0[*severity as usize].is_some())
    }

    /// Returns the highest severity with a matching rule, whether or not it is reached.
    pub(super) fn highest(&self) -> Option<Severity> {
        Severity::ALL.into_iter().rfind(|severity| self.0[*severity as usize].is_some())
    }

    /// Returns the time until which the condition is known to last.
    pub(super) fn until(&self) -> Option<Instant> {
        self.0.iter().flatten().map(|entry| entry.until).max()
    }

    /// Returns when the first of the severities has not been observed for the quiet time.
    pub(super) fn quiet_at(&self, quiet: Duration) -> Option<Instant> {
        let until = self.0.iter().flatten().map(|entry| entry.until).min();
        until.map(|until| time::after(until, quiet))
    }

    /// Removes the severities that have not been observed for the quiet time.
    pub(super) fn expire(&mut self, now: Instant, quiet: Duration) {
        for entry in &mut self.0 {
            *entry = entry.filter(|entry| now < time::after(entry.until, quiet));
        }
    }
}
