use std::time::Duration;

use crate::alert::observation::Reading;
use crate::error::InvalidConfig;
use crate::event::{AlertKind, Severity};
use crate::sliding_window::CallCounts;

/// A condition that raises an alert, and the alert's severity.
///
/// Rules are set on the [builder](crate::alert::AlertsBuilder::rules). If several rules match a
/// condition, the highest severity counts, whatever their order.
///
/// ```
/// use std::time::Duration;
/// use tower_upstream::alert::{Alerts, Rule};
///
/// let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
/// let alerts = Alerts::builder().rules([
///     Rule::timeout_after(3).critical(),
///     Rule::circuit_open().warning(),
///     Rule::region_out().warning(),
///     Rule::all_regions_out().critical(),
///     Rule::credential_rejected().critical(),
///     Rule::rate_limited().lasting(minutes(10)).warning(),
///     Rule::retry_spend(5.00, 0.008).warning(),
///     Rule::slow_median(Duration::from_millis(50)).over(minutes(10)).warning(),
///     Rule::error_ratio(0.05).over(minutes(5)).min_calls(100).critical(),
///     Rule::calls_hanging(minutes(2)).warning(),
/// ]);
/// # alerts.build().unwrap();
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Rule {
    pub(super) condition: Condition,
    pub(super) severity: Severity,
    pub(super) hold: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    /// An observation of this kind; a timeout only after more than `retries`.
    Observed { kind: AlertKind, retries: Option<u32> },
    /// A measure exceeds its limit.
    Measured(Limit),
    /// Calls have been in flight for longer than this.
    Hanging(Duration),
    /// A rule that measures nothing has a window or a minimum number of calls: rejected at build.
    Unmeasured,
}

/// A count of calls or retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// Failed calls, of all calls that count.
    Failures,
    /// Calls that took longer than this, of those that succeeded or took longer.
    Slower(Duration),
    /// Retries.
    Retries,
}

/// The limit of a measure. It is exceeded if it is in every window.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limit {
    pub(super) kind: AlertKind,
    /// Distinguishes alerts of one kind.
    pub(super) label: String,
    pub(super) measure: Measure,
    pub(super) unit: Unit,
    pub(super) max: f64,
    /// The longest first.
    pub(super) windows: Vec<Duration>,
    /// The minimum number of calls in the longest window.
    pub(super) min_calls: u64,
}

/// The weight of the bad calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    /// Their share of all calls, as a multiple of this share.
    ShareOf(f64),
    /// This much for each bad call.
    Each(f64),
}

impl Rule {
    /// Returns the default rules. Conditions that stop every call (a rejected credential, an exhausted
    /// quota, all regions out) are critical, as is a timeout after more than 3 retries. An open circuit
    /// and a region that is out are warnings. Other timeouts and failed calls, and pauses of a rate
    /// limiter, are information.
    #[must_use]
    pub fn standard() -> Vec<Self> {
        vec![
            Self::timeout_after(3).critical(),
            Self::timeout(),
            Self::call_failed(),
            Self::rate_limited(),
            Self::circuit_open().warning(),
            Self::region_out().warning(),
            Self::all_regions_out().critical(),
            Self::credential_rejected().critical(),
            Self::quota_exhausted().critical(),
        ]
    }

    fn new(condition: Condition) -> Self {
        Self { condition, severity: Severity::Info, hold: Duration::ZERO }
    }

    fn observed(kind: AlertKind) -> Self {
        Self::new(Condition::Observed { kind, retries: None })
    }

    /// Matches a call that timed out.
    pub fn timeout() -> Self {
        Self::observed(AlertKind::Timeout)
    }

    /// Matches a call that timed out after more retries than this. The retry layer must have the
    /// [observer](crate::alert::Alerts::observer).
    pub fn timeout_after(retries: u32) -> Self {
        Self::new(Condition::Observed { kind: AlertKind::Timeout, retries: Some(retries) })
    }

    /// Matches a call that failed in another way than a timeout, or was rejected locally. Each cause is
    /// an alert of its own.
    pub fn call_failed() -> Self {
        Self::observed(AlertKind::CallFailed)
    }

    /// Matches a circuit that opened. Resolved when it closes.
    pub fn circuit_open() -> Self {
        Self::observed(AlertKind::CircuitOpen)
    }

    /// Matches a region that is out. Resolved when it is healthy again, or removed.
    pub fn region_out() -> Self {
        Self::observed(AlertKind::RegionOut)
    }

    /// Matches when all regions are out. Resolved when one is healthy again, or added. With a single
    /// healthy region, one failed call may be enough: add [`lasting`](Self::lasting) 30 seconds to
    /// ignore short outages.
    pub fn all_regions_out() -> Self {
        Self::observed(AlertKind::AllRegionsOut)
    }

    /// Matches a credential that the upstream rejected. It mutes all other alerts for the sinks that are
    /// notified of it. Leave this rule out if the credentials belong to many tenants.
    pub fn credential_rejected() -> Self {
        Self::observed(AlertKind::CredentialRejected)
    }

    /// Matches an account whose money or quota is spent. Needs a classifier that returns
    /// [`Verdict::quota_exhausted`](crate::classify::Verdict::quota_exhausted).
    pub fn quota_exhausted() -> Self {
        Self::observed(AlertKind::QuotaExhausted)
    }

    /// Matches a pause that the upstream requested from a rate limiter. The condition lasts as long as
    /// the pause: add [`lasting`](Self::lasting) to ignore short ones.
    pub fn rate_limited() -> Self {
        Self::observed(AlertKind::RateLimited)
    }

    /// Matches a call that has been in flight, as its caller sees it, for longer than this. Detected up
    /// to a quarter of that time later, or 2 seconds if that is longer. All such rules must have the
    /// same limit, of at least 1 second.
    pub fn calls_hanging(longer_than: Duration) -> Self {
        Self::new(Condition::Hanging(longer_than))
    }

    /// Matches if more than this share of the calls failed; 0.05 is 5 %. Default: over 5 minutes with at
    /// least 20 calls, see [`over`](Self::over) and [`min_calls`](Self::min_calls). Calls that their
    /// callers dropped don't count, nor do requests that the upstream rejected as invalid.
    pub fn error_ratio(share: f64) -> Self {
        let (measure, unit) = (Measure::Failures, Unit::ShareOf(1.0));
        Self::measured(AlertKind::ErrorRatio, String::new(), measure, unit, share)
    }

    /// Matches if half of the calls took longer than this, as their callers see it:
    /// [`slow_tail`](Self::slow_tail) with a quantile of 0.5.
    pub fn slow_median(limit: Duration) -> Self {
        Self::slow_tail(0.5, limit)
    }

    /// Matches if this quantile of the calls' durations exceeds the limit; with 0.99, if more than 1 % of
    /// the calls are slower. Default: over 5 minutes with at least 20 calls, see [`over`](Self::over) and
    /// [`min_calls`](Self::min_calls). It is exact, because calls above the limit are counted. A call
    /// that failed within the limit doesn't count.
    pub fn slow_tail(quantile: f64, limit: Duration) -> Self {
        let label = format!("p{} latency of {limit:?}", percent(quantile));
        let (measure, unit) = (Measure::Slower(limit), Unit::ShareOf(1.0));
        Self::measured(AlertKind::SlowCalls, label, measure, unit, 1.0 - quantile)
    }

    /// Matches if the retries of a window cost more than `sum`; one costs `each`, in any currency.
    /// Default: over 1 minute, see [`over`](Self::over). The retry layer must have the
    /// [observer](crate::alert::Alerts::observer).
    pub fn retry_spend(sum: f64, each: f64) -> Self {
        let (window, unit) = (Duration::from_secs(60), Unit::Each(each));
        Self::measured(AlertKind::RetrySpend, String::new(), Measure::Retries, unit, sum)
            .over(window)
    }

    fn measured(kind: AlertKind, label: String, measure: Measure, unit: Unit, max: f64) -> Self {
        let windows = vec![Duration::from_secs(300)];
        let min_calls = if measure == Measure::Retries { 0 } else { 20 };
        let limit = Limit { kind, label, measure, unit, max, windows, min_calls };
        Self::new(Condition::Measured(limit))
    }

    /// Sets the window, from 1 minute to 90 days. It slides in steps of a sixtieth.
    pub fn over(mut self, window: Duration) -> Self {
        match &mut self.condition {
            Condition::Measured(limit) => limit.windows = vec![window],
            other => *other = Condition::Unmeasured,
        }
        self
    }

    /// Sets the minimum number of calls in the window. Not for [`retry_spend`](Self::retry_spend), which
    /// counts retries.
    pub fn min_calls(mut self, calls: u64) -> Self {
        match &mut self.condition {
            Condition::Measured(limit) if limit.measure != Measure::Retries => {
                limit.min_calls = calls;
            }
            other => *other = Condition::Unmeasured,
        }
        self
    }

    /// Sets the severity. Default: [`Severity::Info`].
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Sets the severity to [`Severity::Info`].
    pub fn info(self) -> Self {
        self.severity(Severity::Info)
    }

    /// Sets the severity to [`Severity::Warning`].
    pub fn warning(self) -> Self {
        self.severity(Severity::Warning)
    }

    /// Sets the severity to [`Severity::Critical`].
    pub fn critical(self) -> Self {
        self.severity(Severity::Critical)
    }

    /// Sets the time that the condition must last. If no event reports its end, it lasts from the first
    /// observation to the last, unless a [quiet time](crate::alert::AlertsBuilder::quiet_time) lies
    /// between. Default: 0.
    pub fn lasting(mut self, time: Duration) -> Self {
        self.hold = time;
        self
    }

    pub(in crate::alert) fn check(&self) -> Result<(), InvalidConfig> {
        match &self.condition {
            Condition::Measured(limit) => limit.check(),
            Condition::Hanging(limit) if *limit < Duration::from_secs(1) => {
                Err(InvalidConfig::new(format!(
                    "`calls_hanging` needs a limit of at least 1 s, not {limit:?}"
                )))
            }
            Condition::Unmeasured => Err(InvalidConfig::new(
                "`min_calls` is only for rules about shares of calls, `over` only for those and \
                 `retry_spend`; use `lasting` for other rules",
            )),
            Condition::Observed { .. } | Condition::Hanging(_) => Ok(()),
        }
    }
}

impl Limit {
    /// A window has 60 buckets and is updated at most once a second: a bucket must be no shorter.
    const MIN_WINDOW: Duration = Duration::from_secs(60);
    const MAX_WINDOW: Duration = Duration::from_secs(90 * 86_400);

    fn check(&self) -> Result<(), InvalidConfig> {
        let Self { kind, max, unit, .. } = self;
        let (is_share, each) = match *unit {
            Unit::ShareOf(share) => (share > 0.0 && max * share < 1.0, 1.0),
            Unit::Each(each) => (true, each),
        };
        let is_valid = max.is_finite() && *max >= 0.0 && each.is_finite() && each > 0.0;
        if !(is_share && is_valid) {
            let needed = if self.measure == Measure::Retries {
                "a sum and a price above 0"
            } else {
                "a share (or a quantile) between 0 and 1"
            };
            return Err(InvalidConfig::new(format!("the rule {kind} needs {needed}")));
        }
        let is_outside =
            |window: &&Duration| !(Self::MIN_WINDOW..=Self::MAX_WINDOW).contains(window);
        match self.windows.iter().find(is_outside) {
            Some(window) => Err(InvalidConfig::new(format!(
                "the window of the rule {kind} is {window:?}; it must be from 1 minute to 90 days"
            ))),
            None => Ok(()),
        }
    }

    /// Returns the reading of the longest window, if every window exceeds the limit. `sums` are in the
    /// order of `self.windows`.
    pub(super) fn exceeded(&self, sums: impl Iterator<Item = CallCounts>) -> Option<Reading> {
        let mut longest = None;
        for (number, sum) in sums.enumerate() {
            if number == 0 && sum.calls < self.min_calls {
                return None;
            }
            let value = self.value(sum);
            // A share that equals its limit may be slightly above it in binary.
            if value <= self.max * (1.0 + 1e-9) {
                return None;
            }
            longest = longest.or(Some(value));
        }
        Some(Reading { value: longest?, limit: self.max, window: *self.windows.first()? })
    }

    #[allow(clippy::cast_precision_loss)] // past 2^53 calls a share is still a share
    fn value(&self, sum: CallCounts) -> f64 {
        match self.unit {
            Unit::ShareOf(_) if sum.calls == 0 => 0.0,
            Unit::ShareOf(share) => sum.bad as f64 / sum.calls as f64 / share,
            Unit::Each(each) => sum.bad as f64 * each,
        }
    }
}

/// Formats a share as a percentage with up to three decimals, or nine if it would be rounded to 0 or
/// 100 %.
pub(in crate::alert) fn percent(share: f64) -> String {
    let nearly = share > 0.0 && share < 0.000_01 || share > 0.999_99 && share < 1.0;
    let text = format!("{:.*}", if nearly { 9 } else { 3 }, share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
