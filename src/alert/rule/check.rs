//! Which rules can't work.

use std::time::Duration;

use super::{Condition, Limit, Measure, Rule, Unit};
use crate::error::InvalidConfig;

/// A window has sixty buckets, and a look comes once a second at most: a bucket must be no shorter.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(90 * 86_400);

impl Rule {
    pub(in crate::alert) fn check(&self) -> Result<(), InvalidConfig> {
        match &self.condition {
            Condition::Measured(limit) => limit.check(),
            Condition::Hanging(time) if *time < Duration::from_secs(1) => {
                Err(InvalidConfig::new(format!(
                    "calls that hang for {time:?} can't be notified from others; wait at least 1 s"
                )))
            }
            Condition::Unmeasured => Err(InvalidConfig::new(
                "only rules about shares of calls have a minimum of calls, only those and \
                 `retry_spend` a window; use `lasting` for the others",
            )),
            Condition::Seen { .. } | Condition::Hanging(_) => Ok(()),
        }
    }
}

impl Limit {
    fn check(&self) -> Result<(), InvalidConfig> {
        let Self { kind, most, unit, .. } = self;
        let (is_share, each) = match *unit {
            Unit::ShareOf(share) => (share > 0.0 && most * share < 1.0, 1.0),
            Unit::Sum(each) => (true, each),
        };
        let can_be = most.is_finite() && *most >= 0.0 && each.is_finite() && each > 0.0;
        if !(is_share && can_be) {
            let what = if self.measure == Measure::Retries {
                "a sum and a price above 0"
            } else {
                "a share (or a quantile) between 0 and 1"
            };
            return Err(InvalidConfig::new(format!("the rule {kind} needs {what}")));
        }
        let windows = &self.windows;
        match windows.iter().find(|window| !(SHORTEST..=LONGEST).contains(window)) {
            Some(window) => Err(InvalidConfig::new(format!(
                "the rule {kind} can't look over {window:?}; a window is from 1 minute to 90 days"
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{BurnRate, Slo};

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_cannot_work_is_refused() {
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
    fn so_are_objectives() {
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
            (
                Slo::availability(0.9).burn_rates([BurnRate { short: Duration::ZERO, ..rate }]),
                false,
            ),
            (Slo::availability(0.9).burn_rates([BurnRate { short: rate.long, ..rate }]), true),
            (Slo::availability(0.9).burn_rates([BurnRate { short: rate.long * 2, ..rate }]), false),
            (Slo::availability(0.9).burn_rates([BurnRate { factor: f64::NAN, ..rate }]), false),
            (Slo::availability(0.9).burn_rates([BurnRate { factor: -1.0, ..rate }]), false),
        ] {
            assert_eq!(objective.check().is_ok(), expected, "{objective:?}");
        }
    }
}
