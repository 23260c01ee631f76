//! Since when, and for how long, something is of each severity.

use std::cmp::Reverse;
use std::time::Duration;

use crate::alert::observation::{Lasts, Observation};
use crate::event::Severity;
use crate::time::{self, Instant};

/// How long rules of one severity have been met.
#[derive(Clone, Copy, Debug)]
struct SeverityTimes {
    since: Instant,
    /// Until when that is certain.
    until: Instant,
    hold: Duration,
}

impl SeverityTimes {
    /// Returns when it has lasted long enough, if it is certain to.
    fn ripe_at(&self) -> Option<Instant> {
        let at = time::after(self.since, self.hold);
        (at <= self.until).then_some(at)
    }
}

/// What rules of each severity say of one thing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SeverityHistory([Option<SeverityTimes>; 3]);

impl SeverityHistory {
    /// Takes in that it was seen.
    pub(super) fn see(&mut self, seen: &Observation<'_>, now: Instant) {
        let until = match seen.lasts {
            Lasts::For(time) => time::after(now, time),
            Lasts::UntilOver | Lasts::Over => time::after(now, Duration::MAX),
        };
        for severity in Severity::ALL {
            let severity_times = &mut self.0[severity as usize];
            if let Some(hold) = seen.holds.of(severity) {
                let (since, known) = severity_times.map_or((now, until), |severity_times| {
                    (severity_times.since, severity_times.until)
                });
                *severity_times = Some(SeverityTimes { since, until: until.max(known), hold });
            } else if seen.lasts == Lasts::UntilOver {
                // What lasts until an event ends it is no longer that bad if this observation isn't. A single
                // observation of anything else doesn't speak against the ones before.
                *severity_times = None;
            }
        }
    }

    /// Returns how bad it is by now, if it has lasted long enough to be worth an alert.
    pub(super) fn reached(&self, now: Instant) -> Option<Severity> {
        let ripe_at = |severity: &Severity| self.0[*severity as usize]?.ripe_at();
        Severity::ALL.into_iter().rfind(|severity| ripe_at(severity).is_some_and(|at| at <= now))
    }

    /// Returns when a severity above this one is reached, and which; of two at once the worse.
    pub(super) fn rises_at(&self, above: Option<Severity>) -> Option<(Instant, Severity)> {
        let higher = Severity::ALL.into_iter().filter(|severity| Some(*severity) > above);
        let ripe = higher.filter_map(|one| Some((self.0[one as usize]?.ripe_at()?, one)));
        ripe.min_by_key(|(at, severity)| (*at, Reverse(*severity)))
    }

    /// Returns the least severity of the rules that are met, whether or not it has lasted long enough.
    pub(super) fn least(&self) -> Option<Severity> {
        Severity::ALL.into_iter().find(|severity| self.0[*severity as usize].is_some())
    }

    /// Returns the worst severity of the rules that are met, whether or not it has lasted long enough.
    pub(super) fn worst(&self) -> Option<Severity> {
        Severity::ALL.into_iter().rfind(|severity| self.0[*severity as usize].is_some())
    }

    /// Returns until when it is certain to last.
    pub(super) fn until(&self) -> Option<Instant> {
        self.0.iter().flatten().map(|severity_times| severity_times.until).max()
    }

    /// Returns when the first of its severities hasn't been seen for a `quiet` time.
    pub(super) fn quiet_at(&self, quiet: Duration) -> Option<Instant> {
        let until = self.0.iter().flatten().map(|severity_times| severity_times.until).min();
        until.map(|until| time::after(until, quiet))
    }

    /// Forgets the severities that haven't been seen for a `quiet` time.
    pub(super) fn expire(&mut self, now: Instant, quiet: Duration) {
        for severity_times in &mut self.0 {
            *severity_times = severity_times
                .filter(|severity_times| now < time::after(severity_times.until, quiet));
        }
    }
}
