//! Rules about numbers of calls in a window.

use crate::event::AlertKind;
use std::time::Duration;

use super::{Condition, Rule};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::alert) enum Measure {
    /// Calls that failed, of all that count.
    Failures,
    /// Calls that took longer than this, of those that succeeded or took longer.
    Slower(Duration),
    /// Retries.
    Retries,
}

/// What a measure must not exceed. A rule is met if it is exceeded in every window.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::alert) struct Limit {
    pub(in crate::alert) kind: AlertKind,
    /// Tells alerts of one kind apart.
    pub(in crate::alert) label: String,
    pub(in crate::alert) measure: Measure,
    pub(in crate::alert) unit: Unit,
    pub(in crate::alert) most: f64,
    /// The longest first.
    pub(in crate::alert) windows: Vec<Duration>,
    /// How many calls the longest window must have.
    pub(in crate::alert) min_calls: u64,
}

/// How the bad calls are weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::alert) enum Unit {
    /// The share of the bad calls, as a multiple of this share.
    ShareOf(f64),
    /// This much for each bad call.
    Sum(f64),
}

impl Rule {
    /// How long a window is, unless [`over`](Self::over) says otherwise.
    const WINDOW: Duration = Duration::from_secs(300);

    /// More than this share of the calls failed; 0.05 is a twentieth. It is measured over 5 minutes with
    /// at least 20 calls, or as [`over`](Self::over) and [`min_calls`](Self::min_calls) say. Calls that
    /// their callers dropped don't count, nor do requests that failed by their own fault.
    pub fn error_ratio(share: f64) -> Self {
        Self::share(AlertKind::ErrorRatio, String::new(), Measure::Failures, share)
    }

    /// Half of the calls took longer than this, as their callers see it. It is
    /// [`slow_tail`](Self::slow_tail) with a quantile of 0.5.
    pub fn slow_median(limit: Duration) -> Self {
        Self::slow_tail(0.5, limit)
    }

    /// This quantile of the calls' times is over the limit; with 0.99, more than a hundredth of the calls
    /// are slower. It is measured over 5 minutes with at least 20 calls, or as [`over`](Self::over) and
    /// [`min_calls`](Self::min_calls) say. It is exact, as calls over the limit are counted. A call that
    /// failed sooner than the limit doesn't count.
    pub fn slow_tail(quantile: f64, limit: Duration) -> Self {
        let label = format!("p{} of {limit:?}", percent(quantile));
        Self::share(AlertKind::SlowCalls, label, Measure::Slower(limit), 1.0 - quantile)
    }

    /// The retries of a minute, or of the window that [`over`](Self::over) says, cost more than `sum`.
    /// One costs `each`, in any currency. The retry layer must be given the
    /// [observer](super::super::Alerts::observer).
    pub fn retry_spend(sum: f64, each: f64) -> Self {
        Self::new(Condition::Measured(Limit {
            kind: AlertKind::RetrySpend,
            label: String::new(),
            measure: Measure::Retries,
            unit: Unit::Sum(each),
            most: sum,
            windows: vec![Duration::from_secs(60)],
            min_calls: 0,
        }))
    }

    fn share(kind: AlertKind, label: String, measure: Measure, share: f64) -> Self {
        Self::new(Condition::Measured(Limit {
            kind,
            label,
            measure,
            unit: Unit::ShareOf(1.0),
            most: share,
            windows: vec![Self::WINDOW],
            min_calls: 20,
        }))
    }

    /// Measures over this window, from 1 minute to 90 days. It slides in steps of a sixtieth.
    pub fn over(mut self, window: Duration) -> Self {
        match &mut self.condition {
            Condition::Measured(limit) => limit.windows = vec![window],
            other => *other = Condition::Unmeasured,
        }
        self
    }

    /// The rule is met only with at least this many calls in the window. It isn't for
    /// [`retry_spend`](Self::retry_spend), which counts retries.
    pub fn min_calls(mut self, calls: u64) -> Self {
        match &mut self.condition {
            Condition::Measured(limit) if limit.measure != Measure::Retries => {
                limit.min_calls = calls;
            }
            other => *other = Condition::Unmeasured,
        }
        self
    }
}

/// Writes a share as a percentage with up to three decimals, or nine for a share so near to 0 or 1 that
/// it would look like it.
pub(in crate::alert) fn percent(share: f64) -> String {
    let nearly = share > 0.0 && share < 0.000_01 || share > 0.999_99 && share < 1.0;
    let shown = format!("{:.*}", if nearly { 9 } else { 3 }, share * 100.0);
    shown.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_neither_all_nor_nothing_unless_it_is() {
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
}
