//! The lifecycle of alerts: pending, firing, resolved, and the notifications that are due.
//!
//! A function of `(state, now)`: it reads no clock, takes no lock and sends nothing.

mod entry;
mod severity_history;

use std::cmp::Ordering;
use std::collections::HashMap;

pub(super) use self::entry::Times;
use self::entry::{Entry, Policy, State, Update};
use super::observation::{Facts, Observation};
use super::sinks::{SinkSet, Subscriptions};
use crate::event::AlertKind;
use crate::time::Instant;
use crate::verdict::Cause;

/// The kind and, for failed calls, the cause. Observations of the same family and label are about the
/// same condition.
type Family = (AlertKind, Option<Cause>);

fn family(kind: AlertKind, facts: &Facts) -> Family {
    (kind, facts.cause.filter(|_| kind == AlertKind::CallFailed))
}

/// The conditions that are known, bounded by a maximum number.
#[derive(Debug)]
pub(super) struct Lifecycle {
    families: HashMap<Family, HashMap<Box<str>, Entry>>,
    len: usize,
    max_len: usize,
    policy: Policy,
}

/// The effect of an observation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// When the condition must be updated, unless it is observed earlier.
    pub(super) due_at: Option<Instant>,
    /// The number of sinks that are not notified, because they were of the same or it ended too soon.
    pub(super) coalesced: usize,
}

/// A change that sinks are notified of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notification {
    pub(super) kind: AlertKind,
    pub(super) label: Box<str>,
    pub(super) region: Option<&'static str>,
    pub(super) facts: Facts,
    pub(super) since: Instant,
    pub(super) calls: u64,
    pub(super) update: Update,
}

impl Notification {
    fn new(kind: AlertKind, label: &str, entry: &Entry, update: Update) -> Self {
        let Entry { facts, since, calls, region, .. } = *entry;
        Self { kind, label: label.into(), region, facts, since, calls, update }
    }

    /// Resolved alerts come first, then the older, then the more severe.
    fn order(&self, other: &Self) -> Ordering {
        let key = (other.update.resolved, self.since, other.update.severity, &self.label);
        key.cmp(&(self.update.resolved, other.since, self.update.severity, &other.label))
    }
}

impl Lifecycle {
    pub(super) fn new(max_len: usize, times: Times, subscriptions: Subscriptions) -> Self {
        let (max_len, policy) = (max_len.max(1), Policy { times, wanted: subscriptions });
        Self { families: HashMap::new(), len: 0, max_len, policy }
    }

    pub(super) fn times(&self) -> &Times {
        &self.policy.times
    }

    /// Records an observation.
    pub(super) fn observe(&mut self, observation: &Observation<'_>, now: Instant) -> Effect {
        let policy = self.policy;
        let Observation { kind, label, facts, .. } = observation;
        if let Some(entry) = self.entry(*kind, label, facts) {
            if entry.is_outdated(observation.generation, now) {
                return Effect::default();
            }
            let begins = entry.state == State::Resolved;
            entry.observe(observation, now);
            let due_at = entry.due_at(&policy);
            let sinks = entry.subscribers(now, &policy);
            let unnotified = entry.unnotified(&policy);
            // The sinks that are notified of this observation; it is coalesced for the others.
            let notified = match entry.state {
                _ if begins => sinks,
                // They are notified of the first observation.
                State::Pending => SinkSet::default(),
                _ if due_at.is_none_or(|due_at| due_at > now) => SinkSet::default(),
                State::Firing if !unnotified.is_empty() => unnotified,
                _ => sinks,
            };
            return Effect { due_at, coalesced: sinks.difference(notified).len() };
        }
        let mut entry = Entry::new(now);
        entry.is_outdated(observation.generation, now);
        entry.observe(observation, now);
        let Some(coalesced) = self.make_room(&entry, now) else {
            let coalesced = entry.subscribers(now, &policy).len();
            return Effect { due_at: None, coalesced };
        };
        self.insert(observation, &entry);
        Effect { due_at: entry.due_at(&policy), coalesced }
    }

    /// Records the end of a condition. Returns the notifications of it, and other effects.
    pub(super) fn resolve(
        &mut self,
        ended: &Observation<'_>,
        now: Instant,
    ) -> (Vec<Notification>, Effect) {
        let policy = self.policy;
        let mut effect = Effect::default();
        let Some(entry) = self.entry(ended.kind, ended.label, &ended.facts) else {
            // An event of its beginning that arrives late is recognised, if there is room.
            if ended.generation.is_some() && self.len < self.max_len {
                let mut entry = Entry::new(now);
                entry.is_outdated(ended.generation, now);
                self.insert(ended, &entry);
            }
            return (Vec::new(), effect);
        };
        if entry.is_outdated(ended.generation, now) {
            return (Vec::new(), effect);
        }
        if entry.state == State::Pending {
            effect.coalesced = entry.subscribers(now, &policy).len();
        }
        let is_cause = entry.subject(ended.kind, ended.label).is_cause();
        let updates = entry.resolve().into_iter();
        let notifications = updates
            .map(|update| Notification::new(ended.kind, ended.label, entry, update))
            .collect();
        if is_cause {
            effect.coalesced += self.update_muted(now);
            effect.due_at = self.next_due();
        }
        (notifications, effect)
    }

    /// Records that the queues of these sinks had no room for a notification. They are offered it again
    /// at the next observation, or a minute later.
    pub(super) fn missed(&mut self, one: &Notification, sinks: SinkSet, now: Instant) {
        if let Some(entry) = self.entry(one.kind, &one.label, &one.facts) {
            entry.miss(sinks, now);
        }
    }

    /// Returns the notifications that are due by now, in order, and the number of sinks that are not
    /// notified of conditions that ended too soon. With `flush` nothing waits for others to join it.
    pub(super) fn due(&mut self, now: Instant, flush: bool) -> (Vec<Notification>, usize) {
        let (mut all, mut coalesced) = (Vec::new(), 0);
        let policy = self.policy;
        self.retain(|kind, label, entry| {
            if entry.is_quiet(now, &policy) {
                if entry.state == State::Pending {
                    coalesced += entry.subscribers(now, &policy).len();
                }
                let updates = entry.resolve().into_iter();
                all.extend(updates.map(|update| Notification::new(kind, label, entry, update)));
            }
            !entry.is_removable(now, &policy)
        });
        coalesced += self.update_muted(now);
        // Entries of one kind are notified together.
        let is_due = |entry: &Entry| {
            let at = entry.first_notification_at(&policy).filter(|at| *at <= now);
            entry.state == State::Pending && at.is_some()
        };
        let flushed = self.families.iter().filter(|(_, one)| flush || one.values().any(is_due));
        let flushed: Vec<_> = flushed.map(|((kind, _), _)| *kind).collect();
        self.retain(|kind, label, entry| {
            let updates = entry.update(now, flushed.contains(&kind), &policy).into_iter();
            all.extend(updates.map(|update| Notification::new(kind, label, entry, update)));
            true
        });
        all.sort_by(Notification::order);
        (all, coalesced)
    }

    /// Returns when the next entry is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let entries = self.families.values().flat_map(HashMap::values);
        entries.filter_map(|entry| entry.due_at(&self.policy)).min()
    }

    /// Returns the conditions that last, whether or not a sink was notified, in order.
    pub(super) fn firing(&self, now: Instant) -> Vec<Notification> {
        let firing = self.entries().filter_map(|((kind, _), label, entry)| {
            let severity = entry.current_severity(now)?;
            // It may have become quiet since the last update, which would change the entry.
            let is_quiet = { *entry }.is_quiet(now, &self.policy);
            let update = Update {
                sinks: SinkSet::default(),
                severity,
                previous_severity: None,
                resolved: false,
                is_recorded: false,
            };
            (!is_quiet).then(|| Notification::new(kind, label, entry, update))
        });
        let mut firing: Vec<_> = firing.collect();
        firing.sort_by(Notification::order);
        firing
    }

    fn entries(&self) -> impl Iterator<Item = (Family, &str, &Entry)> {
        self.families.iter().flat_map(|(family, entries)| {
            entries.iter().map(|(label, entry)| (*family, &**label, entry))
        })
    }

    fn entry(&mut self, kind: AlertKind, label: &str, facts: &Facts) -> Option<&mut Entry> {
        self.families.get_mut(&family(kind, facts))?.get_mut(label)
    }

    fn insert(&mut self, observation: &Observation<'_>, entry: &Entry) {
        let family = family(observation.kind, &observation.facts);
        self.families.entry(family).or_default().insert(observation.label.into(), *entry);
        self.len += 1;
    }

    fn retain(&mut self, mut keep: impl FnMut(AlertKind, &str, &mut Entry) -> bool) {
        for (&(kind, _), family) in &mut self.families {
            family.retain(|label, entry| keep(kind, label, entry));
        }
        self.families.retain(|_, family| !family.is_empty());
        self.len = self.families.values().map(HashMap::len).sum();
    }

    /// Mutes each entry for the sinks that are notified of its cause. When the cause ends, pending alerts
    /// about failed calls are dropped: calls must fail again. Returns the number of sinks that are not
    /// notified of those.
    fn update_muted(&mut self, now: Instant) -> usize {
        let (policy, mut coalesced) = (self.policy, 0);
        let causes: Vec<_> = self
            .entries()
            .filter(|((kind, _), label, entry)| entry.subject(*kind, label).is_cause())
            .filter_map(|((kind, _), label, entry)| {
                let sinks = policy.wanted.at(entry.current_severity(now)?);
                Some((kind, Box::<str>::from(label), *entry, sinks))
            })
            .collect();
        self.retain(|kind, label, entry| {
            let muting = causes.iter().filter(|(cause, cause_label, cause_entry, _)| {
                cause_entry.subject(*cause, cause_label).mutes(entry.subject(kind, label))
            });
            let muted = muting.fold(SinkSet::default(), |muted, (.., sinks)| muted.union(*sinks));
            let was_muted = !std::mem::replace(&mut entry.muted, muted).is_empty();
            let is_unmuted = was_muted && muted.is_empty();
            if is_unmuted && entry.state == State::Pending && kind.is_per_call() {
                coalesced += entry.subscribers(now, &policy).len();
                entry.state = State::Resolved;
            }
            true
        });
        coalesced
    }

    /// Makes room for a new entry: resolved entries are removed first, then less severe ones. Returns
    /// the number of sinks that are not notified of the removed entry, or `None` if there is no room. An
    /// entry of the same severity is kept: otherwise a flood of keys would remove each other before any
    /// of them is notified.
    fn make_room(&mut self, new: &Entry, now: Instant) -> Option<usize> {
        if self.len < self.max_len {
            return Some(0);
        }
        let order =
            |entry: &Entry| (entry.state != State::Resolved, entry.max_severity(), entry.until());
        let (family, label, entry) = self.entries().min_by_key(|(.., entry)| order(entry))?;
        if entry.state != State::Resolved && entry.max_severity() >= new.max_severity() {
            return None;
        }
        let (label, entry) = (Box::<str>::from(label), *entry);
        if let Some(entries) = self.families.get_mut(&family) {
            entries.remove(&label);
            self.len -= 1;
        }
        let is_pending = entry.state == State::Pending;
        let sinks = entry.subscribers(now, &self.policy);
        Some(if is_pending { sinks.len() } else { 0 })
    }
}

#[cfg(test)]
mod tests;
