use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look, in time.
    Warning,
    /// Somebody must look, now.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlertKind {
    /// A call had no answer in time: critical after more retries than
    /// [`timeout_retries`](super::AlertsBuilder::timeout_retries), else information.
    Timeout,
    /// A call failed in another way, or was turned away on this side: information.
    CallFailed,
    /// A circuit opened: a warning. Resolved when it closes.
    CircuitOpen,
    /// A region was lost: a warning. Resolved when it is back.
    RegionLost,
    /// No region is healthy: critical. Resolved when one is.
    AllRegionsLost,
    /// The upstream refused the credential: critical.
    CredentialRejected,
    /// The account's money or quota is spent: critical.
    QuotaExhausted,
    /// The upstream asked the limiter for a pause: information.
    RateLimited,
}

impl AlertKind {
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
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
