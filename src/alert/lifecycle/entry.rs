//! One thing that may be worth an alert: since when, how bad, and which sinks have heard of it.

use std::time::Duration;

use crate::alert::audience::{Audience, Sinks};
use crate::alert::sighting::{Facts, Sighting, Turn};
use crate::event::{AlertKind, Severity};
use crate::time::{self, Instant};
use crate::verdict::Cause;

use super::grade::Grades;
use super::heard::Heard;
use super::inhibit::Subject;

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
    /// It isn't told yet: it hasn't lasted long enough, others may join it, it was told lately,
    /// or its cause mutes it.
    Waiting,
    Firing,
    Resolved,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    /// The worst that was told, or is to be.
    pub(super) severity: Severity,
    pub(super) facts: Facts,
    pub(super) begun: Instant,
    /// The latest turn that came in, and when.
    turn: Option<(Turn, Instant)>,
    region: Option<&'static str>,
    grades: Grades,
    told_at: Option<Instant>,
    heard: Heard,
    /// As it was before the last telling, for the sinks whose queue turns out to be full.
    heard_before: Heard,
    /// The sinks whose queue was full, and since when: they aren't offered it again at once.
    missed: Sinks,
    missed_at: Instant,
    /// The sinks that hear of its cause, and needn't hear of this.
    pub(super) muted: Sinks,
}

/// What is to be told of an entry, to sinks that have heard the same of it so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) to: Sinks,
    pub(super) severity: Severity,
    /// How bad it was told to be before, if that has changed.
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
            facts: Facts::default(),
            begun: now,
            turn: None,
            region: None,
            grades: Grades::default(),
            told_at: None,
            heard: Heard::default(),
            heard_before: Heard::default(),
            missed: Sinks::default(),
            missed_at: now,
            muted: Sinks::default(),
        }
    }

    /// Takes in the turn of an event. Returns whether the event comes late: after one with a later turn.
    pub(super) fn is_late(&mut self, turn: Option<Turn>, now: Instant) -> bool {
        let Some(turn) = turn else {
            return false;
        };
        let late = self.recent_turn(now).is_some_and(|last| turn.is_before(last));
        if !late {
            self.turn = Some((turn, now));
        }
        late
    }

    fn recent_turn(&self, now: Instant) -> Option<Turn> {
        self.turn.filter(|(_, at)| now < time::after(*at, LATEST)).map(|(turn, _)| turn)
    }

    /// Takes in that it was seen.
    pub(super) fn see(&mut self, seen: &Sighting<'_>, now: Instant) {
        if self.state == State::Resolved {
            (self.state, self.begun) = (State::Waiting, now);
            (self.grades, self.region) = (Grades::default(), None);
        }
        // The facts that are told are those of the worst sighting.
        if seen.holds.worst() >= self.grades.worst() {
            let known = self.facts.cause;
            self.facts = seen.facts;
            // A call that an open circuit turned away doesn't say why the circuit opened.
            if seen.facts.cause == Some(Cause::CircuitOpen) {
                self.facts.cause = known.or(seen.facts.cause);
            }
        }
        if self.state == State::Waiting {
            // Once it was told it must not change: a sink may know the alert by it.
            self.region = self.region.or(seen.region);
        }
        if now >= time::after(self.missed_at, MISSED) {
            self.missed = Sinks::default();
        }
        self.grades.see(seen, now);
    }

    /// Ends it. Returns what is to be told of that: nothing if its beginning wasn't told.
    pub(super) fn end(&mut self) -> Vec<Told> {
        let before = std::mem::replace(&mut self.state, State::Resolved);
        let heard = std::mem::take(&mut self.heard);
        if before == State::Firing { self.ends(heard, true) } else { Vec::new() }
    }

    /// Tells the end to sinks that heard of it, each under the severity that it was told.
    fn ends(&self, heard: Heard, news: bool) -> Vec<Told> {
        let told = |severity| {
            let (to, news) = (heard.at(severity), news && severity == self.severity);
            Told { to, severity, was: None, resolved: true, news }
        };
        let all = Severity::ALL.into_iter().map(told);
        all.filter(|told| told.news || !told.to.is_empty()).collect()
    }

    /// Takes in that these sinks weren't told after all.
    pub(super) fn miss(&mut self, sinks: Sinks, now: Instant) {
        self.missed_at = now;
        self.heard.restore(sinks, self.heard_before);
        self.missed = self.missed.and(sinks);
    }

    /// Returns how bad it is. What was told to be worse stays so until the fall is told.
    pub(super) fn level(&self, now: Instant) -> Option<Severity> {
        match self.state {
            State::Resolved => None,
            State::Waiting => self.grades.reached(now),
            State::Firing => self.grades.reached(now).max(Some(self.severity)),
        }
    }

    /// Returns how bad it is, or would be once it has lasted.
    pub(super) fn worth(&self, now: Instant) -> Severity {
        self.grades.reached(now).or(self.grades.least()).unwrap_or(Severity::Info)
    }

    /// Returns how bad it is, or may get.
    pub(super) fn worst(&self) -> Severity {
        self.grades.worst().unwrap_or(Severity::Info).max(self.severity)
    }

    /// Returns until when it is certain to last.
    pub(super) fn until(&self) -> Instant {
        self.grades.until().unwrap_or(self.begun)
    }

    /// Returns whether it is over, as it hasn't been seen for a quiet time. Also forgets the severities that
    /// haven't been seen for that long.
    pub(super) fn is_over(&mut self, now: Instant, times: &Times, audience: Audience) -> bool {
        let quiet_at = self.grades.quiet_at(times.quiet).unwrap_or(now).min(now);
        if self.state == State::Waiting
            && self.told_first_at(times, audience).is_some_and(|at| at <= quiet_at)
        {
            // It was due to be told before that, so it is told first.
            return false;
        }
        self.grades.expire(now, times.quiet);
        self.state != State::Resolved && self.grades.worst().is_none()
    }

    /// Returns when to tell that it isn't so bad any more: not at once, as it may get as bad again.
    fn falls_at(&self, times: &Times) -> Option<Instant> {
        let fell = self.grades.worst() < Some(self.severity);
        self.told_at.filter(|_| fell).map(|told_at| time::after(told_at, times.settle))
    }

    pub(super) fn is_forgotten(&self, now: Instant, times: &Times) -> bool {
        let settled = |told_at| now >= time::after(told_at, times.settle);
        let is_settled = self.told_at.is_none_or(settled) && self.recent_turn(now).is_none();
        self.state == State::Resolved && is_settled
    }

    /// Returns when a waiting entry is to be told; `None` if it can't be yet, or is muted.
    pub(super) fn told_first_at(&self, times: &Times, audience: Audience) -> Option<Instant> {
        let (ripe_at, severity) = self.grades.rises_at(None)?;
        let at = time::after(ripe_at, times.group);
        let severity = self.grades.reached(at).unwrap_or(severity);
        let settled = self.told_at.map(|told_at| time::after(told_at, times.settle));
        // What comes and goes is told once in a settle time, unless it got worse.
        let at = at.max(settled.filter(|_| severity <= self.severity).unwrap_or(at));
        (!self.is_muted(audience.of(severity))).then_some(at)
    }

    fn is_muted(&self, wants: Sinks) -> bool {
        !wants.is_empty() && wants.without(self.muted).is_empty()
    }

    /// Returns the sinks that should have heard of it and didn't. Those that missed it have to wait.
    pub(super) fn owed(&self, audience: Audience) -> Sinks {
        let heard = self.heard.at(self.severity);
        audience.of(self.severity).without(heard).without(self.muted).without(self.missed)
    }

    /// Returns when it is to be told again.
    fn repeats_at(&self, times: &Times, audience: Audience) -> Option<Instant> {
        let muted = self.is_muted(audience.of(self.severity));
        self.told_at.filter(|_| !muted).map(|told_at| time::after(told_at, times.repeat))
    }

    /// Returns when something is to be done about it, unless it is seen again before.
    pub(super) fn due(&self, times: &Times, audience: Audience) -> Option<Instant> {
        let tells_at = match self.state {
            State::Resolved => return None,
            State::Waiting => self.told_first_at(times, audience),
            State::Firing if !self.owed(audience).is_empty() => Some(self.begun),
            State::Firing => {
                let rises_at = self.grades.rises_at(Some(self.severity)).map(|(at, _)| at);
                let offered_at = time::after(self.missed_at, MISSED_UNSEEN);
                let offered_at = Some(offered_at).filter(|_| !self.missed.is_empty());
                let others = [self.falls_at(times), self.repeats_at(times, audience), offered_at];
                rises_at.into_iter().chain(others.into_iter().flatten()).min()
            }
        };
        tells_at.into_iter().chain(self.grades.quiet_at(times.quiet)).min()
    }

    /// Returns what is to be told by now. With `hurry` it doesn't wait for others to join it.
    pub(super) fn tell(
        &mut self,
        now: Instant,
        (times, hurry): (&Times, bool),
        audience: Audience,
    ) -> Vec<Told> {
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if now >= time::after(self.missed_at, MISSED_UNSEEN) {
            self.missed = Sinks::default();
        }
        let before = Some(self.severity).filter(|_| self.state == State::Firing);
        let (next, mut told) = (self.next_severity(now, (times, hurry), audience), Vec::new());
        match self.state {
            State::Resolved => return told,
            _ if next.is_some() => {}
            State::Firing if passed(self.repeats_at(times, audience)) => {}
            State::Firing => {
                self.heard_before = self.heard;
                return self.tells(self.owed(audience), before, false);
            }
            State::Waiting => return told,
        }
        self.heard_before = self.heard;
        self.severity = next.unwrap_or(self.severity);
        (self.state, self.told_at) = (State::Firing, Some(now));
        // For sinks that don't hear of what is less bad, it is over.
        let spared = self.heard.take(self.heard.all().without(audience.of(self.severity)));
        told.extend(self.ends(spared, false));
        told.extend(self.tells(audience.of(self.severity).without(self.muted), before, true));
        told
    }

    /// Returns the severity that is to be told now, if one is.
    fn next_severity(
        &self,
        now: Instant,
        (times, hurry): (&Times, bool),
        audience: Audience,
    ) -> Option<Severity> {
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let reached = self.grades.reached(now);
        // Ask with and without the wait: what got worse meanwhile can be muted at one of the times only.
        let in_a_hurry = Times { group: Duration::ZERO, ..*times };
        let is_told = |times| passed(self.told_first_at(times, audience));
        match self.state {
            State::Waiting if is_told(times) || hurry && is_told(&in_a_hurry) => reached,
            State::Firing if reached > Some(self.severity) => reached,
            State::Firing if passed(self.falls_at(times)) => self.grades.worst(),
            _ => None,
        }
    }

    /// Tells these sinks how bad it is now. `before` is what it was told to be last, if it was told.
    fn tells(&mut self, to: Sinks, before: Option<Severity>, news: bool) -> Vec<Told> {
        let severity = self.severity;
        let told = |to, was: Option<Severity>, news| {
            let was = was.filter(|was| *was != severity);
            Told { to, severity, was, resolved: false, news }
        };
        // Sinks for which it was muted meanwhile heard another severity last.
        let others = Severity::ALL.into_iter().filter(|was| Some(*was) != before);
        let mut all: Vec<_> =
            others.map(|was| told(to.only(self.heard.at(was)), Some(was), false)).collect();
        let rest = all.iter().fold(to, |rest, other| rest.without(other.to));
        all.push(told(rest, before, news));
        all.retain(|told| told.news || !told.to.is_empty());
        self.heard.hear(to, severity);
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
