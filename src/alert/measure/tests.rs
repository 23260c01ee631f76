use super::*;
use crate::event::{AlertKind, Severity};

const MINUTE: Duration = Duration::from_secs(60);

fn meter(rules: &[Rule], objectives: &[Slo]) -> Meter {
    Meter::new(rules, objectives).unwrap().unwrap()
}

/// What fires at this time after the beginning: kind and worst severity.
fn look(meter: &Meter, elapsed: Duration) -> Vec<(AlertKind, Severity)> {
    let now = meter.book.lock().begun + elapsed;
    let mut all = Vec::new();
    meter.look(now, |seen| {
        let worst = seen.holds.worst();
        assert_eq!(seen.lasts, if worst.is_some() { Lasts::UntilOver } else { Lasts::Over });
        all.extend(worst.map(|worst| (seen.kind, worst)));
    });
    all
}

fn calls(meter: &Meter, many: u32, verdict: &Verdict) {
    for _ in 0..many {
        if verdict.is_success() {
            meter.success(&Pending::default());
        } else {
            meter.failure(&Pending::default(), verdict);
        }
    }
}

#[test]
fn what_asks_for_no_measure_has_none() {
    assert!(Meter::new(&Rule::standard(), &[]).unwrap().is_none());
    let meter = meter(&[Rule::error_ratio(0.1)], &[]);
    assert!(!meter.timed && meter.flight.is_none());
}

/// A fifth fails: forty times what 99.5 % allow. For a minute, an hour, four days; then it ends.
#[test]
fn a_budget_burns_and_recovers() {
    let meter = meter(&[], &[Slo::availability(0.995)]);
    let burns = |severity| vec![(AlertKind::BudgetBurn, severity)];
    let minute = |number| MINUTE * number;
    let mut at = 0;
    for expected in [vec![], burns(Severity::Critical)] {
        calls(&meter, 40, &Verdict::success());
        calls(&meter, 10, &Verdict::overloaded());
        calls(&meter, 9, &Verdict::rejected());
        at += 1;
        assert_eq!(look(&meter, minute(at)), expected, "50 calls are too few, 100 enough");
    }
    let (objective, status) = (meter.objectives(Instant::now()), 20.0 / 100.0 / 0.005);
    assert_eq!((objective[0].calls, objective[0].bad), (100, 20));
    assert!((objective[0].budget_left - (1.0 - status)).abs() < 1e-9);
    // Five good minutes end what is critical, though both long windows still see it.
    for _ in 0..6 {
        calls(&meter, 50, &Verdict::success());
        at += 1;
        look(&meter, minute(at));
    }
    assert_eq!(look(&meter, minute(at)), burns(Severity::Critical), "30 minutes still burn at 6");
    for _ in 0..30 {
        calls(&meter, 50, &Verdict::success());
        at += 1;
        look(&meter, minute(at));
    }
    // 20 of 1900 in 2 hours: twice as fast as may be, over three days and six hours.
    assert_eq!(look(&meter, minute(at)), burns(Severity::Warning));
    for _ in 0..400 {
        calls(&meter, 50, &Verdict::success());
        at += 1;
        look(&meter, minute(at));
    }
    assert_eq!(look(&meter, minute(at)), []);
}

#[test]
fn of_rules_about_the_same_the_most_severe_counts() {
    let ratio = |share| Rule::error_ratio(share).min_calls(10);
    let meter = meter(&[ratio(0.1).warning(), ratio(0.5).critical(), ratio(0.01)], &[]);
    calls(&meter, 80, &Verdict::success());
    calls(&meter, 1, &Verdict::overloaded());
    assert_eq!(look(&meter, MINUTE), [(AlertKind::ErrorRatio, Severity::Info)]);
    calls(&meter, 39, &Verdict::overloaded());
    assert_eq!(look(&meter, MINUTE), [(AlertKind::ErrorRatio, Severity::Warning)]);
    calls(&meter, 80, &Verdict::overloaded());
    assert_eq!(look(&meter, MINUTE), [(AlertKind::ErrorRatio, Severity::Critical)]);
    assert_eq!(look(&meter, MINUTE * 6), [], "five minutes later none is in the window");
}

#[test]
fn retries_of_a_minute_are_summed() {
    let meter = meter(&[Rule::retry_spend(1.0, 0.1)], &[]);
    (0..10).for_each(|_| meter.retry());
    assert_eq!(look(&meter, Duration::from_secs(1)), []);
    meter.retry();
    let spent = [(AlertKind::RetrySpend, Severity::Info)];
    assert_eq!(look(&meter, Duration::from_secs(59)), spent);
    assert_eq!(look(&meter, Duration::from_secs(60)), spent);
    assert_eq!(look(&meter, Duration::from_secs(61)), [], "ten of them were a minute ago");
}

#[test]
fn medians_and_tails_are_exact() {
    let limit = Duration::from_millis(50);
    let rules = [Rule::slow_median(limit), Rule::slow_tail(0.9, limit).warning()];
    let meter = meter(&rules, &[]);
    let success = |took| {
        let at = time::now().checked_sub(took).unwrap();
        meter.success(&Pending { at: Some(at), slot: None });
    };
    (0..90).for_each(|_| success(Duration::ZERO));
    (0..10).for_each(|_| success(limit * 2));
    assert_eq!(look(&meter, MINUTE), [], "a tenth may be slower than the 90th percentile");
    success(limit * 2);
    let tail = (AlertKind::SlowCalls, Severity::Warning);
    assert_eq!(look(&meter, MINUTE), [tail]);
    (0..79).for_each(|_| success(limit * 2));
    assert_eq!(look(&meter, MINUTE), [tail], "half of them may be slower than the median");
    success(limit * 2);
    assert_eq!(look(&meter, MINUTE), [(AlertKind::SlowCalls, Severity::Info), tail]);
}

#[test]
fn calls_hang() {
    let meter = meter(&[Rule::calls_hanging(MINUTE).critical()], &[]);
    let mut hanging = meter.begin();
    let mut brief = meter.begin();
    meter.end(&mut brief);
    let seconds = |range: std::ops::Range<u64>| range.map(Duration::from_secs);
    assert!(seconds(0..60).all(|at| look(&meter, at).is_empty()));
    let all = seconds(60..200).map(|at| look(&meter, at)).collect::<Vec<_>>();
    assert_eq!(all[20], [(AlertKind::CallsHanging, Severity::Critical)]);
    meter.end(&mut hanging);
    meter.end(&mut hanging);
    assert_eq!(look(&meter, Duration::from_secs(200)), []);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let twice = [Slo::availability(0.9), Slo::availability(0.9)];
    assert!(Meter::new(&[], &twice).is_err());
    let [one, other] = twice;
    assert!(Meter::new(&[], &[one, other.name("another")]).is_ok());
    let refused = |rules: &[Rule]| Meter::new(rules, &[]).is_err();
    let slower = |limit| Rule::slow_median(Duration::from_millis(limit));
    let many: Vec<_> = (1..=8).map(slower).collect();
    assert!(!refused(&many[..7]) && refused(&many));
    assert!(!refused(&[Rule::calls_hanging(MINUTE), Rule::calls_hanging(MINUTE).critical()]));
    assert!(refused(&[Rule::calls_hanging(MINUTE), Rule::calls_hanging(MINUTE * 2)]));
}
