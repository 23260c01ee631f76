//! One thing that may be worth an alert: since when, how bad, and who has heard of it.

use std::time::Duration;

use crate::alert::audience::{Audience, Sinks};
use crate::alert::sighting::{Facts, Sighting, Turn};
use crate::alert::{AlertKind, Severity};
use crate::classify::Cause;
use crate::time::{self, Instant};

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

/// How soon a queue that was full is offered the same again, if it is seen again; and if it isn't.
const MISSED: Duration = Duration::from_secs(1);
const MISSED_UNSEEN: Duration = Duration::from_secs(60);

/// How late a thread may tell what another has overtaken. Past that it is another circuit of the same
/// name, whose turns mean nothing here.
const LATEST: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It isn't told yet: it hasn't lasted long enough, others may join it, it was told lately,
    /// or something worse mutes it.
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
    /// The last turn that was told, and when.
    turn: Option<(Turn, Instant)>,
    region: Option<&'static str>,
    grades: Grades,
    told_at: Option<Instant>,
    /// Who heard of it, and how bad it was said to be.
    heard: Heard,
    /// The same before it was told last: what doesn't get through wasn't heard.
    heard_before: Heard,
    /// Whose queue was full, and since when: they hear of it when it is seen again, or later.
    missed: Sinks,
    missed_at: Instant,
    /// Who hears of something that makes this needless.
    pub(super) muted: Sinks,
}

/// What is to be told of an entry, to those who know the same of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) to: Sinks,
    pub(super) severity: Severity,
    /// How bad it was told to be before, if that has changed.
    pub(super) was: Option<Severity>,
    /// Whether it is over, at least for them.
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

    /// Takes in when something happened. Whether that was before what is known already, and is told late.
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

    /// It was seen.
    pub(super) fn see(&mut self, seen: &Sighting<'_>, now: Instant) {
        if self.state == State::Resolved {
            (self.state, self.begun) = (State::Waiting, now);
            (self.grades, self.region) = (Grades::default(), None);
        }
        // What is known of the worst is told.
        if seen.holds.worst() >= self.grades.worst() {
            let known = self.facts.cause;
            self.facts = seen.facts;
            // A call that was turned away says nothing new of why.
            if seen.facts.cause == Some(Cause::CircuitOpen) {
                self.facts.cause = known.or(seen.facts.cause);
            }
        }
        if self.state == State::Waiting {
            // Once it is told it stays, as all that a sink may know it by.
            self.region = self.region.or(seen.region);
        }
        if now >= time::after(self.missed_at, MISSED) {
            self.missed = Sinks::default();
        }
        self.grades.see(seen, now);
    }

    /// It is over: who is to hear of that, if it was told at all.
    pub(super) fn end(&mut self) -> Vec<Told> {
        let before = std::mem::replace(&mut self.state, State::Resolved);
        let heard = std::mem::take(&mut self.heard);
        if before == State::Firing { self.ends(heard, true) } else { Vec::new() }
    }

    /// It is over for those who heard of it, as what they know it by.
    fn ends(&self, heard: Heard, news: bool) -> Vec<Told> {
        let told = |severity| {
            let (to, news) = (heard.at(severity), news && severity == self.severity);
            Told { to, severity, was: None, resolved: true, news }
        };
        let all = Severity::ALL.into_iter().map(told);
        all.filter(|told| told.news || !told.to.is_empty()).collect()
    }

    /// Who isn't told after all.
    pub(super) fn miss(&mut self, sinks: Sinks, now: Instant) {
        self.missed_at = now;
        self.heard.restore(sinks, self.heard_before);
        self.missed = self.missed.and(sinks);
    }

    /// How bad it is taken to be: what was told isn't less bad until that is told.
    pub(super) fn level(&self, now: Instant) -> Option<Severity> {
        match self.state {
            State::Resolved => None,
            State::Waiting => self.grades.reached(now),
            State::Firing => self.grades.reached(now).max(Some(self.severity)),
        }
    }

    /// How bad it is, or would be first.
    pub(super) fn worth(&self, now: Instant) -> Severity {
        self.grades.reached(now).or(self.grades.least()).unwrap_or(Severity::Info)
    }

    /// How bad it is, or may get.
    pub(super) fn worst(&self) -> Severity {
        self.grades.worst().unwrap_or(Severity::Info).max(self.severity)
    }

    /// For how long it is certain to last.
    pub(super) fn until(&self) -> Instant {
        self.grades.until().unwrap_or(self.begun)
    }

    /// Whether it is over by now, since nobody sees it any more.
    pub(super) fn is_over(&mut self, now: Instant, times: &Times, audience: Audience) -> bool {
        let quiet_at = self.grades.quiet_at(times.quiet).unwrap_or(now).min(now);
        if self.state == State::Waiting
            && self.told_first_at(times, audience).is_some_and(|at| at <= quiet_at)
        {
            // It is to be told before, and is late.
            return false;
        }
        self.grades.expire(now, times.quiet);
        self.state != State::Resolved && self.grades.worst().is_none()
    }

    /// When it is told that it isn't so bad any more: not at once, as it may be again.
    fn falls_at(&self, times: &Times) -> Option<Instant> {
        let fell = self.grades.worst() < Some(self.severity);
        self.told_at.filter(|_| fell).map(|told_at| time::after(told_at, times.settle))
    }

    pub(super) fn is_forgotten(&self, now: Instant, times: &Times) -> bool {
        let settled = |told_at| now >= time::after(told_at, times.settle);
        let is_settled = self.told_at.is_none_or(settled) && self.recent_turn(now).is_none();
        self.state == State::Resolved && is_settled
    }

    /// When a waiting entry is to be told.
    pub(super) fn told_first_at(&self, times: &Times, audience: Audience) -> Option<Instant> {
        let (ripe_at, severity) = self.grades.rises_at(None)?;
        let at = time::after(ripe_at, times.group);
        let severity = self.grades.reached(at).unwrap_or(severity);
        let settled = self.told_at.map(|told_at| time::after(told_at, times.settle));
        // What comes and goes is told again only so often, unless it got worse.
        let at = at.max(settled.filter(|_| severity <= self.severity).unwrap_or(at));
        (!self.is_muted(audience.of(severity))).then_some(at)
    }

    fn is_muted(&self, wants: Sinks) -> bool {
        !wants.is_empty() && wants.without(self.muted).is_empty()
    }

    /// Who should have heard of it, and didn't.
    pub(super) fn owed(&self, audience: Audience) -> Sinks {
        let heard = self.heard.at(self.severity);
        audience.of(self.severity).without(heard).without(self.muted).without(self.missed)
    }

    /// When it is to be told again.
    fn repeats_at(&self, times: &Times, audience: Audience) -> Option<Instant> {
        let muted = self.is_muted(audience.of(self.severity));
        self.told_at.filter(|_| !muted).map(|told_at| time::after(told_at, times.repeat))
    }

    /// When something is to be done about it, should nothing be seen before.
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

    /// What is to be told by now; without waiting for others to join it, if it is to `hurry`.
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
        // Who needn't hear of it any more, now that it isn't so bad.
        let spared = self.heard.take(self.heard.all().without(audience.of(self.severity)));
        told.extend(self.ends(spared, false));
        told.extend(self.tells(audience.of(self.severity).without(self.muted), before, true));
        told
    }

    /// How bad it is to be told to be from now on, if that is to be told.
    fn next_severity(
        &self,
        now: Instant,
        (times, hurry): (&Times, bool),
        audience: Audience,
    ) -> Option<Severity> {
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let reached = self.grades.reached(now);
        // Either: what got worse within the wait may have been muted for all who heard of it before.
        let in_a_hurry = Times { group: Duration::ZERO, ..*times };
        let is_told = |times| passed(self.told_first_at(times, audience));
        match self.state {
            State::Waiting if is_told(times) || hurry && is_told(&in_a_hurry) => reached,
            State::Firing if reached > Some(self.severity) => reached,
            State::Firing if passed(self.falls_at(times)) => self.grades.worst(),
            _ => None,
        }
    }

    /// Tells these how bad it is now. `before`: what others were told who heard of it.
    fn tells(&mut self, to: Sinks, before: Option<Severity>, news: bool) -> Vec<Told> {
        let severity = self.severity;
        let told = |to, was: Option<Severity>, news| {
            let was = was.filter(|was| *was != severity);
            Told { to, severity, was, resolved: false, news }
        };
        // Something muted it for some while it got worse or better.
        let others = Severity::ALL.into_iter().filter(|was| Some(*was) != before);
        let mut all: Vec<_> =
            others.map(|was| told(to.only(self.heard.at(was)), Some(was), false)).collect();
        let rest = all.iter().fold(to, |rest, other| rest.without(other.to));
        all.push(told(rest, before, news));
        all.retain(|told| told.news || !told.to.is_empty());
        self.heard.hear(to, severity);
        all
    }

    /// What it is about, as far as others depend on it.
    pub(super) fn subject<'a>(&'a self, kind: AlertKind, label: &'a str) -> Subject<'a> {
        let region = if kind == AlertKind::RegionLost { Some(label) } else { self.region };
        Subject { kind, region }
    }

    pub(super) fn region(&self) -> Option<&'static str> {
        self.region
    }
}
