use super::*;

const SLACK: Sinks = Sinks(1);
const BOTH: Sinks = Sinks(3);
const PAGER: Sinks = Sinks(2);
const NONE: Sinks = Sinks(0);

const REPEAT: Duration = Duration::from_secs(3600);
const SETTLE: Duration = Duration::from_secs(300);
const QUIET: Duration = Duration::from_secs(200);

fn lifecycle() -> Lifecycle {
    Lifecycle::new(10, Times { repeat: REPEAT, settle: SETTLE, quiet: QUIET })
}

fn sighting(label: &str, severity: Severity, lasts: Lasts) -> Sighting<'_> {
    let facts = Facts { cause: Some(Cause::Timeout), retries: None };
    Sighting { kind: AlertKind::CircuitOpen, severity, label, facts, lasts }
}

fn circuit() -> Sighting<'static> {
    sighting("us", Severity::Warning, Lasts::UntilTold)
}

fn told(step: Step) -> Option<Sinks> {
    step.news.then_some(step.to)
}

fn dues(lifecycle: &mut Lifecycle, now: Instant) -> Vec<(bool, Sinks)> {
    lifecycle.due(now).into_iter().map(|due| (due.resolved, due.to)).collect()
}

#[test]
fn told_once_until_the_interval_has_passed() {
    let (mut all, now) = (lifecycle(), time::now());
    assert_eq!(told(all.fire(&circuit(), BOTH, now)), Some(BOTH));
    for second in [0, 1, 3599] {
        let step = all.fire(&circuit(), BOTH, now + Duration::from_secs(second));
        assert_eq!(step, Step::default(), "after {second} s");
    }
    assert_eq!(told(all.fire(&circuit(), BOTH, now + REPEAT)), Some(BOTH));
    assert_eq!(told(all.fire(&circuit(), BOTH, now + REPEAT)), None);
}

#[test]
fn labels_are_told_apart() {
    let (mut all, now) = (lifecycle(), time::now());
    assert_eq!(told(all.fire(&circuit(), BOTH, now)), Some(BOTH));
    let other = sighting("eu", Severity::Warning, Lasts::UntilTold);
    assert_eq!(told(all.fire(&other, BOTH, now)), Some(BOTH));
}

#[test]
fn a_failure_to_tell_is_made_up_for() {
    let (mut all, now) = (lifecycle(), time::now());
    all.fire(&circuit(), BOTH, now);
    all.missed(&circuit(), PAGER);
    let step = all.fire(&circuit(), BOTH, now);
    assert_eq!((step.to, step.news), (PAGER, false));
    assert_eq!(all.fire(&circuit(), BOTH, now), Step::default());
}

#[test]
fn what_gets_worse_is_told_at_once() {
    let (mut all, now) = (lifecycle(), time::now());
    let info = sighting("us", Severity::Info, Lasts::WhileSeen);
    let critical = Sighting { severity: Severity::Critical, ..info };
    assert_eq!(told(all.fire(&info, SLACK, now)), Some(SLACK));
    assert_eq!(told(all.fire(&critical, BOTH, now)), Some(BOTH));
    assert_eq!(all.fire(&info, SLACK, now), Step::default());
    assert_eq!(all.fire(&critical, BOTH, now), Step::default());
    assert_eq!(all.resolve(&info).to, BOTH);
}

#[test]
fn its_end_goes_where_its_trigger_went_and_only_once() {
    let (mut all, now) = (lifecycle(), time::now());
    assert_eq!(all.resolve(&circuit()), Step::default(), "it never fired");
    all.fire(&circuit(), BOTH, now);
    all.missed(&circuit(), SLACK);
    assert_eq!(told(all.resolve(&circuit())), Some(PAGER));
    assert_eq!(all.resolve(&circuit()), Step::default());
}

#[test]
fn what_comes_and_goes_is_held_back() {
    let (mut all, now) = (lifecycle(), time::now());
    let at = |secs| now + Duration::from_secs(secs);
    all.fire(&circuit(), BOTH, now);
    assert_eq!(told(all.resolve(&circuit())), Some(BOTH));
    let step = all.fire(&circuit(), BOTH, at(60));
    assert_eq!((step.to, step.news, step.due), (NONE, false, Some(now + SETTLE)));
    // Over before it was told: nobody hears of either.
    assert_eq!(all.resolve(&circuit()), Step::default());
    assert_eq!(dues(&mut all, at(299)), []);
    // Not over by then.
    all.fire(&circuit(), BOTH, at(299));
    assert_eq!(dues(&mut all, now + SETTLE), [(false, BOTH)]);
    assert_eq!(all.fire(&circuit(), BOTH, now + SETTLE), Step::default());
    assert_eq!(told(all.resolve(&circuit())), Some(BOTH));
}

#[test]
fn what_is_worse_is_not_held_back() {
    let (mut all, now) = (lifecycle(), time::now());
    all.fire(&circuit(), BOTH, now);
    all.resolve(&circuit());
    let worse = Sighting { severity: Severity::Critical, ..circuit() };
    assert_eq!(told(all.fire(&worse, BOTH, now)), Some(BOTH));
}

#[test]
fn what_is_not_seen_for_a_while_is_over() {
    let (mut all, now) = (lifecycle(), time::now());
    let seen = sighting("us", Severity::Info, Lasts::WhileSeen);
    let step = all.fire(&seen, BOTH, now);
    assert_eq!(step.due, Some(now + QUIET));
    let later = now + Duration::from_secs(50);
    all.fire(&seen, BOTH, later);
    assert_eq!(all.next_due(), Some(later + QUIET));
    assert_eq!(dues(&mut all, now + QUIET), []);
    assert_eq!(dues(&mut all, later + QUIET), [(true, BOTH)]);
    assert_eq!(all.next_due(), None);
    // And forgotten, once it may be told anew.
    assert_eq!(all.len, 1);
    assert_eq!(dues(&mut all, now + SETTLE), []);
    assert_eq!(all.len, 0);
}

#[test]
fn what_has_its_end_told_lasts_and_is_repeated() {
    let (mut all, now) = (lifecycle(), time::now());
    // Seen by a caller first, then told by the circuit itself.
    let by_caller = Sighting { lasts: Lasts::WhileSeen, ..circuit() };
    all.fire(&by_caller, BOTH, now);
    all.fire(&circuit(), BOTH, now);
    all.fire(&by_caller, BOTH, now);
    assert_eq!(dues(&mut all, now + QUIET), []);
    assert_eq!(all.next_due(), Some(now + REPEAT));
    assert_eq!(dues(&mut all, now + REPEAT), [(false, BOTH)]);
    assert_eq!(told(all.resolve(&circuit())), Some(BOTH));
}

#[test]
fn keys_are_bounded_and_what_is_over_goes_first() {
    let (mut all, now) = (lifecycle(), time::now());
    let labels: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let fire = |all: &mut Lifecycle, label: usize| {
        let seen = sighting(&labels[label], Severity::Info, Lasts::UntilTold);
        all.fire(&seen, BOTH, now + Duration::from_secs(label.try_into().unwrap())).news
    };
    for label in 0..10 {
        assert!(fire(&mut all, label));
    }
    all.resolve(&sighting("7", Severity::Info, Lasts::Over));
    assert!(fire(&mut all, 10));
    assert!(!fire(&mut all, 0), "the one that was over made room");
    for label in 11..1000 {
        assert!(fire(&mut all, label));
    }
    assert_eq!(all.len, 10);
    assert!(fire(&mut all, 1), "forgotten");
    assert!(!fire(&mut all, 999));
}

#[test]
fn extremes_do_not_overflow() {
    for extreme in [Duration::ZERO, Duration::MAX] {
        let times = Times { repeat: extreme, settle: extreme, quiet: extreme };
        let (mut all, now) = (Lifecycle::new(0, times), time::now());
        for lasts in [Lasts::WhileSeen, Lasts::UntilTold] {
            all.fire(&sighting("us", Severity::Info, lasts), BOTH, now);
            all.due(now);
            all.resolve(&sighting("us", Severity::Info, Lasts::Over));
            all.fire(&sighting("us", Severity::Info, lasts), BOTH, now);
            all.next_due();
        }
    }
}
