use std::time::Duration;

use super::*;
use crate::alert::observation::{Generation, HoldTimes, Lifetime};
use crate::event::{AlertKind, Severity};
use crate::time;

const SLACK: SinkSet = SinkSet::new(1);
const PAGER: SinkSet = SinkSet::new(2);
const BOTH: SinkSet = SinkSet::new(3);

const GROUP: Duration = Duration::from_secs(10);
const REPEAT: Duration = Duration::from_secs(3600);
const SETTLE: Duration = Duration::from_secs(300);
const QUIET: Duration = Duration::from_secs(200);

const TIMES: Times = Times { group_wait: GROUP, repeat: REPEAT, settle: SETTLE, quiet: QUIET };

/// A lifecycle and its clock. Slack wants every alert, the pager critical ones.
struct Bench {
    all: Lifecycle,
    start: Instant,
}

impl Bench {
    fn new(times: Times) -> Self {
        let subscriptions = Subscriptions::new([Severity::Info, Severity::Critical]);
        Self { all: Lifecycle::new(10, times, subscriptions), start: time::now() }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn fire(&mut self, second: u64, one: Observation<'_>) -> Effect {
        let now = self.at(second);
        self.all.observe(&one, now)
    }

    /// Returns the sinks that are notified of the end.
    fn resolve(&mut self, second: u64, one: Observation<'_>) -> Option<SinkSet> {
        let now = self.at(second);
        let (notifications, _) = self.all.resolve(&one, now);
        notifications.into_iter().map(|one| one.update.sinks).reduce(SinkSet::union)
    }

    /// Returns what is due by then: label, severity, whether it is resolved, and the sinks.
    fn due(&mut self, second: u64) -> Vec<(String, Severity, bool, SinkSet)> {
        let now = self.at(second);
        let (notifications, _) = self.all.due(now, false);
        let shown = |one: Notification| {
            let Update { severity, resolved, sinks, .. } = one.update;
            (one.label.into(), severity, resolved, sinks)
        };
        notifications.into_iter().map(shown).collect()
    }

    /// Returns the next time, in seconds, at which an entry is due.
    fn next(&self) -> Option<u64> {
        let next = self.all.next_due()?;
        Some(next.duration_since(self.start).as_secs())
    }
}

fn observation(
    kind: AlertKind,
    label: &str,
    severity: Severity,
    lifetime: Lifetime,
) -> Observation<'_> {
    let hold_times = HoldTimes::default().with(severity, Duration::ZERO);
    let new = Observation::new(kind, label, lifetime).with_cause(Cause::Timeout);
    Observation { hold_times, ..new }
}

/// A circuit that opened, whose end an event reports.
fn circuit(label: &str) -> Observation<'_> {
    observation(AlertKind::CircuitOpen, label, Severity::Warning, Lifetime::UntilResolved)
}

/// A timeout, whose end no event reports.
fn timeout(severity: Severity) -> Observation<'static> {
    observation(AlertKind::Timeout, "", severity, Lifetime::AtLeast(Duration::ZERO))
}

fn lasting(one: Observation<'_>, severity: Severity, hold: u64) -> Observation<'_> {
    let hold_times = HoldTimes::default().with(severity, Duration::from_secs(hold));
    Observation { hold_times, ..one }
}

fn raised(label: &str, severity: Severity, to: SinkSet) -> (String, Severity, bool, SinkSet) {
    (label.to_owned(), severity, false, to)
}

fn resolved(label: &str, severity: Severity, to: SinkSet) -> (String, Severity, bool, SinkSet) {
    (label.to_owned(), severity, true, to)
}

const INFO: Severity = Severity::Info;
const WARNING: Severity = Severity::Warning;
const CRITICAL: Severity = Severity::Critical;

#[test]
fn lifecycle_notifies_after_wait_each_interval_and_at_end() {
    let mut bench = Bench::new(TIMES);
    assert_eq!(bench.fire(0, circuit("us")).due_at, Some(bench.at(10)));
    assert_eq!(bench.due(9), []);
    assert_eq!(bench.due(10), [raised("us", WARNING, SLACK)]);
    assert_eq!((bench.due(11), bench.next()), (vec![], Some(3610)));
    assert_eq!(bench.due(3609), []);
    assert_eq!(bench.due(3610), [raised("us", WARNING, SLACK)]);
    assert_eq!(bench.next(), Some(7210));
    assert_eq!(bench.resolve(4000, circuit("us")), Some(SLACK));
    assert_eq!(bench.resolve(4000, circuit("us")), None);
    assert_eq!((bench.due(4001), bench.next()), (vec![], None));
}

#[test]
fn lifecycle_repeated_observation_is_coalesced() {
    let mut bench = Bench::new(TIMES);
    let coalesced: Vec<_> =
        (0..20).map(|second| bench.fire(second, timeout(CRITICAL)).coalesced).collect();
    // The first is notified, or counted if it never is; both sinks want it.
    assert_eq!(coalesced[..12], [0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2], "also when it is due");
    assert_eq!(bench.due(20), [raised("", CRITICAL, BOTH)]);
    assert_eq!(bench.fire(21, timeout(CRITICAL)).coalesced, 2);
}

#[test]
fn lifecycle_end_within_group_wait_notifies_no_sink() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, circuit("us"));
    let (notifications, effect) = bench.all.resolve(&circuit("us"), bench.at(9));
    assert_eq!((notifications, effect.coalesced), (vec![], 1));
    assert_eq!((bench.due(10), bench.next()), (vec![], None));
    assert_eq!(bench.all.len, 0);
}

#[test]
fn lifecycle_hold_time_ignores_short_conditions() {
    let mut bench = Bench::new(TIMES);
    let long = |label| lasting(circuit(label), WARNING, 60);
    bench.fire(0, long("brief"));
    bench.fire(0, long("lasting"));
    assert_eq!(bench.resolve(59, circuit("brief")), None);
    assert_eq!(bench.due(69), []);
    assert_eq!(bench.all.firing(bench.at(59)).len(), 0);
    assert_eq!(bench.all.firing(bench.at(60)).len(), 1);
    assert_eq!(bench.due(70), [raised("lasting", WARNING, SLACK)]);
}

#[test]
fn lifecycle_without_end_event_lasts_while_observed() {
    let mut bench = Bench::new(TIMES);
    let long = || lasting(timeout(WARNING), WARNING, 60);
    bench.fire(0, long());
    assert_eq!(bench.due(100), [], "one observation does not last");
    bench.fire(100, long());
    assert_eq!(bench.due(100), [raised("", WARNING, SLACK)]);
    // After the quiet time it begins anew.
    assert_eq!(bench.due(300), [resolved("", WARNING, SLACK)]);
    bench.fire(1000, long());
    bench.fire(1059, long());
    assert_eq!(bench.due(1100), []);
    // A known duration needs no other observation.
    let hour = Lifetime::AtLeast(Duration::from_secs(3600));
    let gate = observation(AlertKind::RateLimited, "api", WARNING, hour);
    bench.fire(2000, lasting(gate, WARNING, 60));
    assert_eq!(bench.due(2069), []);
    assert_eq!(bench.due(2070), [raised("api", WARNING, SLACK)]);
    assert_eq!(bench.due(2000 + 3600), []);
    assert_eq!(bench.due(2000 + 3600 + 200), [resolved("api", WARNING, SLACK)]);
}

#[test]
fn lifecycle_quiet_after_due_is_still_notified() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, timeout(INFO));
    assert_eq!(bench.due(1000), [raised("", INFO, SLACK)]);
    assert_eq!(bench.due(1000), [resolved("", INFO, SLACK)]);
    let mut bench =
        Bench::new(Times { group_wait: Duration::ZERO, quiet: Duration::ZERO, ..TIMES });
    bench.fire(0, timeout(INFO));
    assert_eq!(bench.due(0), [raised("", INFO, SLACK)]);
    assert_eq!(bench.due(0), [resolved("", INFO, SLACK)]);
}

#[test]
fn lifecycle_severity_rises_with_hold_times() {
    let mut bench = Bench::new(TIMES);
    let hold_times = HoldTimes::default()
        .with(INFO, Duration::ZERO)
        .with(WARNING, Duration::from_secs(60))
        .with(CRITICAL, Duration::from_secs(600));
    bench.fire(0, Observation { hold_times, ..circuit("us") });
    assert_eq!(bench.due(10), [raised("us", INFO, SLACK)]);
    assert_eq!((bench.due(59), bench.next()), (vec![], Some(60)));
    assert_eq!(bench.due(60), [raised("us", WARNING, SLACK)]);
    assert_eq!(bench.due(600), [raised("us", CRITICAL, BOTH)]);
    assert_eq!(bench.resolve(700, circuit("us")), Some(BOTH));
}

#[test]
fn lifecycle_rising_severity_is_notified_at_once() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, timeout(INFO));
    assert_eq!(bench.due(10), [raised("", INFO, SLACK)]);
    let effect = bench.fire(20, timeout(CRITICAL));
    assert!(effect.due_at.unwrap() <= bench.at(20) && effect.coalesced == 0);
    let (notifications, _) = bench.all.due(bench.at(20), false);
    let Update { severity, previous_severity, sinks, .. } = notifications[0].update;
    assert_eq!((severity, previous_severity, sinks), (CRITICAL, Some(INFO), BOTH));
    assert_eq!(notifications.len(), 1);
    assert_eq!(bench.fire(21, timeout(INFO)).coalesced, 2);
    assert_eq!((bench.due(21), bench.resolve(22, timeout(INFO))), (vec![], Some(BOTH)));
}

#[test]
fn lifecycle_falling_severity_resolves_for_other_sinks() {
    let mut bench = Bench::new(TIMES);
    let open =
        |severity| observation(AlertKind::CircuitOpen, "us", severity, Lifetime::UntilResolved);
    bench.fire(0, open(CRITICAL));
    assert_eq!(bench.due(10), [raised("us", CRITICAL, BOTH)]);
    // The severity may rise again soon.
    assert_eq!(bench.fire(20, open(WARNING)).due_at, Some(bench.at(310)));
    bench.fire(100, open(CRITICAL));
    assert_eq!((bench.next(), bench.due(310)), (Some(3610), vec![]));
    bench.fire(320, open(WARNING));
    // It ends under its last severity, by which sinks may identify it.
    assert_eq!(bench.due(320), [resolved("us", CRITICAL, PAGER), raised("us", WARNING, SLACK)]);
    assert_eq!((bench.due(321), bench.next()), (vec![], Some(3920)));
    assert_eq!(bench.resolve(330, open(WARNING)), Some(SLACK));
    // The same without an end event, after the quiet time of the higher severity.
    bench.fire(1000, timeout(CRITICAL));
    assert_eq!(bench.due(1010), [raised("", CRITICAL, BOTH)]);
    bench.fire(1190, timeout(INFO));
    assert_eq!(bench.due(1200), []);
    bench.fire(1300, timeout(INFO));
    assert_eq!(bench.due(1310), [resolved("", CRITICAL, PAGER), raised("", INFO, SLACK)]);
    assert_eq!(bench.due(1500), [resolved("", INFO, SLACK)]);
}

/// Later observations of a lower severity do not replace them.
#[test]
fn lifecycle_facts_are_those_of_highest_severity() {
    let mut bench = Bench::new(TIMES);
    let mut worst = timeout(CRITICAL);
    worst.facts.retries = Some(4);
    bench.fire(0, worst);
    bench.fire(1, timeout(INFO));
    let (notifications, _) = bench.all.due(bench.at(10), false);
    let Notification { facts, update, .. } = &notifications[0];
    assert_eq!((update.severity, facts.retries), (CRITICAL, Some(4)));
    assert_eq!(update.previous_severity, None);
}

#[test]
fn lifecycle_flapping_is_delayed_unless_more_severe() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, circuit("us"));
    assert_eq!(bench.due(10), [raised("us", WARNING, SLACK)]);
    assert_eq!(bench.resolve(20, circuit("us")), Some(SLACK));
    assert_eq!(bench.fire(60, circuit("us")).due_at, Some(bench.at(310)));
    assert_eq!(bench.due(309), []);
    // It ended before its notification was due: no sink is notified of either.
    assert_eq!((bench.resolve(309, circuit("us")), bench.due(309)), (None, vec![]));
    bench.fire(309, circuit("us"));
    assert_eq!(bench.due(318), []);
    assert_eq!(bench.due(319), [raised("us", WARNING, SLACK)]);
    bench.resolve(320, circuit("us"));
    bench.fire(330, observation(AlertKind::CircuitOpen, "us", CRITICAL, Lifetime::UntilResolved));
    assert_eq!(bench.due(340), [raised("us", CRITICAL, BOTH)]);
}

#[test]
fn lifecycle_missed_sink_is_notified_at_next_observation() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, observation(AlertKind::CircuitOpen, "us", CRITICAL, Lifetime::UntilResolved));
    let (notifications, _) = bench.all.due(bench.at(10), false);
    bench.all.missed(&notifications[0], PAGER, bench.at(10));
    let critical = observation(AlertKind::CircuitOpen, "us", CRITICAL, Lifetime::UntilResolved);
    assert_eq!(bench.fire(10, critical).coalesced, 2, "not at once");
    assert_eq!(bench.due(11), []);
    let effect = bench
        .fire(12, observation(AlertKind::CircuitOpen, "us", CRITICAL, Lifetime::UntilResolved));
    assert_eq!(effect.coalesced, 1, "the other sink was notified");
    let (notifications, _) = bench.all.due(bench.at(12), false);
    let Update { sinks, is_recorded, .. } = notifications[0].update;
    assert_eq!((sinks, is_recorded), (PAGER, false));
    bench.all.missed(&notifications[0], PAGER, bench.at(12));
    assert_eq!(bench.resolve(13, circuit("us")), Some(SLACK), "the pager was never notified");
}

#[test]
fn lifecycle_alerts_of_one_kind_are_notified_together() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, circuit("a"));
    bench.fire(5, timeout(INFO));
    bench.fire(9, circuit("b"));
    assert_eq!(bench.due(10), [raised("a", WARNING, SLACK), raised("b", WARNING, SLACK)]);
    assert_eq!(bench.due(15), [raised("", INFO, SLACK)]);
    // With `flush` nothing waits for others, but hold times apply.
    bench.fire(20, circuit("c"));
    bench.fire(20, lasting(circuit("d"), WARNING, 60));
    let (notifications, _) = bench.all.due(bench.at(20), true);
    assert_eq!(notifications.iter().map(|one| &*one.label).collect::<Vec<_>>(), ["c"]);
}

fn region(label: &str) -> Observation<'_> {
    observation(AlertKind::RegionOut, label, WARNING, Lifetime::UntilResolved)
}

fn all_out() -> Observation<'static> {
    observation(AlertKind::AllRegionsOut, "", CRITICAL, Lifetime::UntilResolved)
}

fn credential() -> Observation<'static> {
    let lifetime = Lifetime::AtLeast(Duration::ZERO);
    observation(AlertKind::CredentialRejected, "key", CRITICAL, lifetime)
}

#[test]
fn lifecycle_region_out_mutes_its_circuit() {
    let mut bench = Bench::new(TIMES);
    let in_us = || Observation { region: Some("us"), ..circuit("circuit us") };
    bench.fire(0, in_us());
    bench.fire(1, region("us"));
    assert_eq!(bench.due(11), [raised("us", WARNING, SLACK)], "and not its circuit");
    assert_eq!(bench.next(), Some(3611), "a muted entry is not due");
    bench.fire(20, in_us());
    assert_eq!(bench.due(20), []);
    bench.fire(20, circuit("another"));
    assert_eq!(bench.due(30), [raised("another", WARNING, SLACK)]);
    // The region is healthy, but its circuit is still open.
    assert_eq!(bench.resolve(40, region("us")), Some(SLACK));
    assert_eq!(bench.due(40), [raised("circuit us", WARNING, SLACK)]);
    assert_eq!(bench.resolve(50, in_us()), Some(SLACK));
}

#[test]
fn lifecycle_all_regions_out_and_credential_mute_others() {
    let mut bench = Bench::new(TIMES);
    for second in 0..3 {
        bench.fire(second, region(["us", "eu", "ap"][usize::try_from(second).unwrap()]));
    }
    bench.fire(2, all_out());
    assert_eq!(bench.due(12), [raised("", CRITICAL, BOTH)]);
    assert_eq!(bench.due(100), []);
    assert_eq!(bench.resolve(101, region("us")), None, "no sink was notified");
    assert_eq!(bench.resolve(101, all_out()), Some(BOTH));
    assert_eq!(bench.due(101), [raised("eu", WARNING, SLACK), raised("ap", WARNING, SLACK)]);
    bench.fire(1000, credential());
    bench.fire(1000, all_out());
    bench.fire(1000, timeout(CRITICAL));
    assert_eq!(bench.due(1010), [raised("key", CRITICAL, BOTH)]);
    bench.fire(1100, timeout(CRITICAL));
    // Sinks are notified of the end of what they know, muted or not; of consequences that last, they
    // are notified now, but calls must fail again.
    assert_eq!(bench.resolve(1150, region("eu")), Some(SLACK));
    let end = resolved("key", CRITICAL, BOTH);
    assert_eq!(bench.due(1200), [end, raised("", CRITICAL, BOTH)]);
    bench.fire(1201, timeout(CRITICAL));
    bench.resolve(1202, all_out());
    assert_eq!(bench.due(1220), [], "nor is a call that failed with all regions out");
    bench.fire(1221, timeout(CRITICAL));
    assert_eq!(bench.due(1231), [raised("", CRITICAL, BOTH)]);
}

#[test]
fn lifecycle_cause_mutes_only_its_own_sinks() {
    let mut bench = Bench::new(TIMES);
    let lifetime = Lifetime::AtLeast(Duration::ZERO);
    bench.fire(0, observation(AlertKind::CredentialRejected, "", INFO, lifetime));
    bench.fire(0, timeout(CRITICAL));
    assert_eq!(bench.due(10), [raised("", CRITICAL, PAGER), raised("", INFO, SLACK)]);
    // After its quiet time, muted sinks are notified of what lasts.
    bench.fire(150, timeout(CRITICAL));
    assert_eq!(bench.due(200), [resolved("", INFO, SLACK), raised("", CRITICAL, SLACK)]);
    assert_eq!(bench.resolve(201, timeout(CRITICAL)), Some(BOTH));
}

#[test]
fn lifecycle_labels_and_causes_are_separate_alerts() {
    let mut bench = Bench::new(Times { group_wait: Duration::ZERO, ..TIMES });
    for label in ["us", "eu"] {
        bench.fire(0, circuit(label));
    }
    let failed = |cause| {
        let lifetime = Lifetime::AtLeast(Duration::ZERO);
        observation(AlertKind::CallFailed, "", INFO, lifetime).with_cause(cause)
    };
    bench.fire(0, failed(Cause::Connect));
    bench.fire(0, failed(Cause::Connection));
    assert_eq!(bench.due(0).len(), 4);
}

#[test]
fn lifecycle_max_keys_evicts_resolved_then_less_severe() {
    let mut bench = Bench::new(Times { group_wait: Duration::ZERO, ..TIMES });
    let fire = |bench: &mut Bench, label: &str, severity| {
        let lifetime = Lifetime::AtLeast(Duration::ZERO);
        let effect = bench.fire(0, observation(AlertKind::CircuitOpen, label, severity, lifetime));
        (bench.due(0).len(), effect.coalesced)
    };
    let labels: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    for label in &labels[..10] {
        assert_eq!(fire(&mut bench, label, WARNING), (1, 0));
    }
    bench.resolve(0, circuit("7"));
    assert_eq!(fire(&mut bench, "10", WARNING), (1, 0));
    assert_eq!(fire(&mut bench, "0", WARNING), (0, 1), "the resolved one made room");
    for label in &labels[11..] {
        assert_eq!(fire(&mut bench, label, WARNING), (0, 1), "a firing one is not evicted");
    }
    assert_eq!(fire(&mut bench, "more severe", CRITICAL), (1, 0), "except by a more severe one");
    assert_eq!(bench.all.len, 10);
}

/// More conditions at once than there is room for.
#[test]
fn a_flood_of_keys_does_not_keep_every_one_from_being_raised() {
    let mut bench = Bench::new(TIMES);
    let labels: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let (mut sent, mut offered) = (0, 0);
    for second in 0..60 {
        let fired = labels.iter().map(|label| bench.fire(second, circuit(label)).coalesced);
        offered += fired.sum::<usize>();
        sent += bench.due(second).len();
    }
    assert_eq!((sent, offered + sent), (10, 60 * labels.len()));
}

#[test]
fn lifecycle_evicted_pending_alert_is_counted() {
    let mut bench = Bench::new(TIMES);
    let labels: Vec<String> = (0..11).map(|n| n.to_string()).collect();
    let coalesced: usize = labels.iter().map(|one| bench.fire(0, circuit(one)).coalesced).sum();
    assert_eq!(coalesced, 1);
}

#[test]
fn lifecycle_extreme_times_do_not_overflow() {
    for time in [Duration::ZERO, Duration::MAX] {
        let times = Times { group_wait: time, repeat: time, settle: time, quiet: time };
        for lifetime in [Lifetime::AtLeast(time), Lifetime::UntilResolved] {
            let mut bench = Bench::new(times);
            bench.all.max_len = 0;
            for second in 0..3 {
                let hold_times = HoldTimes::default().with(WARNING, time);
                let one = Observation {
                    hold_times,
                    ..observation(AlertKind::Timeout, "", WARNING, lifetime)
                };
                bench.fire(second, one);
                bench.due(second);
                bench.next();
                bench.resolve(second, one);
            }
        }
    }
}

/// Events of two threads may arrive out of order.
#[test]
fn lifecycle_outdated_event_is_ignored() {
    let at = |generation| Observation { generation: Some(Generation(generation)), ..circuit("us") };
    let mut bench = Bench::new(Times { group_wait: Duration::ZERO, ..TIMES });
    // The event of its closing arrives first.
    assert_eq!(bench.resolve(0, at(2)), None);
    bench.fire(0, at(1));
    assert_eq!((bench.due(0), bench.all.firing(bench.at(0)).len()), (vec![], 0));
    bench.fire(0, at(3));
    assert_eq!(bench.due(0), [raised("us", WARNING, SLACK)]);
    // The event of its next opening arrives first.
    bench.fire(1, at(5));
    assert_eq!(bench.resolve(1, at(4)), None);
    assert_eq!(bench.all.firing(bench.at(1)).len(), 1);
    assert_eq!(bench.resolve(1, at(6)), Some(SLACK));
    // Generations restart with an evicted entry, or wrap after 8 million.
    bench.fire(1000, at((1 << 23) - 1));
    assert_eq!(bench.due(1000).len(), 1);
    assert_eq!(bench.resolve(1000, at(0)), Some(SLACK));
    bench.fire(2000, at(1 << 22));
    assert_eq!(bench.due(2000).len(), 1);
    bench.resolve(3000, at(1 << 22));
    assert_eq!((bench.due(4000), bench.all.len), (vec![], 0));
}

/// A status page may be shown where no scheduler runs.
#[test]
fn lifecycle_firing_excludes_quiet_alerts() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, timeout(INFO));
    assert_eq!(bench.due(10), [raised("", INFO, SLACK)]);
    assert_eq!(bench.all.firing(bench.at(199)).len(), 1);
    assert_eq!(bench.all.firing(bench.at(200)).len(), 0);
    assert_eq!(bench.due(200), [resolved("", INFO, SLACK)], "its end is still notified");
}

mod any_order;
