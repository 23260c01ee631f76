use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::verdict::Cause;

/// One alert, as sinks, observers and the history receive it.
///
/// It contains configured names, numbers and kinds of failure: never an error's text, a header, a
/// URL or a body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alert {
    /// The kind of condition.
    pub kind: AlertKind,
    /// The severity, or the last severity before it was resolved.
    pub severity: Severity,
    /// The previously notified severity, if it has changed since.
    pub previous_severity: Option<Severity>,
    /// Whether the condition has ended.
    pub resolved: bool,
    /// The deduplication key: the same for every alert about one condition, resolved or not; at
    /// most 255 bytes.
    pub key: String,
    /// The text for people.
    pub message: String,
    /// The service that raises it, as configured.
    pub service: Arc<str>,
    /// The region, if it is about one.
    pub region: Option<String>,
    /// The circuit, if it is about one.
    pub circuit: Option<String>,
    /// The rate limiter, if it is about one.
    pub limiter: Option<String>,
    /// The objective, or the limit on the duration of calls, if it is about one.
    pub objective: Option<String>,
    /// The kinds of failure that led to it.
    pub causes: Vec<Cause>,
    /// The number of retries of the failed call, if known.
    pub retries: Option<u32>,
    /// When the condition began.
    pub since: SystemTime,
    /// When this alert was decided.
    pub at: SystemTime,
    /// The time after which it is repeated if the condition lasts.
    pub repeat_interval: Duration,
}

impl Alert {
    /// Creates an alert that begins at the Unix epoch, with empty labels. Set other fields directly.
    pub fn new(kind: AlertKind, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            kind,
            severity,
            previous_severity: None,
            resolved: false,
            key: kind.name().to_owned(),
            message: message.into(),
            service: Arc::from(""),
            region: None,
            circuit: None,
            limiter: None,
            objective: None,
            causes: Vec::new(),
            retries: None,
            since: SystemTime::UNIX_EPOCH,
            at: SystemTime::UNIX_EPOCH,
            repeat_interval: Duration::ZERO,
        }
    }
}

/// The severity of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Information; no action needed.
    Info,
    /// Action needed soon.
    Warning,
    /// Action needed now.
    Critical,
}

impl Severity {
    /// All severities, in ascending order.
    pub(crate) const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// Returns the name in payloads: stable, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind of condition that an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlertKind {
    /// A call timed out.
    Timeout,
    /// A call failed in another way, or was rejected locally.
    CallFailed,
    /// A circuit opened. Resolved when it closes.
    CircuitOpen,
    /// A region is out. Resolved when it is healthy again, or removed.
    RegionOut,
    /// All regions are out. Resolved when one is healthy again, or added.
    AllRegionsOut,
    /// The upstream rejected the credential.
    CredentialRejected,
    /// The credential's money or quota is spent.
    QuotaExhausted,
    /// The upstream requested a pause from a rate limiter.
    RateLimited,
    /// Too many calls failed in a window.
    ErrorRatio,
    /// Too many calls were slow in a window.
    SlowCalls,
    /// Calls have been in flight for too long.
    CallsHanging,
    /// Retries cost too much in a minute.
    RetrySpend,
    /// The error budget of an objective burns too fast.
    BudgetBurn,
}

impl AlertKind {
    /// Returns whether each failed call is an occurrence of its own.
    pub(crate) const fn is_per_call(self) -> bool {
        matches!(self, Self::CallFailed | Self::Timeout)
    }

    /// Returns the name in payloads and keys: stable, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::CallFailed => "call_failed",
            Self::CircuitOpen => "circuit_open",
            Self::RegionOut => "region_out",
            Self::AllRegionsOut => "all_regions_out",
            Self::CredentialRejected => "credential_rejected",
            Self::QuotaExhausted => "quota_exhausted",
            Self::RateLimited => "rate_limited",
            Self::ErrorRatio => "error_ratio",
            Self::SlowCalls => "slow_calls",
            Self::CallsHanging => "calls_hanging",
            Self::RetrySpend => "retry_spend",
            Self::BudgetBurn => "budget_burn",
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
