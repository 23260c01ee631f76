//! What is worth an alert, and how bad it is.

mod seen;

use std::time::Duration;

use crate::error::InvalidConfig;
use crate::event::{AlertKind, Severity};

pub(super) use self::seen::Rules;

/// What is worth an alert, and how bad it is.
///
/// Rules are given to the [builder](super::AlertsBuilder::rules). If the same thing meets several rules,
/// the most severe counts, whatever their order.
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
    /// Something of this kind was seen; a timeout only after more than `retries`.
    Seen { kind: AlertKind, retries: Option<u32> },
    /// A measure is over its limit.
    Measured(Limit),
    /// Calls have been in flight for longer than this.
    Hanging(Duration),
    /// A rule that measures nothing was given a window or a minimum of calls: it is refused when the alerts
    /// are built.
    Unmeasured,
}

impl Rule {
    /// The default rules. Critical is what stops every call (a refused credential, a spent quota, no
    /// region left), and a timeout after more than 3 retries. An open circuit and a lost region are
    /// warnings. The rest is information.
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

    fn seen(kind: AlertKind) -> Self {
        Self::new(Condition::Seen { kind, retries: None })
    }

    /// A call had no answer in time.
    pub fn timeout() -> Self {
        Self::seen(AlertKind::Timeout)
    }

    /// A call had no answer in time after more retries than this. The retry layer must be given
    /// the [observer](super::Alerts::observer).
    pub fn timeout_after(retries: u32) -> Self {
        Self::new(Condition::Seen { kind: AlertKind::Timeout, retries: Some(retries) })
    }

    /// A call failed in another way than a timeout, or was turned away on this side. Each kind of failure is
    /// an alert of its own.
    pub fn call_failed() -> Self {
        Self::seen(AlertKind::CallFailed)
    }

    /// A circuit opened. Resolved when it closes.
    pub fn circuit_open() -> Self {
        Self::seen(AlertKind::CircuitOpen)
    }

    /// A region was lost. Resolved when it is back, or removed.
    pub fn region_out() -> Self {
        Self::seen(AlertKind::RegionOut)
    }

    /// No region is healthy. Resolved when one is, or is added. With a single region, or with the last of
    /// several, one failed call may be enough: add [`lasting`](Self::lasting) 30 seconds, and what comes and
    /// goes wakes nobody.
    pub fn all_regions_out() -> Self {
        Self::seen(AlertKind::AllRegionsOut)
    }

    /// The upstream refused the credential. This mutes all other alerts for the sinks that receive of it. Leave
    /// this rule out if credentials are those of many tenants, of which one may be dead for long.
    pub fn credential_rejected() -> Self {
        Self::seen(AlertKind::CredentialRejected)
    }

    /// The account's money or quota is spent. Only your classifier can emit.
    pub fn quota_exhausted() -> Self {
        Self::seen(AlertKind::QuotaExhausted)
    }

    /// The upstream asked a rate limiter for a pause. To receive only of long ones, add
    /// [`lasting`](Self::lasting): a pause lasts for as long as the upstream asked.
    pub fn rate_limited() -> Self {
        Self::seen(AlertKind::RateLimited)
    }

    /// A call has been in flight, as its caller sees it, for longer than this. It is found up to a quarter
    /// of that time later, or 2 seconds if that is longer. All such rules must have the same limit, of at
    /// least 1 second.
    pub fn calls_hanging(longer_than: Duration) -> Self {
        Self::new(Condition::Hanging(longer_than))
    }

    /// Sets the severity. Default: information.
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Sets the severity to [`Severity::Info`]: good to know.
    pub fn info(self) -> Self {
        self.severity(Severity::Info)
    }

    /// Sets the severity to [`Severity::Warning`]: somebody should look, in time.
    pub fn warning(self) -> Self {
        self.severity(Severity::Warning)
    }

    /// Sets the severity to [`Severity::Critical`]: somebody must look, now.
    pub fn critical(self) -> Self {
        self.severity(Severity::Critical)
    }

    /// Is met only by what lasts for this time; of what is over sooner nobody hears. Where no event notify
    /// the end, it lasts from the first time that it was seen to the last, unless a
    /// [quiet time](super::AlertsBuilder::quiet_time) lies between. Default: 0.
    pub fn lasting(mut self, time: Duration) -> Self {
        self.hold = time;
        self
    }
}

/// A window has sixty buckets, and a look comes once a second at most: a bucket must be no shorter.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(90 * 86_400);

impl Rule {
    pub(in crate::alert) fn check(&self) -> Result<(), InvalidConfig> {
        match &self.condition {
            Condition::Measured(limit) => limit.check(),
            Condition::Hanging(time) if *time < Duration::from_secs(1) => {
                Err(InvalidConfig::new(format!(
                    "calls that hang for {time:?} can't be distinguished from others; wait at least 1 s"
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
mod check_tests {
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

#[cfg(test)]
mod measured_tests {
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
