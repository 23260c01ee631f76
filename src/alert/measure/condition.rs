//! Whether a limit is exceeded.

use crate::alert::observation::Reading;
use crate::alert::rule::{Limit, Unit};
use crate::sliding_window::CallCounts;

impl Limit {
    /// Returns what was measured in the longest window, if every window is over the limit. `sums` are
    /// those of `self.windows`, in their order.
    pub(super) fn exceeded(&self, sums: impl Iterator<Item = CallCounts>) -> Option<Reading> {
        let mut first = None;
        for (number, sum) in sums.enumerate() {
            if number == 0 && sum.calls < self.min_calls {
                return None;
            }
            let value = self.value(sum);
            // A share that is just at its limit can come out a little above it in binary.
            if value <= self.most * (1.0 + 1e-9) {
                return None;
            }
            first = first.or(Some(value));
        }
        let (value, limit) = (first?, self.most);
        self.windows.first().map(|over| Reading { value, limit, over: *over })
    }

    #[allow(clippy::cast_precision_loss)] // past 2^53 calls a share is still a share
    fn value(&self, sum: CallCounts) -> f64 {
        match self.unit {
            Unit::ShareOf(_) if sum.calls == 0 => 0.0,
            Unit::ShareOf(share) => sum.bad as f64 / sum.calls as f64 / share,
            Unit::Sum(each) => sum.bad as f64 * each,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::alert::Slo;
    use crate::alert::rule::{Condition, Rule};

    fn limit(rule: Rule) -> Limit {
        match rule.condition {
            Condition::Measured(limit) => limit,
            other => panic!("{other:?} measures nothing"),
        }
    }

    fn exceeds(limit: &Limit, sums: &[(u64, u64)]) -> bool {
        let sums = sums.iter().map(|&(bad, calls)| CallCounts { calls, bad });
        limit.exceeded(sums).is_some()
    }

    /// 99.5 % leaves 0.5 %: 14.4 times that are 7.2 %, 6 times 3 %, 3 times 1.5 %.
    #[test]
    fn burn_rates_by_hand() {
        let rules: Vec<_> = Slo::availability(0.995).rules().map(limit).collect();
        for (rule, (long, short), expected) in [
            // 72 of 1000 are just 7.2 %; the next one is over.
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
            assert_eq!(
                exceeds(&rules[rule], &[long, short]),
                expected,
                "{rule} {long:?} {short:?}"
            );
        }
        let (long, short) =
            (CallCounts { bad: 100, calls: 1_000 }, CallCounts { bad: 1, calls: 1 });
        let reading = rules[0].exceeded([long, short].into_iter()).unwrap();
        // A tenth of the calls is twenty times what may be.
        assert!((reading.value - 20.0).abs() < 1e-9);
        assert_eq!((reading.limit, reading.over), (14.4, Duration::from_secs(3600)));
    }

    #[test]
    fn a_rate_that_a_median_cannot_reach_is_left_out() {
        let rules = |target| -> Vec<_> {
            let slo = Slo::latency(target, Duration::from_millis(50));
            slo.rules().map(|rule| limit(rule).most).collect()
        };
        assert_eq!(rules(0.5), [1.0]);
        assert_eq!(rules(0.9), [6.0, 3.0, 1.0]);
        assert_eq!(rules(0.99), [14.4, 6.0, 3.0, 1.0]);
    }

    #[test]
    fn shares_and_sums_by_hand() {
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
}
