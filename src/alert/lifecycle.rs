//! What is firing, who has notified of it, and who is to receive now.
//!
//! A plain machine of `(state, now)`: it reads no clock, takes no lock and sends nothing.

mod entry;

use std::cmp::Ordering;
use std::collections::HashMap;

use self::entry::{Entry, State};
use super::observation::{Details, Observation, Recipients, Sinks};
use crate::event::{AlertKind, Severity};
use crate::time::Instant;
use crate::verdict::Cause;

pub(super) use self::entry::Times;

/// Two sightings are about the same thing if they have the same family and the same label. A family is a
/// kind and, for calls that fail, the kind of failure.
type Family = (AlertKind, Option<Cause>);

#[derive(Debug)]
pub(super) struct Lifecycle {
    families: HashMap<Family, HashMap<Box<str>, Entry>>,
    len: usize,
    most: usize,
    times: Times,
    recipients: Recipients,
}

/// What a observation led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// When something is to be done about it, unless it is seen again before.
    pub(super) due: Option<Instant>,
    /// How many sinks don't receive of it, because they have notified the same or it was over too soon.
    pub(super) coalesced: usize,
}

/// What is to be notified.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notice {
    pub(super) kind: AlertKind,
    pub(super) label: Box<str>,
    pub(super) region: Option<&'static str>,
    pub(super) severity: Severity,
    /// How bad it was notified to be before, if that has changed.
    pub(super) was: Option<Severity>,
    pub(super) details: Details,
    pub(super) since: Instant,
    pub(super) resolved: bool,
    pub(super) to: Sinks,
    /// Whether it is worth a line in the history.
    pub(super) news: bool,
}

fn family(kind: AlertKind, details: &Details) -> Family {
    (kind, details.cause.filter(|_| kind == AlertKind::CallFailed))
}

impl Notice {
    fn of(kind: AlertKind, label: &str, entry: &Entry) -> Self {
        let Entry { severity, details, begun: since, .. } = *entry;
        let (label, region) = (label.into(), entry.region());
        let (was, resolved, to, news) = (None, false, Sinks::default(), false);
        Self { kind, label, region, severity, was, details, since, resolved, to, news }
    }

    /// Sorts what is over first, then by when it began; of two that began together the worse comes first.
    fn order(&self, other: &Self) -> Ordering {
        let ours = (other.resolved, self.since, other.severity, &self.label);
        ours.cmp(&(self.resolved, other.since, self.severity, &other.label))
    }

    fn notified(&self, notified: entry::Notification) -> Self {
        let entry::Notification { to, severity, was, resolved, news } = notified;
        Self { severity, was, resolved, to, news, ..self.clone() }
    }
}

impl Lifecycle {
    pub(super) fn new(most: usize, times: Times, recipients: Recipients) -> Self {
        Self { families: HashMap::new(), len: 0, most: most.max(1), times, recipients }
    }

    /// Takes in that something was seen.
    pub(super) fn fire(&mut self, seen: &Observation<'_>, now: Instant) -> Step {
        let (times, recipients) = (self.times, self.recipients);
        if let Some(entry) = self.entry(seen.kind, seen.label, &seen.details) {
            if entry.is_late(seen.generation, now) {
                return Step::default();
            }
            let begins = entry.state == State::Resolved;
            entry.see(seen, now);
            let due = entry.due(&times, recipients);
            let wants = recipients.of(entry.worth(now));
            let owed = entry.owed(recipients);
            // The sinks that receive of this very observation; for the others it is coalesced.
            let notified = match entry.state {
                _ if begins => wants,
                // The first observation is notified, and this isn't it.
                State::Waiting => Sinks::default(),
                _ if due.is_none_or(|due| due > now) => Sinks::default(),
                State::Firing if !owed.is_empty() => owed,
                _ => wants,
            };
            return Step { due, coalesced: wants.without(notified).len() };
        }
        let mut entry = Entry::new(now);
        entry.is_late(seen.generation, now);
        entry.see(seen, now);
        let Some(coalesced) = self.make_room(&entry, now) else {
            return Step { due: None, coalesced: recipients.of(entry.worth(now)).len() };
        };
        let due = entry.due(&times, recipients);
        let family = self.families.entry(family(seen.kind, &seen.details)).or_default();
        family.insert(seen.label.into(), entry);
        self.len += 1;
        Step { due, coalesced }
    }

    /// Takes in that something is over. Returns the notices of that, and what else follows.
    pub(super) fn resolve(&mut self, seen: &Observation<'_>, now: Instant) -> (Vec<Notice>, Step) {
        let recipients = self.recipients;
        let Some(entry) = self.entry(seen.kind, seen.label, &seen.details) else {
            self.ended_before(seen, now);
            return (Vec::new(), Step::default());
        };
        if entry.is_late(seen.generation, now) {
            return (Vec::new(), Step::default());
        }
        let mut step = Step::default();
        if entry.state == State::Waiting {
            step.coalesced = recipients.of(entry.worth(now)).len();
        }
        let notice = Notice::of(seen.kind, seen.label, entry);
        let is_cause = entry.subject(seen.kind, seen.label).is_cause();
        let notified = entry.end().into_iter().map(|notified| notice.notified(notified)).collect();
        if is_cause {
            step.coalesced += self.mute(now);
            step.due = self.next_due();
        }
        (notified, step)
    }

    /// Takes in the end of something whose beginning is unknown. A beginning that is notified late is then
    /// recognised as such, for a clock and if there is room.
    fn ended_before(&mut self, seen: &Observation<'_>, now: Instant) {
        if seen.generation.is_some() && self.len < self.most {
            let mut entry = Entry::new(now);
            entry.is_late(seen.generation, now);
            let family = self.families.entry(family(seen.kind, &seen.details)).or_default();
            family.insert(seen.label.into(), entry);
            self.len += 1;
        }
    }

    /// Takes in that these sinks didn't receive of a notice. They will when the thing is seen again, or a minute
    /// later.
    pub(super) fn missed(&mut self, notice: &Notice, sinks: Sinks, now: Instant) {
        if let Some(entry) = self.entry(notice.kind, &notice.label, &notice.details) {
            entry.miss(sinks, now);
        }
    }

    /// Returns what is to be notified by now, in order, and how many sinks don't receive of what was over too soon.
    /// With `hurry`, what only waits for others to join it is notified too.
    pub(super) fn due(&mut self, now: Instant, hurry: bool) -> (Vec<Notice>, usize) {
        let (mut all, mut coalesced) = (Vec::new(), 0);
        let (times, recipients) = (self.times, self.recipients);
        self.retain(|kind, label, entry| {
            if entry.is_over(now, &times, recipients) {
                if entry.state == State::Waiting {
                    coalesced += recipients.of(entry.worth(now)).len();
                }
                let notice = Notice::of(kind, label, entry);
                all.extend(entry.end().into_iter().map(|notified| notice.notified(notified)));
            }
            !entry.is_expired(now, &times)
        });
        coalesced += self.mute(now);
        // What joins another of its kind is notified with it.
        let ripe = |entry: &Entry| {
            let at = entry.first_notified_at(&times, recipients).filter(|at| *at <= now);
            entry.state == State::Waiting && at.is_some()
        };
        let mut hurried = Vec::new();
        for ((kind, _), family) in &self.families {
            if hurry || family.values().any(ripe) {
                hurried.push(*kind);
            }
        }
        self.retain(|kind, label, entry| {
            let notified = entry.emit(now, (&times, hurried.contains(&kind)), recipients);
            if !notified.is_empty() {
                let notice = Notice::of(kind, label, entry);
                all.extend(notified.into_iter().map(|notified| notice.notified(notified)));
            }
            true
        });
        all.sort_by(Notice::order);
        (all, coalesced)
    }

    /// Returns when something is due next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let entries = self.families.values().flat_map(HashMap::values);
        entries.filter_map(|entry| entry.due(&self.times, self.recipients)).min()
    }

    /// Returns what goes on, whether or not a sink was notified, in order.
    pub(super) fn firing(&self, now: Instant) -> Vec<Notice> {
        let mut all: Vec<_> = self
            .entries()
            .filter_map(|((kind, _), label, entry)| {
                let severity = entry.level(now)?;
                // It may have gone quiet since the last look: ask a copy, as asking changes it.
                let mut looked_at = *entry;
                if looked_at.is_over(now, &self.times, self.recipients) {
                    return None;
                }
                Some(Notice { severity, ..Notice::of(kind, label, entry) })
            })
            .collect();
        all.sort_by(Notice::order);
        all
    }

    fn entries(&self) -> impl Iterator<Item = (Family, &str, &Entry)> {
        self.families.iter().flat_map(|(family, entries)| {
            entries.iter().map(|(label, entry)| (*family, &**label, entry))
        })
    }

    fn entry(&mut self, kind: AlertKind, label: &str, details: &Details) -> Option<&mut Entry> {
        self.families.get_mut(&family(kind, details))?.get_mut(label)
    }

    fn retain(&mut self, mut keep: impl FnMut(AlertKind, &str, &mut Entry) -> bool) {
        for (&(kind, _), family) in &mut self.families {
            family.retain(|label, entry| keep(kind, label, entry));
        }
        self.families.retain(|_, family| !family.is_empty());
        self.len = self.families.values().map(HashMap::len).sum();
    }

    /// Mutes each entry for the sinks that receive of its cause. An alert about failed calls is given up when its
    /// cause is over: calls must fail again. Returns how many sinks that spares.
    fn mute(&mut self, now: Instant) -> usize {
        let (recipients, mut spared) = (self.recipients, 0);
        let causes: Vec<_> = self
            .entries()
            .filter(|((kind, _), label, entry)| entry.subject(*kind, label).is_cause())
            .filter_map(|((kind, _), label, entry)| {
                let receive = self.recipients.of(entry.level(now)?);
                Some((kind, Box::<str>::from(label), *entry, receive))
            })
            .collect();
        self.retain(|kind, label, entry| {
            let muting = causes.iter().filter(|(cause, cause_label, cause_entry, _)| {
                cause_entry.subject(*cause, cause_label).mutes(entry.subject(kind, label))
            });
            let before = entry.muted;
            entry.muted = muting.fold(Sinks::default(), |muted, (.., receive)| muted.and(*receive));
            let was_muted = !before.is_empty() && entry.muted.is_empty();
            if was_muted && entry.state == State::Waiting && kind.is_per_call() {
                spared += recipients.of(entry.worth(now)).len();
                entry.state = State::Resolved;
            }
            true
        });
        spared
    }

    /// Makes room for a new entry: what is over goes first, then what is less bad. Returns how many sinks
    /// never receive of what went, or `None` if there is no room. What is as bad as the new entry stays:
    /// otherwise more keys than there is room for would push each other out before any of them is notified.
    fn make_room(&mut self, new: &Entry, now: Instant) -> Option<usize> {
        if self.len < self.most {
            return Some(0);
        }
        let order = |entry: &Entry| (entry.state != State::Resolved, entry.worst(), entry.until());
        let (family, label, entry) = self.entries().min_by_key(|(.., entry)| order(entry))?;
        if entry.state != State::Resolved && entry.worst() >= new.worst() {
            return None;
        }
        let (label, entry) = (Box::<str>::from(label), *entry);
        if let Some(entries) = self.families.get_mut(&family) {
            entries.remove(&label);
            self.len -= 1;
        }
        let waited = entry.state == State::Waiting;
        Some(if waited { self.recipients.of(entry.worth(now)).len() } else { 0 })
    }
}

#[cfg(test)]
mod tests;

/// What an alert is about, as far as others depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject<'a> {
    pub(super) kind: AlertKind,
    pub(super) region: Option<&'a str>,
}

impl Subject<'_> {
    /// Whether it can mute others.
    pub(super) fn is_cause(self) -> bool {
        matches!(
            self.kind,
            AlertKind::CredentialRejected | AlertKind::AllRegionsOut | AlertKind::RegionOut
        )
    }

    /// Whether a sink that hears of this needn't receive of `other`. A dead key makes everything else fail. With
    /// no region left, each is lost, circuits open and calls fail. A lost region's circuit is open.
    pub(super) fn mutes(self, other: Subject<'_>) -> bool {
        match (self.kind, other.kind) {
            (AlertKind::CredentialRejected, kind) => kind != AlertKind::CredentialRejected,
            (
                AlertKind::AllRegionsOut,
                AlertKind::RegionOut
                | AlertKind::CircuitOpen
                | AlertKind::CallFailed
                | AlertKind::Timeout,
            ) => true,
            (AlertKind::RegionOut, AlertKind::CircuitOpen) => {
                self.region.is_some() && self.region == other.region
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod inhibit_tests {
    use super::*;

    #[test]
    fn causes_mute_what_follows_from_them_and_nothing_else() {
        let key = Subject { kind: AlertKind::CredentialRejected, region: None };
        let all = Subject { kind: AlertKind::AllRegionsOut, region: None };
        let us = Subject { kind: AlertKind::RegionOut, region: Some("us") };
        let eu = Subject { kind: AlertKind::RegionOut, region: Some("eu") };
        let circuit = |region| Subject { kind: AlertKind::CircuitOpen, region };
        let burn = Subject { kind: AlertKind::BudgetBurn, region: None };
        let quota = Subject { kind: AlertKind::QuotaExhausted, region: None };
        for (cause, other, expected) in [
            (key, key, false),
            (key, all, true),
            (key, us, true),
            (key, circuit(None), true),
            (key, burn, true),
            (all, Subject { kind: AlertKind::CallFailed, region: None }, true),
            (all, Subject { kind: AlertKind::Timeout, region: Some("us") }, true),
            (all, quota, false),
            (all, key, false),
            (all, all, false),
            (all, us, true),
            (all, circuit(Some("us")), true),
            (all, circuit(None), true),
            (all, burn, false),
            (us, us, false),
            (us, eu, false),
            (us, all, false),
            (us, circuit(Some("us")), true),
            (us, circuit(Some("eu")), false),
            (us, circuit(None), false),
            (circuit(Some("us")), us, false),
            (quota, us, false),
        ] {
            assert_eq!(cause.mutes(other), expected, "{cause:?} {other:?}");
            assert!(cause.is_cause() || !expected, "{cause:?}");
        }
    }
}
