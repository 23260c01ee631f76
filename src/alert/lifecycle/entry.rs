//! One condition: since when it lasts, its severity, and which sinks were notified.

use std::time::Duration;

use super::severity_history::SeverityHistory;
use crate::alert::observation::{Facts, Generation, Observation};
use crate::alert::sinks::{Notified, SinkSet, Subscriptions};
use crate::event::{AlertKind, Severity};
use crate::time::{self, Instant};
use crate::verdict::Cause;

/// The times of notifications; see the builder's setters.
#[derive(Clone, Copy, Debug)]
pub(in crate::alert) struct Times {
    pub(in crate::alert) group_wait: Duration,
    pub(in crate::alert) repeat: Duration,
    pub(in crate::alert) settle: Duration,
    pub(in crate::alert) quiet: Duration,
}

/// The time after which an observation is offered again to a sink whose queue was full.
const REOFFER: Duration = Duration::from_secs(1);
/// The same without another observation.
const REOFFER_UNOBSERVED: Duration = Duration::from_secs(60);

/// Who is notified, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) times: Times,
    pub(super) wanted: Subscriptions,
}

/// The maximum delay of an event behind a later one. After that it belongs to another circuit of the same
/// name, whose generations can't be compared.
const MAX_REORDERING: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No sink was notified yet: the condition has not lasted for the hold time, waits for others, was
    /// notified recently, or is muted.
    Pending,
    Firing,
    Resolved,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    /// The highest severity since the last change that was notified, or is to be.
    pub(super) severity: Severity,
    pub(super) facts: Facts,
    pub(super) since: Instant,
    /// The number of calls with this result.
    pub(super) calls: u64,
    pub(super) region: Option<&'static str>,
    /// The latest generation that was observed, and when.
    generation: Option<(Generation, Instant)>,
    history: SeverityHistory,
    notified_at: Option<Instant>,
    notified: Notified,
    /// The state before the last notification, for sinks whose queue is full.
    previously_notified: Notified,
    /// The sinks whose queue was full, and since when: they are not offered it again at once.
    missed: SinkSet,
    missed_at: Instant,
    /// The sinks that are notified of its cause instead.
    pub(super) muted: SinkSet,
}

/// A change that sinks are notified of, which have the same previous severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::alert) struct Update {
    pub(in crate::alert) sinks: SinkSet,
    pub(in crate::alert) severity: Severity,
    /// The previously notified severity, if it has changed.
    pub(in crate::alert) previous_severity: Option<Severity>,
    /// Whether the condition has ended, at least for these sinks.
    pub(in crate::alert) resolved: bool,
    /// Whether the history and observers receive it.
    pub(in crate::alert) is_recorded: bool,
}

impl Entry {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Resolved,
            severity: Severity::Info,
            facts: Facts::default(),
            since: now,
            calls: 0,
            region: None,
            generation: None,
            history: SeverityHistory::default(),
            notified_at: None,
            notified: Notified::default(),
            previously_notified: Notified::default(),
            missed: SinkSet::default(),
            missed_at: now,
            muted: SinkSet::default(),
        }
    }

    /// Records the generation of an event. Returns whether the event is outdated: an event of a later
    /// generation arrived before it.
    pub(super) fn is_outdated(&mut self, generation: Option<Generation>, now: Instant) -> bool {
        let Some(generation) = generation else {
            return false;
        };
        let latest = self.recent_generation(now);
        let is_outdated = latest.is_some_and(|latest| generation.is_before(latest));
        if !is_outdated {
            self.generation = Some((generation, now));
        }
        is_outdated
    }

    fn recent_generation(&self, now: Instant) -> Option<Generation> {
        let recent = self.generation.filter(|(_, at)| now < time::after(*at, MAX_REORDERING));
        recent.map(|(generation, _)| generation)
    }

    pub(super) fn observe(&mut self, observation: &Observation<'_>, now: Instant) {
        if self.state == State::Resolved {
            (self.state, self.since, self.calls) = (State::Pending, now, 0);
            (self.history, self.region) = (SeverityHistory::default(), None);
        }
        self.calls = self.calls.saturating_add(observation.is_call.into());
        // The message has the facts of the highest severity.
        if observation.hold_times.highest() >= self.history.highest() {
            let known = self.facts.cause;
            self.facts = observation.facts;
            // A call that an open circuit rejected does not show why the circuit opened.
            if self.facts.cause == Some(Cause::CircuitOpen) {
                self.facts.cause = known.or(self.facts.cause);
            }
        }
        if self.state == State::Pending {
            // It is constant once a sink is notified: the sink may identify the alert by it.
            self.region = self.region.or(observation.region);
        }
        if now >= time::after(self.missed_at, REOFFER) {
            self.missed = SinkSet::default();
        }
        self.history.record(observation, now);
    }

    /// Resolves it. Returns the updates; none if no sink was notified of its beginning.
    pub(super) fn resolve(&mut self) -> Vec<Update> {
        let before = std::mem::replace(&mut self.state, State::Resolved);
        let notified = std::mem::take(&mut self.notified);
        if before == State::Firing { self.resolved(notified, true) } else { Vec::new() }
    }

    /// Returns the updates that resolve it for these sinks, each under its last severity.
    fn resolved(&self, notified: Notified, is_recorded: bool) -> Vec<Update> {
        let update = |severity| Update {
            sinks: notified.at(severity),
            severity,
            previous_severity: None,
            resolved: true,
            is_recorded: is_recorded && severity == self.severity,
        };
        let all = Severity::ALL.into_iter().map(update);
        all.filter(|update| update.is_recorded || !update.sinks.is_empty()).collect()
    }

    /// Reverts the last notification for sinks whose queue was full.
    pub(super) fn miss(&mut self, sinks: SinkSet, now: Instant) {
        self.missed_at = now;
        self.notified.restore(sinks, self.previously_notified);
        self.missed = self.missed.union(sinks);
    }

    /// Returns the current severity. It falls only when sinks are notified of that.
    pub(super) fn current_severity(&self, now: Instant) -> Option<Severity> {
        match self.state {
            State::Resolved => None,
            State::Pending => self.history.reached(now),
            State::Firing => self.history.reached(now).max(Some(self.severity)),
        }
    }

    /// Returns the current severity, or the one that is reached first.
    fn expected_severity(&self, now: Instant) -> Severity {
        self.history.reached(now).or(self.history.lowest()).unwrap_or(Severity::Info)
    }

    /// Returns the sinks that want that severity.
    pub(super) fn subscribers(&self, now: Instant, policy: &Policy) -> SinkSet {
        policy.wanted.at(self.expected_severity(now))
    }

    /// Returns the highest severity that it may reach.
    pub(super) fn max_severity(&self) -> Severity {
        self.history.highest().unwrap_or(Severity::Info).max(self.severity)
    }

    /// Returns the time until which it is known to last.
    pub(super) fn until(&self) -> Instant {
        self.history.until().unwrap_or(self.since)
    }

    /// Returns whether it has ended, because it was not observed for the quiet time. Removes severities
    /// that were not observed for that long.
    pub(super) fn is_quiet(&mut self, now: Instant, policy: &Policy) -> bool {
        let quiet_at = self.history.quiet_at(policy.times.quiet).unwrap_or(now).min(now);
        if self.state == State::Pending
            && self.first_notification_at(policy).is_some_and(|at| at <= quiet_at)
        {
            // The notification was due before, so it comes first.
            return false;
        }
        self.history.expire(now, policy.times.quiet);
        self.state != State::Resolved && self.history.highest().is_none()
    }

    /// Returns when sinks are notified of a lower severity: after the settle time, as it may rise again.
    fn falls_at(&self, policy: &Policy) -> Option<Instant> {
        let has_fallen = self.history.highest() < Some(self.severity);
        self.notified_at.filter(|_| has_fallen).map(|at| time::after(at, policy.times.settle))
    }

    pub(super) fn is_removable(&self, now: Instant, policy: &Policy) -> bool {
        let is_settled =
            self.notified_at.is_none_or(|at| now >= time::after(at, policy.times.settle));
        self.state == State::Resolved && is_settled && self.recent_generation(now).is_none()
    }

    /// Returns when sinks are notified of a pending entry; `None` if unknown yet, or if it is muted.
    pub(super) fn first_notification_at(&self, policy: &Policy) -> Option<Instant> {
        let (reached_at, severity) = self.history.rises_at(None)?;
        let at = time::after(reached_at, policy.times.group_wait);
        let severity = self.history.reached(at).unwrap_or(severity);
        let settled_at =
            self.notified_at.map(|notified| time::after(notified, policy.times.settle));
        // A flapping condition is notified once in a settle time, unless its severity rises.
        let at = at.max(settled_at.filter(|_| severity <= self.severity).unwrap_or(at));
        (!self.is_muted_for(policy.wanted.at(severity))).then_some(at)
    }

    fn is_muted_for(&self, sinks: SinkSet) -> bool {
        !sinks.is_empty() && sinks.difference(self.muted).is_empty()
    }

    /// Returns the sinks that were not notified of the current severity, except those that missed it
    /// recently.
    pub(super) fn unnotified(&self, policy: &Policy) -> SinkSet {
        let excluded = self.notified.at(self.severity).union(self.muted).union(self.missed);
        policy.wanted.at(self.severity).difference(excluded)
    }

    fn repeats_at(&self, policy: &Policy) -> Option<Instant> {
        let is_muted = self.is_muted_for(policy.wanted.at(self.severity));
        self.notified_at.filter(|_| !is_muted).map(|at| time::after(at, policy.times.repeat))
    }

    /// Returns when the entry must be updated, unless it is observed earlier.
    pub(super) fn due_at(&self, policy: &Policy) -> Option<Instant> {
        let notification_at = match self.state {
            State::Resolved => return None,
            State::Pending => self.first_notification_at(policy),
            State::Firing if !self.unnotified(policy).is_empty() => Some(self.since),
            State::Firing => {
                let rises_at = self.history.rises_at(Some(self.severity)).map(|(at, _)| at);
                let reoffered_at = time::after(self.missed_at, REOFFER_UNOBSERVED);
                let reoffered_at = Some(reoffered_at).filter(|_| !self.missed.is_empty());
                let times =
                    [rises_at, self.falls_at(policy), self.repeats_at(policy), reoffered_at];
                times.into_iter().flatten().min()
            }
        };
        notification_at.into_iter().chain(self.history.quiet_at(policy.times.quiet)).min()
    }

    /// Returns the updates that are due by now. With `flush` it does not wait for others to join it.
    pub(super) fn update(&mut self, now: Instant, flush: bool, policy: &Policy) -> Vec<Update> {
        if now >= time::after(self.missed_at, REOFFER_UNOBSERVED) {
            self.missed = SinkSet::default();
        }
        let before = Some(self.severity).filter(|_| self.state == State::Firing);
        let next = self.next_severity(now, flush, policy);
        if next.is_none() {
            match self.state {
                State::Resolved | State::Pending => return Vec::new(),
                State::Firing if has_passed(self.repeats_at(policy), now) => {}
                State::Firing => {
                    self.previously_notified = self.notified;
                    return self.notify(self.unnotified(policy), before, false);
                }
            }
        }
        self.previously_notified = self.notified;
        self.severity = next.unwrap_or(self.severity);
        (self.state, self.notified_at) = (State::Firing, Some(now));
        // It is resolved for sinks that don't want a lower severity.
        let wanted = policy.wanted.at(self.severity);
        let unsubscribed = self.notified.remove(self.notified.all().difference(wanted));
        let mut updates = self.resolved(unsubscribed, false);
        updates.extend(self.notify(wanted.difference(self.muted), before, true));
        updates
    }

    /// Returns the severity that sinks are notified of now, if any.
    fn next_severity(&self, now: Instant, flush: bool, policy: &Policy) -> Option<Severity> {
        let reached = self.history.reached(now);
        let no_wait = Times { group_wait: Duration::ZERO, ..policy.times };
        let no_wait = Policy { times: no_wait, ..*policy };
        // With and without the wait: a severity that rises meanwhile may be muted at one of the times.
        let is_due = |policy| has_passed(self.first_notification_at(policy), now);
        match self.state {
            State::Pending if is_due(policy) || flush && is_due(&no_wait) => reached,
            State::Firing if reached > Some(self.severity) => reached,
            State::Firing if has_passed(self.falls_at(policy), now) => self.history.highest(),
            _ => None,
        }
    }

    /// Notifies these sinks of the current severity. `before` is the severity before, if it was firing.
    fn notify(
        &mut self,
        sinks: SinkSet,
        before: Option<Severity>,
        is_recorded: bool,
    ) -> Vec<Update> {
        let severity = self.severity;
        let update = |sinks, previous: Option<Severity>, is_recorded| {
            let previous_severity = previous.filter(|previous| *previous != severity);
            Update { sinks, severity, previous_severity, resolved: false, is_recorded }
        };
        // Sinks that were muted meanwhile were last notified of another severity.
        let others = Severity::ALL.into_iter().filter(|other| Some(*other) != before);
        let mut updates: Vec<_> = others
            .map(|other| update(sinks.intersection(self.notified.at(other)), Some(other), false))
            .collect();
        let rest = updates.iter().fold(sinks, |rest, other| rest.difference(other.sinks));
        updates.push(update(rest, before, is_recorded));
        updates.retain(|update| update.is_recorded || !update.sinks.is_empty());
        self.notified.insert(sinks, severity);
        updates
    }

    pub(super) fn subject<'a>(&'a self, kind: AlertKind, label: &'a str) -> Subject<'a> {
        let region = if kind == AlertKind::RegionOut { Some(label) } else { self.region };
        Subject { kind, region }
    }
}

fn has_passed(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}

/// The kind and region of an alert: they decide which alerts it mutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject<'a> {
    kind: AlertKind,
    region: Option<&'a str>,
}

impl Subject<'_> {
    /// Returns whether it can mute others.
    pub(super) fn is_cause(self) -> bool {
        use AlertKind::{AllRegionsOut, CredentialRejected, RegionOut};
        matches!(self.kind, CredentialRejected | AllRegionsOut | RegionOut)
    }

    /// Returns whether `other` is a consequence of this. With a rejected credential, everything fails.
    /// With all regions out, each is, circuits open and calls fail. The circuit of a region that is out
    /// opens.
    pub(super) fn mutes(self, other: Subject<'_>) -> bool {
        use AlertKind::{
            AllRegionsOut, CallFailed, CircuitOpen, CredentialRejected, RegionOut, Timeout,
        };
        match (self.kind, other.kind) {
            (CredentialRejected, kind) => kind != CredentialRejected,
            (AllRegionsOut, RegionOut | CircuitOpen | CallFailed | Timeout) => true,
            (RegionOut, CircuitOpen) => self.region.is_some() && self.region == other.region,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_mute_only_their_consequences() {
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
