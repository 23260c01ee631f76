use std::fmt;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look, in time.
    Warning,
    /// Somebody must look, now.
    Critical,
}

impl Severity {
    /// From the least to the worst.
    pub(super) const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The severity's name in payloads: stable, lower case.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an alert is about. The [rules](super::Rule) say which are worth one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlertKind {
    /// A call had no answer in time.
    Timeout,
    /// A call failed in another way, or was turned away on this side.
    CallFailed,
    /// A circuit opened. Resolved when it closes.
    CircuitOpen,
    /// A region was lost. Resolved when it is back, or removed.
    RegionLost,
    /// No region is healthy. Resolved when one is, or is added.
    AllRegionsLost,
    /// The upstream refused the credential.
    CredentialRejected,
    /// The account's money or quota is spent.
    QuotaExhausted,
    /// The upstream asked the limiter for a pause.
    RateLimited,
    /// Too many calls failed in a window.
    ErrorRatio,
    /// Too many calls took too long in a window.
    SlowCalls,
    /// Calls have been in flight for too long.
    CallsHanging,
    /// Retries cost too much in a minute.
    RetrySpend,
    /// An objective's error budget is spent too fast.
    BudgetBurn,
}

impl AlertKind {
    /// Whether it is about calls that failed: each failed call tells it anew.
    pub(super) const fn is_of_calls(self) -> bool {
        matches!(self, Self::CallFailed | Self::Timeout)
    }

    /// The kind's name in payloads and keys: stable, lower case.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::CallFailed => "call_failed",
            Self::CircuitOpen => "circuit_open",
            Self::RegionLost => "region_lost",
            Self::AllRegionsLost => "all_regions_lost",
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
        f.write_str(self.as_str())
    }
}
