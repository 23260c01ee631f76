//! What is firing, who has heard of it, and who is to hear now.
//!
//! A plain machine of `(state, now)`: it reads no clock, takes no lock and tells nobody.

use std::collections::HashMap;
use std::time::Duration;

use super::rule::{Facts, Lasts, Sighting};
use super::{AlertKind, Severity};
use crate::classify::Cause;
use crate::time::{self, Instant};

/// A set of sinks, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sinks(u64);

impl Sinks {
    /// How many sinks there can be.
    pub(super) const MOST: usize = 64;

    pub(super) fn with(self, sink: usize) -> Self {
        Self(self.0 | 1 << sink)
    }

    pub(super) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    pub(super) fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
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

/// How long things take; see the builder's setters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) repeat: Duration,
    pub(super) settle: Duration,
    pub(super) quiet: Duration,
}

/// What makes two sightings the same: the kind, the failure where calls fail in many ways,
/// and the label.
type Family = (AlertKind, Option<Cause>);

#[derive(Debug)]
pub(super) struct Lifecycle {
    families: HashMap<Family, HashMap<Box<str>, Entry>>,
    len: usize,
    most: usize,
    times: Times,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    severity: Severity,
    facts: Facts,
    lasts: Lasts,
    seen_at: Instant,
    /// When its trigger was told last.
    told_at: Instant,
    /// Who heard that.
    told: Sinks,
    /// Who should have.
    wants: Sinks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Firing,
    /// It fires again so soon after it was resolved that it isn't told yet.
    Held,
    Resolved,
}

/// What is to be done about a sighting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Who is to hear.
    pub(super) to: Sinks,
    /// Whether it is worth a line in the history.
    pub(super) news: bool,
    /// When there is something to do about it, should nothing be seen before.
    pub(super) due: Option<Instant>,
}

/// What is to be told because time has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) kind: AlertKind,
    pub(super) label: Box<str>,
    pub(super) severity: Severity,
    pub(super) facts: Facts,
    pub(super) resolved: bool,
    pub(super) to: Sinks,
}

impl Due {
    pub(super) fn sighting(&self) -> Sighting<'_> {
        let Self { kind, ref label, severity, facts, .. } = *self;
        Sighting { kind, severity, label, facts, lasts: Lasts::UntilTold }
    }
}

fn family(seen: &Sighting<'_>) -> Family {
    let by_cause = seen.kind == AlertKind::CallFailed;
    (seen.kind, seen.facts.cause.filter(|_| by_cause))
}

impl Lifecycle {
    pub(super) fn new(most: usize, times: Times) -> Self {
        Self { families: HashMap::new(), len: 0, most: most.max(1), times }
    }

    /// It was seen, and these sinks want to hear of it.
    pub(super) fn fire(&mut self, seen: &Sighting<'_>, wants: Sinks, now: Instant) -> Step {
        let times = self.times;
        if let Some(entry) = self.entry(seen) {
            return entry.fire(seen, wants, now, &times);
        }
        if self.len >= self.most {
            self.forget_one();
        }
        let mut entry = Entry {
            state: State::Resolved,
            severity: seen.severity,
            facts: seen.facts,
            lasts: seen.lasts,
            seen_at: now,
            told_at: now,
            told: Sinks::default(),
            wants,
        };
        let step = entry.tell(seen, wants, now, &times);
        self.families.entry(family(seen)).or_default().insert(seen.label.into(), entry);
        self.len += 1;
        step
    }

    /// Its end was told.
    pub(super) fn resolve(&mut self, seen: &Sighting<'_>) -> Step {
        let Some(entry) = self.entry(seen) else {
            return Step::default();
        };
        // What was held was never told, and neither is its end.
        let news = entry.state == State::Firing;
        let to = std::mem::take(&mut entry.told);
        entry.state = State::Resolved;
        if news { Step { to, news, due: None } } else { Step::default() }
    }

    /// These sinks were to hear of it, and didn't: they will at the next occasion.
    pub(super) fn missed(&mut self, seen: &Sighting<'_>, sinks: Sinks) {
        if let Some(entry) = self.entry(seen) {
            entry.told = entry.told.without(sinks);
        }
    }

    /// What is to be told by now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Due> {
        let (mut all, times) = (Vec::new(), self.times);
        for (&(kind, _), family) in &mut self.families {
            family.retain(|label, entry| {
                let told = entry.pass(now, &times);
                if let Some((resolved, to)) = told {
                    let Entry { severity, facts, .. } = *entry;
                    let label = label.clone();
                    all.push(Due { kind, label, severity, facts, resolved, to });
                }
                !entry.is_forgotten(now, &times)
            });
        }
        self.families.retain(|_, family| !family.is_empty());
        self.len = self.families.values().map(HashMap::len).sum();
        all
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let entries = self.families.values().flat_map(HashMap::values);
        entries.filter_map(|entry| entry.next_due(&self.times)).min()
    }

    fn entry(&mut self, seen: &Sighting<'_>) -> Option<&mut Entry> {
        self.families.get_mut(&family(seen))?.get_mut(seen.label)
    }

    /// Makes room: what is over goes first, then what was seen longest ago.
    fn forget_one(&mut self) {
        let all = self.families.iter().flat_map(|(family, entries)| {
            entries.iter().map(move |(label, entry)| (family, label, entry))
        });
        let oldest = all
            .min_by_key(|(.., entry)| (entry.state != State::Resolved, entry.seen_at))
            .map(|(family, label, _)| (*family, label.clone()));
        if let Some((family, label)) = oldest
            && let Some(entries) = self.families.get_mut(&family)
            && entries.remove(&label).is_some()
        {
            self.len -= 1;
        }
    }
}

impl Entry {
    fn fire(&mut self, seen: &Sighting<'_>, wants: Sinks, now: Instant, times: &Times) -> Step {
        self.seen_at = now;
        let worse = seen.severity > self.severity;
        let after = match self.state {
            State::Firing => times.repeat,
            State::Held | State::Resolved => times.settle,
        };
        if worse || now >= time::after(self.told_at, after) {
            return self.tell(seen, wants, now, times);
        }
        match self.state {
            State::Firing => {
                if seen.lasts == Lasts::UntilTold {
                    self.lasts = seen.lasts;
                }
                // Those whose queue was full, or who didn't want to hear of less.
                let to = wants.without(self.told);
                self.told = self.told.and(to);
                Step { to, news: false, due: None }
            }
            State::Held => Step::default(),
            State::Resolved => {
                self.state = State::Held;
                (self.facts, self.lasts, self.wants) = (seen.facts, seen.lasts, wants);
                Step { due: self.next_due(times), ..Step::default() }
            }
        }
    }

    fn tell(&mut self, seen: &Sighting<'_>, wants: Sinks, now: Instant, times: &Times) -> Step {
        if self.state == State::Firing && self.lasts == Lasts::UntilTold {
            // What has its end told keeps waiting for that, whoever else sees it.
        } else {
            self.lasts = seen.lasts;
        }
        self.severity = match self.state {
            State::Firing => self.severity.max(seen.severity),
            State::Held | State::Resolved => seen.severity,
        };
        (self.state, self.facts, self.told_at) = (State::Firing, seen.facts, now);
        self.wants = self.wants.and(wants);
        self.told = self.told.and(wants);
        Step { to: wants, news: true, due: self.next_due(times) }
    }

    /// What time alone changes: whether it is resolved, and who hears.
    fn pass(&mut self, now: Instant, times: &Times) -> Option<(bool, Sinks)> {
        if self.next_due(times).is_none_or(|due| now < due) {
            return None;
        }
        if self.state == State::Firing && self.lasts == Lasts::WhileSeen {
            self.state = State::Resolved;
            return Some((true, std::mem::take(&mut self.told)));
        }
        // Held for long enough, or to be repeated.
        self.state = State::Firing;
        self.told_at = now;
        self.told = self.told.and(self.wants);
        Some((false, self.wants))
    }

    fn next_due(&self, times: &Times) -> Option<Instant> {
        match (self.state, self.lasts) {
            (State::Resolved, _) => None,
            (State::Held, _) => Some(time::after(self.told_at, times.settle)),
            (State::Firing, Lasts::WhileSeen) => Some(time::after(self.seen_at, times.quiet)),
            (State::Firing, _) => Some(time::after(self.told_at, times.repeat)),
        }
    }

    fn is_forgotten(&self, now: Instant, times: &Times) -> bool {
        self.state == State::Resolved && now >= time::after(self.told_at, times.settle)
    }
}

#[cfg(test)]
mod tests;
