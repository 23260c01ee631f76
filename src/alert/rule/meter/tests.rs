use super::*;
use crate::event::{AlertKind, Severity};

const MINUTE: Duration = Duration::from_secs(60);

fn meter(rules: &[Rule], objectives: &[Slo]) -> Meter {
    Meter::new(rules, objectives.to_vec()).unwrap().unwrap()
}

/// Returns the conditions at this time after the start: kind and highest severity.
fn evaluate(meter: &Meter, elapsed: Duration) -> Vec<(AlertKind, Severity)> {
    let now = meter.state.lock().started_at + elapsed;
    let mut all = Vec::new();
    meter.evaluate(now, |one| {
        let highest = one.hold_times.highest();
        assert_eq!(
            one.lifetime,
            if highest.is_some() { Lifetime::UntilResolved } else { Lifetime::Ended }
        );
        all.extend(highest.map(|highest| (one.kind, highest)));
    });
    all
}

fn calls(meter: &Meter, many: u32, verdict: &Verdict) {
    for _ in 0..many {
        meter.result(&CallStart::default(), verdict);
    }
}

#[test]
fn meter_standard_rules_measure_nothing() {
    assert!(Meter::new(&Rule::standard(), Vec::new()).unwrap().is_none());
    let meter = meter(&[Rule::error_ratio(0.1)], &[]);
    assert!(!meter.is_timed && meter.in_flight.is_none());
}

/// A fifth fails: 40 times the budget of 99.5 %. For a minute, an hour, four days; then it ends.
#[test]
fn meter_budget_burn_raises_and_resolves() {
    let meter = meter(&[], &[Slo::availability(0.995)]);
    let burns = |severity| vec![(AlertKind::BudgetBurn, severity)];
    let minute = |number| MINUTE * number;
    let mut at = 0;
    for expected in [vec![], burns(Severity::Critical)] {
        calls(&meter, 40, &Verdict::success());
        calls(&meter, 10, &Verdict::overloaded());
        calls(&meter, 9, &Verdict::rejected());
        at += 1;
        assert_eq!(evaluate(&meter, minute(at)), expected, "50 calls are too few, 100 enough");
    }
    let (objective, status) = (meter.objectives(Instant::now()), 20.0 / 100.0 / 0.005);
    assert_eq!((objective[0].calls, objective[0].bad), (100, 20));
    assert!((objective[0].budget_left - (1.0 - status)).abs() < 1e-9);
    // Five good minutes resolve the critical rate, although both long windows still exceed it.
    for _ in 0..6 {
        calls(&meter, 50, &Verdict::success());
        at += 1;
        evaluate(&meter, minute(at));
    }
    assert_eq!(
        evaluate(&meter, minute(at)),
        burns(Severity::Critical),
        "30 minutes still burn at 6"
    );
    for _ in 0..30 {
        calls(&meter, 50, &Verdict::success());
        at += 1;
        evaluate(&meter, minute(at));
    }
    // 20 of 1900 in 2 hours: a burn rate of 2 over three days and six hours.
    assert_eq!(evaluate(&meter, minute(at)), burns(Severity::Warning));
    for _ in 0..400 {
        calls(&meter, 50, &Verdict::success());
        at += 1;
        evaluate(&meter, minute(at));
    }
    assert_eq!(evaluate(&meter, minute(at)), []);
}

#[test]
fn meter_rules_of_one_kind_highest_severity_counts() {
    let ratio = |share| Rule::error_ratio(share).min_calls(10);
    let meter = meter(&[ratio(0.1).warning(), ratio(0.5).critical(), ratio(0.01)], &[]);
    calls(&meter, 80, &Verdict::success());
    calls(&meter, 1, &Verdict::overloaded());
    assert_eq!(evaluate(&meter, MINUTE), [(AlertKind::ErrorRatio, Severity::Info)]);
    calls(&meter, 39, &Verdict::overloaded());
    assert_eq!(evaluate(&meter, MINUTE), [(AlertKind::ErrorRatio, Severity::Warning)]);
    calls(&meter, 80, &Verdict::overloaded());
    assert_eq!(evaluate(&meter, MINUTE), [(AlertKind::ErrorRatio, Severity::Critical)]);
    assert_eq!(evaluate(&meter, MINUTE * 6), [], "five minutes later none is in the window");
}

#[test]
fn meter_retry_spend_sums_one_minute() {
    let meter = meter(&[Rule::retry_spend(1.0, 0.1)], &[]);
    (0..10).for_each(|_| meter.retry());
    assert_eq!(evaluate(&meter, Duration::from_secs(1)), []);
    meter.retry();
    let spent = [(AlertKind::RetrySpend, Severity::Info)];
    assert_eq!(evaluate(&meter, Duration::from_secs(59)), spent);
    assert_eq!(evaluate(&meter, Duration::from_secs(60)), spent);
    assert_eq!(evaluate(&meter, Duration::from_secs(61)), [], "ten of them were a minute ago");
}

#[test]
fn meter_latency_quantiles_are_exact() {
    let limit = Duration::from_millis(50);
    let rules = [Rule::slow_median(limit), Rule::slow_tail(0.9, limit).warning()];
    let meter = meter(&rules, &[]);
    let success = |duration| {
        let at = time::now().checked_sub(duration).unwrap();
        meter.result(&CallStart { at: Some(at), slot: None }, &Verdict::success());
    };
    (0..90).for_each(|_| success(Duration::ZERO));
    (0..10).for_each(|_| success(limit * 2));
    assert_eq!(evaluate(&meter, MINUTE), [], "a tenth may be slower than the 90th percentile");
    success(limit * 2);
    let tail = (AlertKind::SlowCalls, Severity::Warning);
    assert_eq!(evaluate(&meter, MINUTE), [tail]);
    (0..79).for_each(|_| success(limit * 2));
    assert_eq!(evaluate(&meter, MINUTE), [tail], "half of them may be slower than the median");
    success(limit * 2);
    assert_eq!(evaluate(&meter, MINUTE), [(AlertKind::SlowCalls, Severity::Info), tail]);
}

#[test]
fn meter_hanging_call_raises_until_it_ends() {
    let meter = meter(&[Rule::calls_hanging(MINUTE).critical()], &[]);
    let mut hanging = meter.begin();
    let mut brief = meter.begin();
    meter.end(&mut brief);
    let seconds = |range: std::ops::Range<u64>| range.map(Duration::from_secs);
    assert!(seconds(0..60).all(|at| evaluate(&meter, at).is_empty()));
    let all = seconds(60..200).map(|at| evaluate(&meter, at)).collect::<Vec<_>>();
    assert_eq!(all[20], [(AlertKind::CallsHanging, Severity::Critical)]);
    meter.end(&mut hanging);
    meter.end(&mut hanging);
    assert_eq!(evaluate(&meter, Duration::from_secs(200)), []);
}

#[test]
fn meter_invalid_rules_are_rejected() {
    let twice = [Slo::availability(0.9), Slo::availability(0.9)];
    assert!(Meter::new(&[], twice.to_vec()).is_err());
    let [one, other] = twice;
    assert!(Meter::new(&[], vec![one, other.name("another")]).is_ok());
    let rejected = |rules: &[Rule]| Meter::new(rules, Vec::new()).is_err();
    let slower = |limit| Rule::slow_median(Duration::from_millis(limit));
    let many: Vec<_> = (1..=8).map(slower).collect();
    assert!(!rejected(&many[..7]) && rejected(&many));
    assert!(!rejected(&[Rule::calls_hanging(MINUTE), Rule::calls_hanging(MINUTE).critical()]));
    assert!(rejected(&[Rule::calls_hanging(MINUTE), Rule::calls_hanging(MINUTE * 2)]));
}
