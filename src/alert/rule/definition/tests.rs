use super::*;
use crate::alert::{BurnRate, Slo};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn percent_nearly_all_or_nothing_keeps_decimals() {
    for (share, expected) in [
        (0.0, "0"),
        (0.5, "50"),
        (0.995, "99.5"),
        (1.0 - 0.9, "10"),
        (2.0 / 3.0, "66.667"),
        (0.999_999, "99.9999"),
        (0.999_999_99, "99.999999"),
        (0.000_001, "0.0001"),
        (1.0, "100"),
    ] {
        assert_eq!(percent(share), expected);
    }
}

fn limit(rule: Rule) -> Limit {
    match rule.condition {
        Condition::Measured(limit) => limit,
        other => panic!("{other:?} has no measure"),
    }
}

fn exceeds(limit: &Limit, sums: &[(u64, u64)]) -> bool {
    let sums = sums.iter().map(|&(bad, calls)| CallCounts { calls, bad });
    limit.exceeded(sums).is_some()
}

/// 99.5 % leaves 0.5 %: 14.4 times that are 7.2 %, 6 times 3 %, 3 times 1.5 %.
#[test]
fn burn_rate_limit_applies_to_both_windows() {
    let rules: Vec<_> = Slo::availability(0.995).rules().map(limit).collect();
    for (rule, (long, short), expected) in [
        // 72 of 1000 are exactly 7.2 %; one more exceeds it.
        (0, ((72, 1_000), (100, 100)), false),
        (0, ((73, 1_000), (100, 100)), true),
        (0, ((73, 1_000), (72, 1_000)), false),
        (0, ((73, 1_000), (0, 0)), false),
        (0, ((100, 100), (73, 1_000)), true),
        // Too few calls in the long window, then just enough.
        (0, ((99, 99), (99, 99)), false),
        (0, ((8, 100), (1, 1)), true),
        (1, ((30, 1_000), (10, 10)), false),
        (1, ((31, 1_000), (31, 1_000)), true),
        (2, ((15, 1_000), (10, 10)), false),
        (2, ((16, 1_000), (16, 1_000)), true),
        (3, ((5, 1_000), (10, 10)), false),
        (3, ((6, 1_000), (6, 1_000)), true),
        (3, ((5_000_000, 1_000_000_000), (10, 10)), false),
        (3, ((5_000_001, 1_000_000_000), (10, 10)), true),
    ] {
        assert_eq!(exceeds(&rules[rule], &[long, short]), expected, "{rule} {long:?} {short:?}");
    }
    let (long, short) = (CallCounts { bad: 100, calls: 1_000 }, CallCounts { bad: 1, calls: 1 });
    let reading = rules[0].exceeded([long, short].into_iter()).unwrap();
    // 10 % of the calls are 20 times the budget.
    assert!((reading.value - 20.0).abs() < 1e-9);
    assert_eq!((reading.limit, reading.window), (14.4, Duration::from_secs(3600)));
}

#[test]
fn burn_rate_unreachable_rate_is_left_out() {
    let rules = |target| -> Vec<_> {
        let slo = Slo::latency(target, Duration::from_millis(50));
        slo.rules().map(|rule| limit(rule).max).collect()
    };
    assert_eq!(rules(0.5), [1.0]);
    assert_eq!(rules(0.9), [6.0, 3.0, 1.0]);
    assert_eq!(rules(0.99), [14.4, 6.0, 3.0, 1.0]);
}

#[test]
fn limit_exceeded_only_above_maximum() {
    let ms = Duration::from_millis;
    for (rule, (bad, calls), expected) in [
        (Rule::error_ratio(0.05), (5, 100), false),
        (Rule::error_ratio(0.05), (6, 100), true),
        (Rule::error_ratio(0.05), (19, 19), false),
        (Rule::error_ratio(0.05).min_calls(0), (0, 0), false),
        (Rule::error_ratio(0.05).min_calls(0), (1, 1), true),
        (Rule::slow_median(ms(50)), (50, 100), false),
        (Rule::slow_median(ms(50)), (51, 100), true),
        (Rule::slow_tail(0.99, ms(50)), (1, 100), false),
        (Rule::slow_tail(0.99, ms(50)), (2, 100), true),
        // 625 retries at 0.008 are 5.00.
        (Rule::retry_spend(5.0, 0.008), (625, 0), false),
        (Rule::retry_spend(5.0, 0.008), (626, 0), true),
    ] {
        assert_eq!(exceeds(&limit(rule.clone()), &[(bad, calls)]), expected, "{rule:?} {bad}");
    }
}

#[test]
fn rule_check_rejects_invalid_values() {
    let second = Duration::from_secs(1);
    for (rule, expected) in [
        (Rule::error_ratio(0.0), true),
        (Rule::error_ratio(0.999), true),
        (Rule::error_ratio(1.0), false),
        (Rule::error_ratio(-0.1), false),
        (Rule::error_ratio(f64::NAN), false),
        (Rule::error_ratio(f64::INFINITY), false),
        (Rule::slow_tail(0.0, second), false),
        (Rule::slow_tail(1.0, second), true),
        (Rule::slow_tail(1.1, second), false),
        (Rule::slow_median(Duration::MAX), true),
        (Rule::retry_spend(5.0, 0.008), true),
        (Rule::retry_spend(0.0, 0.008), true),
        (Rule::retry_spend(-1.0, 0.008), false),
        (Rule::retry_spend(5.0, 0.0), false),
        (Rule::retry_spend(5.0, f64::NAN), false),
        (Rule::retry_spend(f64::INFINITY, 1.0), false),
        (Rule::error_ratio(0.1).over(MINUTE), true),
        (Rule::error_ratio(0.1).over(Duration::from_secs(59)), false),
        (Rule::error_ratio(0.1).over(Duration::MAX), false),
        (Rule::error_ratio(0.1).min_calls(u64::MAX).lasting(Duration::MAX), true),
        (Rule::calls_hanging(second), true),
        (Rule::calls_hanging(Duration::MAX), true),
        (Rule::calls_hanging(Duration::ZERO), false),
        (Rule::retry_spend(5.0, 1.0).over(MINUTE * 60), true),
        (Rule::retry_spend(5.0, 1.0).min_calls(10), false),
        (Rule::timeout().over(MINUTE), false),
        (Rule::calls_hanging(second).min_calls(3), false),
    ] {
        assert_eq!(rule.check().is_ok(), expected, "{rule:?}");
    }
}

#[test]
fn slo_check_rejects_invalid_values() {
    let day = 24 * 60 * MINUTE;
    let rate = BurnRate::WORKBOOK[0];
    for (objective, expected) in [
        (Slo::availability(0.995), true),
        (Slo::availability(99.5), false),
        (Slo::availability(0.0), false),
        (Slo::availability(1.0), false),
        (Slo::availability(f64::NAN), false),
        (Slo::latency(0.5, Duration::from_millis(50)), true),
        (Slo::availability(0.9).period(90 * day), true),
        (Slo::availability(0.9).period(91 * day), false),
        (Slo::availability(0.9).period(Duration::ZERO), false),
        (Slo::availability(0.9).burn_rates([]), true),
        (Slo::availability(0.9).burn_rates([rate.short_window(Duration::ZERO)]), false),
        (Slo::availability(0.9).burn_rates([rate.short_window(rate.long)]), true),
        (Slo::availability(0.9).burn_rates([rate.short_window(rate.long * 2)]), false),
        (Slo::availability(0.9).burn_rates([BurnRate::new(f64::NAN)]), false),
        (Slo::availability(0.9).burn_rates([BurnRate::new(-1.0)]), false),
    ] {
        assert_eq!(objective.check().is_ok(), expected, "{objective:?}");
    }
}
