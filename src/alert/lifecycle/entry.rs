//! One thing that may be worth an alert: since when, how bad, and which sinks have notified of it.

use std::cmp::Reverse;
use std::time::Duration;

use super::Subject;
use crate::alert::observation::{Details, Generation, Lasts, Observation, Recipients, Sinks};
use crate::event::{AlertKind, Severity};
use crate::time::{self, Instant};
use crate::verdict::Cause;

/// How long things take; see the builder's setters.
#[derive(Clone, Copy, Debug)]
pub(in crate::alert) struct Times {
    pub(in crate::alert) group: Duration,
    pub(in crate::alert) repeat: Duration,
    pub(in crate::alert) settle: Duration,
    pub(in crate::alert) quiet: Duration,
}

/// How soon a queue that was full is offered the same again, if the thing is seen again.
const MISSED: Duration = Duration::from_secs(1);
/// The same if it isn't seen again.
const MISSED_UNSEEN: Duration = Duration::from_secs(60);

/// How late an event may come that a later one has overtaken. Past that it is of another circuit of the
/// same name, whose turns can't be compared.
const LATEST: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It isn't notified yet: it hasn't lasted long enough, others may join it, it was notified lately,
    /// or its cause mutes it.
    Waiting,
    Firing,
    Resolved,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    /// The worst that was notified, or is to be.
    pub(super) severity: Severity,
    pub(super) details: Details,
    pub(super) begun: Instant,
    /// The latest generation that came in, and when.
    generation: Option<(Generation, Instant)>,
    region: Option<&'static str>,
    severities: SeverityHistory,
    notified_at: Option<Instant>,
    notified: Notified,
    /// As it was before the last telling, for the sinks whose queue turns out to be full.
    notified_before: Notified,
    /// The sinks whose queue was full, and since when: they aren't offered it again at once.
    missed: Sinks,
    missed_at: Instant,
    /// The sinks that receive of its cause, and needn't receive of this.
    pub(super) muted: Sinks,
}

/// What is to be notified of an entry, to sinks that have notified the same of it so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Notification {
    pub(super) to: Sinks,
    pub(super) severity: Severity,
    /// How bad it was notified to be before, if that has changed.
    pub(super) was: Option<Severity>,
    /// Whether it is over, at least for these sinks.
    pub(super) resolved: bool,
    /// Whether it is worth a line in the history.
    pub(super) news: bool,
}

impl Entry {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Resolved,
            severity: Severity::Info,
            details: Details::default(),
            begun: now,
            generation: None,
            region: None,
            severities: SeverityHistory::default(),
            notified_at: None,
            notified: Notified::default(),
            notified_before: Notified::default(),
            missed: Sinks::default(),
            missed_at: now,
            muted: Sinks::default(),
        }
    }

    /// Takes in the generation of an event. Returns whether the event comes late: after one with a later generation.
    pub(super) fn is_late(&mut self, generation: Option<Generation>, now: Instant) -> bool {
        let Some(generation) = generation else {
            return false;
        };
        let late = self.recent_turn(now).is_some_and(|last| generation.is_before(last));
        if !late {
            self.generation = Some((generation, now));
        }
        late
    }

    fn recent_turn(&self, now: Instant) -> Option<Generation> {
        self.generation
            .filter(|(_, at)| now < time::after(*at, LATEST))
            .map(|(generation, _)| generation)
    }

    /// Takes in that it was seen.
    pub(super) fn see(&mut self, seen: &Observation<'_>, now: Instant) {
        if self.state == State::Resolved {
            (self.state, self.begun) = (State::Waiting, now);
            (self.severities, self.region) = (SeverityHistory::default(), None);
        }
        // The details that are notified are those of the worst observation.
        if seen.holds.worst() >= self.severities.worst() {
            let known = self.details.cause;
            self.details = seen.details;
            // A call that an open circuit turned away doesn't say why the circuit opened.
            if seen.details.cause == Some(Cause::CircuitOpen) {
                self.details.cause = known.or(seen.details.cause);
            }
        }
        if self.state == State::Waiting {
            // Once it was notified it must not change: a sink may know the alert by it.
            self.region = self.region.or(seen.region);
        }
        if now >= time::after(self.missed_at, MISSED) {
            self.missed = Sinks::default();
        }
        self.severities.see(seen, now);
    }

    /// Ends it. Returns what is to be notified of that: nothing if its beginning wasn't notified.
    pub(super) fn end(&mut self) -> Vec<Notification> {
        let before = std::mem::replace(&mut self.state, State::Resolved);
        let notified = std::mem::take(&mut self.notified);
        if before == State::Firing { self.ends(notified, true) } else { Vec::new() }
    }

    /// Tells the end to sinks that notified of it, each under the severity that it was notified.
    fn ends(&self, notified: Notified, news: bool) -> Vec<Notification> {
        let notified = |severity| {
            let (to, news) = (notified.at(severity), news && severity == self.severity);
            Notification { to, severity, was: None, resolved: true, news }
        };
        let all = Severity::ALL.into_iter().map(notified);
        all.filter(|notified| notified.news || !notified.to.is_empty()).collect()
    }

    /// Takes in that these sinks weren't notified after all.
    pub(super) fn miss(&mut self, sinks: Sinks, now: Instant) {
        self.missed_at = now;
        self.notified.restore(sinks, self.notified_before);
        self.missed = self.missed.and(sinks);
    }

    /// Returns how bad it is. What was notified to be worse stays so until the fall is notified.
    pub(super) fn level(&self, now: Instant) -> Option<Severity> {
        match self.state {
            State::Resolved => None,
            State::Waiting => self.severities.reached(now),
            State::Firing => self.severities.reached(now).max(Some(self.severity)),
        }
    }

    /// Returns how bad it is, or would be once it has lasted.
    pub(super) fn worth(&self, now: Instant) -> Severity {
        self.severities.reached(now).or(self.severities.least()).unwrap_or(Severity::Info)
    }

    /// Returns how bad it is, or may get.
    pub(super) fn worst(&self) -> Severity {
        self.severities.worst().unwrap_or(Severity::Info).max(self.severity)
    }

    /// Returns until when it is certain to last.
    pub(super) fn until(&self) -> Instant {
        self.severities.until().unwrap_or(self.begun)
    }

    /// Returns whether it is over, as it hasn't been seen for a quiet time. Also forgets the severities that
    /// haven't been seen for that long.
    pub(super) fn is_over(&mut self, now: Instant, times: &Times, recipients: Recipients) -> bool {
        let quiet_at = self.severities.quiet_at(times.quiet).unwrap_or(now).min(now);
        if self.state == State::Waiting
            && self.first_notified_at(times, recipients).is_some_and(|at| at <= quiet_at)
        {
            // It was due to be notified before that, so it is notified first.
            return false;
        }
        self.severities.expire(now, times.quiet);
        self.state != State::Resolved && self.severities.worst().is_none()
    }

    /// Returns when to emit that it isn't so bad any more: not at once, as it may get as bad again.
    fn falls_at(&self, times: &Times) -> Option<Instant> {
        let fell = self.severities.worst() < Some(self.severity);
        self.notified_at.filter(|_| fell).map(|notified_at| time::after(notified_at, times.settle))
    }

    pub(super) fn is_expired(&self, now: Instant, times: &Times) -> bool {
        let settled = |notified_at| now >= time::after(notified_at, times.settle);
        let is_settled = self.notified_at.is_none_or(settled) && self.recent_turn(now).is_none();
        self.state == State::Resolved && is_settled
    }

    /// Returns when a waiting entry is to be notified; `None` if it can't be yet, or is muted.
    pub(super) fn first_notified_at(
        &self,
        times: &Times,
        recipients: Recipients,
    ) -> Option<Instant> {
        let (ripe_at, severity) = self.severities.rises_at(None)?;
        let at = time::after(ripe_at, times.group);
        let severity = self.severities.reached(at).unwrap_or(severity);
        let settled = self.notified_at.map(|notified_at| time::after(notified_at, times.settle));
        // What comes and goes is notified once in a settle time, unless it got worse.
        let at = at.max(settled.filter(|_| severity <= self.severity).unwrap_or(at));
        (!self.is_muted(recipients.of(severity))).then_some(at)
    }

    fn is_muted(&self, wants: Sinks) -> bool {
        !wants.is_empty() && wants.without(self.muted).is_empty()
    }

    /// Returns the sinks that should have notified of it and didn't. Those that missed it have to wait.
    pub(super) fn owed(&self, recipients: Recipients) -> Sinks {
        let notified = self.notified.at(self.severity);
        recipients.of(self.severity).without(notified).without(self.muted).without(self.missed)
    }

    /// Returns when it is to be notified again.
    fn repeats_at(&self, times: &Times, recipients: Recipients) -> Option<Instant> {
        let muted = self.is_muted(recipients.of(self.severity));
        self.notified_at
            .filter(|_| !muted)
            .map(|notified_at| time::after(notified_at, times.repeat))
    }

    /// Returns when something is to be done about it, unless it is seen again before.
    pub(super) fn due(&self, times: &Times, recipients: Recipients) -> Option<Instant> {
        let notifies_at = match self.state {
            State::Resolved => return None,
            State::Waiting => self.first_notified_at(times, recipients),
            State::Firing if !self.owed(recipients).is_empty() => Some(self.begun),
            State::Firing => {
                let rises_at = self.severities.rises_at(Some(self.severity)).map(|(at, _)| at);
                let offered_at = time::after(self.missed_at, MISSED_UNSEEN);
                let offered_at = Some(offered_at).filter(|_| !self.missed.is_empty());
                let others = [self.falls_at(times), self.repeats_at(times, recipients), offered_at];
                rises_at.into_iter().chain(others.into_iter().flatten()).min()
            }
        };
        notifies_at.into_iter().chain(self.severities.quiet_at(times.quiet)).min()
    }

    /// Returns what is to be notified by now. With `hurry` it doesn't wait for others to join it.
    pub(super) fn emit(
        &mut self,
        now: Instant,
        (times, hurry): (&Times, bool),
        recipients: Recipients,
    ) -> Vec<Notification> {
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if now >= time::after(self.missed_at, MISSED_UNSEEN) {
            self.missed = Sinks::default();
        }
        let before = Some(self.severity).filter(|_| self.state == State::Firing);
        let (next, mut notified) =
            (self.next_severity(now, (times, hurry), recipients), Vec::new());
        match self.state {
            State::Resolved => return notified,
            _ if next.is_some() => {}
            State::Firing if passed(self.repeats_at(times, recipients)) => {}
            State::Firing => {
                self.notified_before = self.notified;
                return self.notify(self.owed(recipients), before, false);
            }
            State::Waiting => return notified,
        }
        self.notified_before = self.notified;
        self.severity = next.unwrap_or(self.severity);
        (self.state, self.notified_at) = (State::Firing, Some(now));
        // For sinks that don't receive of what is less bad, it is over.
        let spared = self.notified.take(self.notified.all().without(recipients.of(self.severity)));
        notified.extend(self.ends(spared, false));
        notified.extend(self.notify(
            recipients.of(self.severity).without(self.muted),
            before,
            true,
        ));
        notified
    }

    /// Returns the severity that is to be notified now, if one is.
    fn next_severity(
        &self,
        now: Instant,
        (times, hurry): (&Times, bool),
        recipients: Recipients,
    ) -> Option<Severity> {
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let reached = self.severities.reached(now);
        // Ask with and without the wait: what got worse meanwhile can be muted at one of the times only.
        let in_a_hurry = Times { group: Duration::ZERO, ..*times };
        let is_notified = |times| passed(self.first_notified_at(times, recipients));
        match self.state {
            State::Waiting if is_notified(times) || hurry && is_notified(&in_a_hurry) => reached,
            State::Firing if reached > Some(self.severity) => reached,
            State::Firing if passed(self.falls_at(times)) => self.severities.worst(),
            _ => None,
        }
    }

    /// Tells these sinks how bad it is now. `before` is what it was notified to be last, if it was notified.
    fn notify(&mut self, to: Sinks, before: Option<Severity>, news: bool) -> Vec<Notification> {
        let severity = self.severity;
        let notified = |to, was: Option<Severity>, news| {
            let was = was.filter(|was| *was != severity);
            Notification { to, severity, was, resolved: false, news }
        };
        // Sinks for which it was muted meanwhile notified another severity last.
        let others = Severity::ALL.into_iter().filter(|was| Some(*was) != before);
        let mut all: Vec<_> =
            others.map(|was| notified(to.only(self.notified.at(was)), Some(was), false)).collect();
        let rest = all.iter().fold(to, |rest, other| rest.without(other.to));
        all.push(notified(rest, before, news));
        all.retain(|notified| notified.news || !notified.to.is_empty());
        self.notified.receive(to, severity);
        all
    }

    /// Returns what it is about, as far as others depend on it.
    pub(super) fn subject<'a>(&'a self, kind: AlertKind, label: &'a str) -> Subject<'a> {
        let region = if kind == AlertKind::RegionOut { Some(label) } else { self.region };
        Subject { kind, region }
    }

    pub(super) fn region(&self) -> Option<&'static str> {
        self.region
    }
}

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
