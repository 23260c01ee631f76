use std::fmt;

use crate::classify::Cause;

/// What made a circuit open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenReason {
    /// Too many failures in a row.
    Consecutive,
    /// The leaky count reached its threshold.
    Leaky,
    /// Too large a share of failures.
    FailureRate,
    /// Too large a share of slow calls.
    SlowCallRate,
    /// Too many probes failed.
    Probe,
    /// The upstream refused the credential: it is latched.
    CredentialRejected,
    /// The credential's quota is spent: it is latched.
    QuotaExhausted,
    /// Its [handle](super::CircuitBreakerHandle) holds it open.
    Forced,
}

impl OpenReason {
    /// The name that metrics and data show, such as `failure-rate`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::Leaky => "leaky",
            Self::FailureRate => "failure-rate",
            Self::SlowCallRate => "slow-call-rate",
            Self::Probe => "probe",
            Self::CredentialRejected => "credential-rejected",
            Self::QuotaExhausted => "quota-exhausted",
            Self::Forced => "forced",
        }
    }

    /// Whether a credential was latched, rather than a circuit of the upstream opened.
    #[must_use]
    pub const fn is_latch(self) -> bool {
        matches!(self, Self::CredentialRejected | Self::QuotaExhausted)
    }
}

impl fmt::Display for OpenReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Consecutive => "failures in a row",
            Self::Leaky => "too many failures",
            Self::FailureRate => "too large a share of failures",
            Self::SlowCallRate => "too large a share of slow calls",
            Self::Probe => "a failed probe",
            Self::CredentialRejected => "credential rejected",
            Self::QuotaExhausted => "quota exhausted",
            Self::Forced => "held open",
        })
    }
}

/// Why a circuit opened: what decided it, and the last thing that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Why {
    pub(super) reason: OpenReason,
    pub(super) cause: Cause,
}
