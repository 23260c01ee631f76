//! What is worth an alert, and how bad it is.

mod check;
mod measured;
mod seen;

use crate::event::{AlertKind, Severity};
use std::time::Duration;

pub(super) use self::measured::{Limit, Measure, Unit, percent};
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
