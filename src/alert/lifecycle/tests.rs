use std::time::Duration;

use super::*;
use crate::alert::observation::{Generation, Holds, Lasts};
use crate::event::{AlertKind, Severity};
use crate::time;

const SLACK: Sinks = Sinks::new(1);
const PAGER: Sinks = Sinks::new(2);
const BOTH: Sinks = Sinks::new(3);

const GROUP: Duration = Duration::from_secs(10);
const REPEAT: Duration = Duration::from_secs(3600);
const SETTLE: Duration = Duration::from_secs(300);
const QUIET: Duration = Duration::from_secs(200);

const TIMES: Times = Times { group: GROUP, repeat: REPEAT, settle: SETTLE, quiet: QUIET };

/// A lifecycle and its clock. Slack hears of everything, the pager of what is critical.
struct Bench {
    all: Lifecycle,
    start: Instant,
}

impl Bench {
    fn new(times: Times) -> Self {
        let recipients = Recipients::new([Severity::Info, Severity::Critical]);
        Self { all: Lifecycle::new(10, times, recipients), start: time::now() }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn fire(&mut self, second: u64, seen: Observation<'_>) -> Step {
        let now = self.at(second);
        self.all.fire(&seen, now)
    }

    /// Who hears of its end.
    fn resolve(&mut self, second: u64, seen: Observation<'_>) -> Option<Sinks> {
        let now = self.at(second);
        let (notices, _) = self.all.resolve(&seen, now);
        notices.into_iter().map(|notice| notice.to).reduce(Sinks::and)
    }

    /// What is notified by then: label, severity, whether it is over, and to which sinks.
    fn due(&mut self, second: u64) -> Vec<(String, Severity, bool, Sinks)> {
        let now = self.at(second);
        let (notices, _) = self.all.due(now, false);
        let notified =
            |notice: Notice| (notice.label.into(), notice.severity, notice.resolved, notice.to);
        notices.into_iter().map(notified).collect()
    }

    /// The next time, in seconds, at which something is due.
    fn next(&self) -> Option<u64> {
        let next = self.all.next_due()?;
        Some(next.duration_since(self.start).as_secs())
    }
}

fn seen(kind: AlertKind, label: &str, severity: Severity, lasts: Lasts) -> Observation<'_> {
    let holds = Holds::default().and(severity, Duration::ZERO);
    Observation { holds, ..Observation::new(kind, lasts).of(label).cause(Cause::Timeout) }
}

/// A circuit that opened; its breaker notify when it closes.
fn circuit(label: &str) -> Observation<'_> {
    seen(AlertKind::CircuitOpen, label, Severity::Warning, Lasts::UntilOver)
}

/// A timeout, which no event ends.
fn timeout(severity: Severity) -> Observation<'static> {
    seen(AlertKind::Timeout, "", severity, Lasts::For(Duration::ZERO))
}

fn lasting(seen: Observation<'_>, severity: Severity, hold: u64) -> Observation<'_> {
    Observation { holds: Holds::default().and(severity, Duration::from_secs(hold)), ..seen }
}

fn notified(label: &str, severity: Severity, to: Sinks) -> (String, Severity, bool, Sinks) {
    (label.to_owned(), severity, false, to)
}

fn over(label: &str, severity: Severity, to: Sinks) -> (String, Severity, bool, Sinks) {
    (label.to_owned(), severity, true, to)
}

const INFO: Severity = Severity::Info;
const WARNING: Severity = Severity::Warning;
const CRITICAL: Severity = Severity::Critical;

#[test]
fn notified_after_the_wait_then_each_interval_and_where_it_was_notified_its_end() {
    let mut bench = Bench::new(TIMES);
    assert_eq!(bench.fire(0, circuit("us")).due, Some(bench.at(10)));
    assert_eq!(bench.due(9), []);
    assert_eq!(bench.due(10), [notified("us", WARNING, SLACK)]);
    assert_eq!((bench.due(11), bench.next()), (vec![], Some(3610)));
    assert_eq!(bench.due(3609), []);
    assert_eq!(bench.due(3610), [notified("us", WARNING, SLACK)]);
    assert_eq!(bench.next(), Some(7210));
    assert_eq!(bench.resolve(4000, circuit("us")), Some(SLACK));
    assert_eq!(bench.resolve(4000, circuit("us")), None);
    assert_eq!((bench.due(4001), bench.next()), (vec![], None));
}

#[test]
fn what_is_seen_again_is_coalesced() {
    let mut bench = Bench::new(TIMES);
    let coalesced: Vec<_> =
        (0..20).map(|second| bench.fire(second, timeout(CRITICAL)).coalesced).collect();
    // The first is notified, or counted if it never is; both sinks receive of it.
    assert_eq!(coalesced[..12], [0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2], "also once it is due");
    assert_eq!(bench.due(20), [notified("", CRITICAL, BOTH)]);
    assert_eq!(bench.fire(21, timeout(CRITICAL)).coalesced, 2);
}

#[test]
fn over_within_the_wait_none_receives_it() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, circuit("us"));
    let (notice, step) = bench.all.resolve(&circuit("us"), bench.at(9));
    assert_eq!((notice, step.coalesced), (vec![], 1));
    assert_eq!((bench.due(10), bench.next()), (vec![], None));
    assert_eq!(bench.all.len, 0);
}

#[test]
fn a_rule_that_asks_for_time_is_met_only_by_what_lasts() {
    let mut bench = Bench::new(TIMES);
    let long = |label| lasting(circuit(label), WARNING, 60);
    bench.fire(0, long("brief"));
    bench.fire(0, long("lasting"));
    assert_eq!(bench.resolve(59, circuit("brief")), None);
    assert_eq!(bench.due(69), []);
    assert_eq!(bench.all.firing(bench.at(59)).len(), 0);
    assert_eq!(bench.all.firing(bench.at(60)).len(), 1);
    assert_eq!(bench.due(70), [notified("lasting", WARNING, SLACK)]);
}

#[test]
fn what_none_reports_the_end_of_lasts_while_it_is_seen() {
    let mut bench = Bench::new(TIMES);
    let long = || lasting(timeout(WARNING), WARNING, 60);
    bench.fire(0, long());
    assert_eq!(bench.due(100), [], "seen once, it hasn't lasted");
    bench.fire(100, long());
    assert_eq!(bench.due(100), [notified("", WARNING, SLACK)]);
    // A gap of a quiet time begins anew.
    assert_eq!(bench.due(300), [over("", WARNING, SLACK)]);
    bench.fire(1000, long());
    bench.fire(1059, long());
    assert_eq!(bench.due(1100), []);
    // What says how long it lasts needn't be seen again.
    let hour = Lasts::For(Duration::from_secs(3600));
    let gate = seen(AlertKind::RateLimited, "api", WARNING, hour);
    bench.fire(2000, lasting(gate, WARNING, 60));
    assert_eq!(bench.due(2069), []);
    assert_eq!(bench.due(2070), [notified("api", WARNING, SLACK)]);
    assert_eq!(bench.due(2000 + 3600), []);
    assert_eq!(bench.due(2000 + 3600 + 200), [over("api", WARNING, SLACK)]);
}

#[test]
fn what_went_quiet_since_it_was_to_be_notified_is_notified_all_the_same() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, timeout(INFO));
    assert_eq!(bench.due(1000), [notified("", INFO, SLACK)]);
    assert_eq!(bench.due(1000), [over("", INFO, SLACK)]);
    let mut bench = Bench::new(Times { group: Duration::ZERO, quiet: Duration::ZERO, ..TIMES });
    bench.fire(0, timeout(INFO));
    assert_eq!(bench.due(0), [notified("", INFO, SLACK)]);
    assert_eq!(bench.due(0), [over("", INFO, SLACK)]);
}

#[test]
fn it_gets_worse_as_it_lasts() {
    let mut bench = Bench::new(TIMES);
    let holds = Holds::default()
        .and(INFO, Duration::ZERO)
        .and(WARNING, Duration::from_secs(60))
        .and(CRITICAL, Duration::from_secs(600));
    bench.fire(0, Observation { holds, ..circuit("us") });
    assert_eq!(bench.due(10), [notified("us", INFO, SLACK)]);
    assert_eq!((bench.due(59), bench.next()), (vec![], Some(60)));
    assert_eq!(bench.due(60), [notified("us", WARNING, SLACK)]);
    assert_eq!(bench.due(600), [notified("us", CRITICAL, BOTH)]);
    assert_eq!(bench.resolve(700, circuit("us")), Some(BOTH));
}

#[test]
fn what_gets_worse_is_notified_at_once_and_stays_so() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, timeout(INFO));
    assert_eq!(bench.due(10), [notified("", INFO, SLACK)]);
    let step = bench.fire(20, timeout(CRITICAL));
    assert!(step.due.unwrap() <= bench.at(20) && step.coalesced == 0);
    let (notices, _) = bench.all.due(bench.at(20), false);
    let notified: Vec<_> = notices.iter().map(|one| (one.severity, one.was, one.to)).collect();
    assert_eq!(notified, [(CRITICAL, Some(INFO), BOTH)]);
    assert_eq!(bench.fire(21, timeout(INFO)).coalesced, 2);
    assert_eq!((bench.due(21), bench.resolve(22, timeout(INFO))), (vec![], Some(BOTH)));
}

#[test]
fn what_gets_better_is_over_for_those_who_do_not_receive_of_less() {
    let mut bench = Bench::new(TIMES);
    let open = |severity| seen(AlertKind::CircuitOpen, "us", severity, Lasts::UntilOver);
    bench.fire(0, open(CRITICAL));
    assert_eq!(bench.due(10), [notified("us", CRITICAL, BOTH)]);
    // It may be as bad again soon.
    assert_eq!(bench.fire(20, open(WARNING)).due, Some(bench.at(310)));
    bench.fire(100, open(CRITICAL));
    assert_eq!((bench.next(), bench.due(310)), (Some(3610), vec![]));
    bench.fire(320, open(WARNING));
    // It ends as what it was notified to be: sinks may know it by its severity.
    assert_eq!(bench.due(320), [over("us", CRITICAL, PAGER), notified("us", WARNING, SLACK)]);
    assert_eq!((bench.due(321), bench.next()), (vec![], Some(3920)));
    assert_eq!(bench.resolve(330, open(WARNING)), Some(SLACK));
    // So is what no event ends, once the worse hasn't been seen for a while.
    bench.fire(1000, timeout(CRITICAL));
    assert_eq!(bench.due(1010), [notified("", CRITICAL, BOTH)]);
    bench.fire(1190, timeout(INFO));
    assert_eq!(bench.due(1200), []);
    bench.fire(1300, timeout(INFO));
    assert_eq!(bench.due(1310), [over("", CRITICAL, PAGER), notified("", INFO, SLACK)]);
    assert_eq!(bench.due(1500), [over("", INFO, SLACK)]);
}

/// What a message says of the worst that was seen isn't lost to what is seen after it.
#[test]
fn the_facts_are_those_of_the_worst() {
    let mut bench = Bench::new(TIMES);
    let mut worst = timeout(CRITICAL);
    worst.details.retries = Some(4);
    bench.fire(0, worst);
    bench.fire(1, timeout(INFO));
    let (notices, _) = bench.all.due(bench.at(10), false);
    assert_eq!((notices[0].severity, notices[0].details.retries), (CRITICAL, Some(4)));
    assert_eq!(notices[0].was, None);
}

#[test]
fn what_comes_and_goes_is_held_back_unless_it_is_worse() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, circuit("us"));
    assert_eq!(bench.due(10), [notified("us", WARNING, SLACK)]);
    assert_eq!(bench.resolve(20, circuit("us")), Some(SLACK));
    assert_eq!(bench.fire(60, circuit("us")).due, Some(bench.at(310)));
    assert_eq!(bench.due(309), []);
    // Over before it was notified: nobody hears of either.
    assert_eq!((bench.resolve(309, circuit("us")), bench.due(309)), (None, vec![]));
    bench.fire(309, circuit("us"));
    assert_eq!(bench.due(318), []);
    assert_eq!(bench.due(319), [notified("us", WARNING, SLACK)]);
    bench.resolve(320, circuit("us"));
    bench.fire(330, seen(AlertKind::CircuitOpen, "us", CRITICAL, Lasts::UntilOver));
    assert_eq!(bench.due(340), [notified("us", CRITICAL, BOTH)]);
}

#[test]
fn a_failure_to_queue_is_made_up_for_when_it_is_seen_again() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, seen(AlertKind::CircuitOpen, "us", CRITICAL, Lasts::UntilOver));
    let (notices, _) = bench.all.due(bench.at(10), false);
    bench.all.missed(&notices[0], PAGER, bench.at(10));
    let critical = seen(AlertKind::CircuitOpen, "us", CRITICAL, Lasts::UntilOver);
    assert_eq!(bench.fire(10, critical).coalesced, 2, "not at once");
    assert_eq!(bench.due(11), []);
    let step = bench.fire(12, seen(AlertKind::CircuitOpen, "us", CRITICAL, Lasts::UntilOver));
    assert_eq!(step.coalesced, 1, "the other sink was notified");
    let (notices, _) = bench.all.due(bench.at(12), false);
    assert_eq!((notices[0].to, notices[0].news), (PAGER, false));
    bench.all.missed(&notices[0], PAGER, bench.at(12));
    assert_eq!(bench.resolve(13, circuit("us")), Some(SLACK), "the pager was never notified");
}

#[test]
fn those_of_a_kind_join_the_first() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, circuit("a"));
    bench.fire(5, timeout(INFO));
    bench.fire(9, circuit("b"));
    assert_eq!(bench.due(10), [notified("a", WARNING, SLACK), notified("b", WARNING, SLACK)]);
    assert_eq!(bench.due(15), [notified("", INFO, SLACK)]);
    // At the end of a program nothing waits for others; what hasn't lasted isn't notified.
    bench.fire(20, circuit("c"));
    bench.fire(20, lasting(circuit("d"), WARNING, 60));
    let (notices, _) = bench.all.due(bench.at(20), true);
    assert_eq!(notices.iter().map(|notice| &*notice.label).collect::<Vec<_>>(), ["c"]);
}

fn region(label: &str) -> Observation<'_> {
    seen(AlertKind::RegionOut, label, WARNING, Lasts::UntilOver)
}

fn all_lost() -> Observation<'static> {
    seen(AlertKind::AllRegionsOut, "", CRITICAL, Lasts::UntilOver)
}

fn dead_key() -> Observation<'static> {
    let while_seen = Lasts::For(Duration::ZERO);
    seen(AlertKind::CredentialRejected, "key", CRITICAL, while_seen)
}

#[test]
fn a_cause_mutes_what_follows_from_it() {
    let mut bench = Bench::new(TIMES);
    let in_us = || Observation { region: Some("us"), ..circuit("circuit us") };
    bench.fire(0, in_us());
    bench.fire(1, region("us"));
    assert_eq!(bench.due(11), [notified("us", WARNING, SLACK)], "and not its circuit");
    assert_eq!(bench.next(), Some(3611), "it isn't asked for all the time");
    bench.fire(20, in_us());
    assert_eq!(bench.due(20), []);
    bench.fire(20, circuit("another"));
    assert_eq!(bench.due(30), [notified("another", WARNING, SLACK)]);
    // Back, but its circuit is still open.
    assert_eq!(bench.resolve(40, region("us")), Some(SLACK));
    assert_eq!(bench.due(40), [notified("circuit us", WARNING, SLACK)]);
    assert_eq!(bench.resolve(50, in_us()), Some(SLACK));
}

#[test]
fn with_all_lost_each_is_and_a_dead_key_is_all() {
    let mut bench = Bench::new(TIMES);
    for second in 0..3 {
        bench.fire(second, region(["us", "eu", "ap"][usize::try_from(second).unwrap()]));
    }
    bench.fire(2, all_lost());
    assert_eq!(bench.due(12), [notified("", CRITICAL, BOTH)]);
    assert_eq!(bench.due(100), []);
    assert_eq!(bench.resolve(101, region("us")), None, "never notified");
    assert_eq!(bench.resolve(101, all_lost()), Some(BOTH));
    assert_eq!(bench.due(101), [notified("eu", WARNING, SLACK), notified("ap", WARNING, SLACK)]);
    bench.fire(1000, dead_key());
    bench.fire(1000, all_lost());
    bench.fire(1000, timeout(CRITICAL));
    assert_eq!(bench.due(1010), [notified("key", CRITICAL, BOTH)]);
    bench.fire(1100, timeout(CRITICAL));
    // What was notified before is notified its end, muted or not; what goes on is notified now, and
    // calls that failed have to fail again.
    assert_eq!(bench.resolve(1150, region("eu")), Some(SLACK));
    let end = over("key", CRITICAL, BOTH);
    assert_eq!(bench.due(1200), [end, notified("", CRITICAL, BOTH)]);
    bench.fire(1201, timeout(CRITICAL));
    bench.resolve(1202, all_lost());
    assert_eq!(bench.due(1220), [], "nor is one that failed with all regions out");
    bench.fire(1221, timeout(CRITICAL));
    assert_eq!(bench.due(1231), [notified("", CRITICAL, BOTH)]);
}

#[test]
fn a_cause_mutes_nothing_where_none_receives_it() {
    let mut bench = Bench::new(TIMES);
    let while_seen = Lasts::For(Duration::ZERO);
    bench.fire(0, seen(AlertKind::CredentialRejected, "", INFO, while_seen));
    bench.fire(0, timeout(CRITICAL));
    assert_eq!(bench.due(10), [notified("", CRITICAL, PAGER), notified("", INFO, SLACK)]);
    // Once it hasn't been seen, those that were spared receive of what goes on.
    bench.fire(150, timeout(CRITICAL));
    assert_eq!(bench.due(200), [over("", INFO, SLACK), notified("", CRITICAL, SLACK)]);
    assert_eq!(bench.resolve(201, timeout(CRITICAL)), Some(BOTH));
}

#[test]
fn labels_and_failures_are_notified_separately() {
    let mut bench = Bench::new(Times { group: Duration::ZERO, ..TIMES });
    for label in ["us", "eu"] {
        bench.fire(0, circuit(label));
    }
    let failed = |cause| {
        let lasts = Lasts::For(Duration::ZERO);
        seen(AlertKind::CallFailed, "", INFO, lasts).cause(cause)
    };
    bench.fire(0, failed(Cause::Connect));
    bench.fire(0, failed(Cause::Connection));
    assert_eq!(bench.due(0).len(), 4);
}

#[test]
fn keys_are_bounded_and_what_is_over_goes_first_then_what_is_less_bad() {
    let mut bench = Bench::new(Times { group: Duration::ZERO, ..TIMES });
    let fire = |bench: &mut Bench, label: &str, severity| {
        let lasts = Lasts::For(Duration::ZERO);
        let step = bench.fire(0, seen(AlertKind::CircuitOpen, label, severity, lasts));
        (bench.due(0).len(), step.coalesced)
    };
    let labels: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    for label in &labels[..10] {
        assert_eq!(fire(&mut bench, label, WARNING), (1, 0));
    }
    bench.resolve(0, circuit("7"));
    assert_eq!(fire(&mut bench, "10", WARNING), (1, 0));
    assert_eq!(fire(&mut bench, "0", WARNING), (0, 1), "the one that was over made room");
    for label in &labels[11..] {
        assert_eq!(fire(&mut bench, label, WARNING), (0, 1), "what goes on isn't forgotten for it");
    }
    assert_eq!(fire(&mut bench, "worse", CRITICAL), (1, 0), "but for what is worse");
    assert_eq!(bench.all.len, 10);
}

/// More things at once than there is room for, all the time.
#[test]
fn a_flood_of_keys_does_not_keep_every_one_from_being_notified() {
    let mut bench = Bench::new(TIMES);
    let labels: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let (mut notified, mut offered) = (0, 0);
    for second in 0..60 {
        let fired = labels.iter().map(|label| bench.fire(second, circuit(label)).coalesced);
        offered += fired.sum::<usize>();
        notified += bench.due(second).len();
    }
    assert_eq!((notified, offered + notified), (10, 60 * labels.len()));
}

#[test]
fn what_is_evicted_before_it_was_notified_is_counted() {
    let mut bench = Bench::new(TIMES);
    let labels: Vec<String> = (0..11).map(|n| n.to_string()).collect();
    let coalesced: usize = labels.iter().map(|one| bench.fire(0, circuit(one)).coalesced).sum();
    assert_eq!(coalesced, 1);
}

#[test]
fn extremes_do_not_overflow() {
    for time in [Duration::ZERO, Duration::MAX] {
        let times = Times { group: time, repeat: time, settle: time, quiet: time };
        for lasts in [Lasts::For(time), Lasts::UntilOver] {
            let mut bench = Bench::new(times);
            bench.all.most = 0;
            for second in 0..3 {
                let holds = Holds::default().and(WARNING, time);
                let seen = Observation { holds, ..seen(AlertKind::Timeout, "", WARNING, lasts) };
                bench.fire(second, seen);
                bench.due(second);
                bench.next();
                bench.resolve(second, seen);
            }
        }
    }
}

/// Two threads change a circuit, one after the other, and emit of it the other way round.
#[test]
fn of_what_two_threads_report_what_happened_last_counts() {
    let at_turn =
        |generation| Observation { generation: Some(Generation(generation)), ..circuit("us") };
    let mut bench = Bench::new(Times { group: Duration::ZERO, ..TIMES });
    // It closed, before it was notified that it opened.
    assert_eq!(bench.resolve(0, at_turn(2)), None);
    bench.fire(0, at_turn(1));
    assert_eq!((bench.due(0), bench.all.firing(bench.at(0)).len()), (vec![], 0));
    bench.fire(0, at_turn(3));
    assert_eq!(bench.due(0), [notified("us", WARNING, SLACK)]);
    // It opened again, before it was notified that it had closed.
    bench.fire(1, at_turn(5));
    assert_eq!(bench.resolve(1, at_turn(4)), None);
    assert_eq!(bench.all.firing(bench.at(1)).len(), 1);
    assert_eq!(bench.resolve(1, at_turn(6)), Some(SLACK));
    // Numbers begin anew, with a circuit that was forgotten, or after 8 million.
    bench.fire(1000, at_turn((1 << 23) - 1));
    assert_eq!(bench.due(1000).len(), 1);
    assert_eq!(bench.resolve(1000, at_turn(0)), Some(SLACK));
    bench.fire(2000, at_turn(1 << 22));
    assert_eq!(bench.due(2000).len(), 1);
    bench.resolve(3000, at_turn(1 << 22));
    assert_eq!((bench.due(4000), bench.all.len), (vec![], 0));
}

/// A status page may ask where no task looks.
#[test]
fn what_went_quiet_does_not_fire_though_none_has_looked() {
    let mut bench = Bench::new(TIMES);
    bench.fire(0, timeout(INFO));
    assert_eq!(bench.due(10), [notified("", INFO, SLACK)]);
    assert_eq!(bench.all.firing(bench.at(199)).len(), 1);
    assert_eq!(bench.all.firing(bench.at(200)).len(), 0);
    assert_eq!(bench.due(200), [over("", INFO, SLACK)], "and its end is still notified");
}

mod any_order;
