//! One thing that may be worth an alert: since when, how bad, and who has heard of it.

use std::time::Duration;

use crate::alert::audience::{Audience, Sinks};
use crate::alert::sighting::{Facts, Sighting};
use crate::alert::{AlertKind, Severity};
use crate::classify::Cause;
use crate::time::{self, Instant};

use super::grade::Grades;
use super::inhibit::Subject;

/// How long things take; see the builder's setters.
#[derive(Clone, Copy, Debug)]
pub(in crate::alert) struct Times {
    pub(in crate::alert) group: Duration,
    pub(in crate::alert) repeat: Duration,
    pub(in crate::alert) settle: Duration,
    pub(in crate::alert) quiet: Duration,
}

/// How soon a queue that was full is offered the same again.
const MISSED: Duration = Duration::from_secs(1);

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
    region: Option<&'static str>,
    grades: Grades,
    told_at: Option<Instant>,
    /// Who heard of it.
    told: Sinks,
    /// Whose queue was full, and since when: they hear of it when it is seen again.
    missed: Sinks,
    missed_at: Instant,
    /// Who hears of something that makes this needless.
    pub(super) muted: Sinks,
}

/// What is to be told of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) to: Sinks,
    /// Who needn't hear of it any more, now that it isn't so bad: for them it is over.
    pub(super) spared: Sinks,
    /// How bad it was told to be before, if that has changed.
    pub(super) was: Option<Severity>,
    /// Whether it is worth a line in the history.
    pub(super) news: bool,
}

impl Told {
    fn new(to: Sinks, news: bool) -> Self {
        Self { to, spared: Sinks::default(), was: None, news }
    }
}

impl Entry {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Resolved,
            severity: Severity::Info,
            facts: Facts::default(),
            begun: now,
            region: None,
            grades: Grades::default(),
            told_at: None,
            told: Sinks::default(),
            missed: Sinks::default(),
            missed_at: now,
            muted: Sinks::default(),
        }
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
    pub(super) fn end(&mut self) -> Option<Told> {
        let before = std::mem::replace(&mut self.state, State::Resolved);
        let to = std::mem::take(&mut self.told);
        (before == State::Firing).then_some(Told::new(to, true))
    }

    /// Who isn't told after all.
    pub(super) fn miss(&mut self, sinks: Sinks, now: Instant) {
        self.missed_at = now;
        self.told = self.told.without(sinks);
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
        self.state == State::Resolved && self.told_at.is_none_or(settled)
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
        audience.of(self.severity).without(self.told).without(self.muted).without(self.missed)
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
                let others = [self.falls_at(times), self.repeats_at(times, audience)];
                rises_at.into_iter().chain(others.into_iter().flatten()).min()
            }
        };
        tells_at.into_iter().chain(self.grades.quiet_at(times.quiet)).min()
    }

    /// What is to be told by now.
    pub(super) fn tell(&mut self, now: Instant, times: &Times, audience: Audience) -> Option<Told> {
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let (reached, standing) = (self.grades.reached(now), self.grades.worst());
        let mut spared = Sinks::default();
        let before = Some(self.severity).filter(|_| self.state == State::Firing);
        match self.state {
            State::Waiting if passed(self.told_first_at(times, audience)) => {
                self.severity = reached?;
            }
            State::Firing if reached > Some(self.severity) => self.severity = reached?,
            State::Firing if passed(self.falls_at(times)) => {
                self.severity = standing?;
                spared = self.told.without(audience.of(self.severity));
            }
            State::Firing if passed(self.repeats_at(times, audience)) => {}
            State::Firing => {
                let to = self.owed(audience);
                self.told = self.told.and(to);
                return (!to.is_empty()).then_some(Told::new(to, false));
            }
            State::Waiting | State::Resolved => return None,
        }
        let to = audience.of(self.severity).without(self.muted);
        self.told = self.told.without(spared).and(to);
        (self.state, self.told_at) = (State::Firing, Some(now));
        let was = before.filter(|before| *before != self.severity);
        Some(Told { to, spared, was, news: true })
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
