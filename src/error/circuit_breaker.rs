use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::GrpcStatus;
use crate::verdict::{Cause, Class, GrpcCode, Verdict};

/// The error of a call that an open circuit rejected. Nothing was sent.
///
/// To a tonic client (feature `tonic`) it is `UNAVAILABLE`, or `UNAUTHENTICATED` if the credential
/// is latched, or `RESOURCE_EXHAUSTED` if the credential's quota is spent.
#[derive(Debug)]
pub struct CircuitOpen {
    circuit: Arc<str>,
    state: CircuitState,
    reason: OpenReason,
    cause: Cause,
    retry_after: Option<Duration>,
    status: GrpcStatus,
}

impl CircuitOpen {
    /// Creates the error of a circuit that is held open: its [reason](Self::reason) is
    /// [`OpenReason::Forced`], its [cause](Self::cause) is unknown.
    pub fn new(circuit: impl Into<Arc<str>>) -> Self {
        Self {
            circuit: circuit.into(),
            state: CircuitState::ForcedOpen,
            reason: OpenReason::Forced,
            cause: Cause::Unknown,
            retry_after: None,
            status: GrpcStatus::default(),
        }
    }

    /// Sets the circuit's state.
    #[must_use]
    pub fn with_state(self, state: CircuitState) -> Self {
        Self { state, ..self }
    }

    /// Sets why the circuit opened and the last result that it counted.
    #[must_use]
    pub fn with_reason(self, reason: OpenReason, cause: Cause) -> Self {
        Self { reason, cause, ..self }
    }

    /// Sets the time until a call may pass.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// Returns the circuit's name.
    #[must_use]
    pub fn circuit(&self) -> &str {
        &self.circuit
    }

    /// Returns the circuit's state: open, half-open with all probes in flight, ramp-up, or held
    /// open.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.state
    }

    /// Returns why the circuit opened.
    #[must_use]
    pub fn reason(&self) -> OpenReason {
        self.reason
    }

    /// Returns the cause of the last result before the circuit opened.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Returns the time until a call may pass. `None` if unknown: a half-open circuit waits for its
    /// probes, ramp-up admits a share of the calls, and a circuit that is held open waits for a
    /// reset.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns the verdict. A latched credential keeps the class of the server's verdict, so that no
    /// layer above waits for it or sends it to another region.
    pub(crate) fn verdict(&self) -> Verdict {
        let class = match self.reason {
            OpenReason::CredentialRejected => Class::CredentialRejected,
            OpenReason::QuotaExhausted => Class::QuotaExhausted,
            _ => Class::CircuitOpen,
        };
        let verdict = Verdict::new(class).with_cause(Cause::CircuitOpen);
        self.retry_after.map_or(verdict, |wait| verdict.with_retry_after(wait))
    }
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { circuit, state, reason, cause, .. } = self;
        write!(f, "circuit {circuit} is {state}: {reason} ({cause})")?;
        match self.retry_after {
            Some(wait) => write!(f, "; retry in {wait:.1?}"),
            None => Ok(()),
        }
    }
}

impl Error for CircuitOpen {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let code = match self.reason {
            OpenReason::CredentialRejected => GrpcCode::Unauthenticated,
            OpenReason::QuotaExhausted => GrpcCode::ResourceExhausted,
            _ => GrpcCode::Unavailable,
        };
        self.status.source(code, self)
    }
}

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitState {
    /// Every call passes.
    Closed,
    /// Every call is rejected with [`CircuitOpen`].
    Open,
    /// A few calls pass as probes, and their results decide.
    HalfOpen,
    /// The probes succeeded: a growing share of the calls passes.
    RampUp,
    /// Held open by an operator: every call is rejected.
    ForcedOpen,
    /// Held closed by an operator: every call passes, and no result counts.
    ForcedClosed,
}

impl CircuitState {
    /// Returns the name in logs, metrics and data, such as `half-open`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::RampUp => "ramp-up",
            Self::ForcedOpen => "forced-open",
            Self::ForcedClosed => "forced-closed",
        }
    }

    /// Returns a number that is greater for a worse state.
    pub(crate) const fn severity(self) -> u8 {
        match self {
            Self::ForcedClosed => 0,
            Self::Closed => 1,
            Self::RampUp => 2,
            Self::HalfOpen => 3,
            Self::Open => 4,
            Self::ForcedOpen => 5,
        }
    }

    /// Returns whether every call passes, whatever the time.
    pub(crate) const fn passes_all(self) -> bool {
        matches!(self, Self::Closed | Self::ForcedClosed)
    }

    /// Returns whether every call is rejected until the state changes.
    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::ForcedOpen)
    }

    /// Returns whether results count towards opening.
    pub(crate) const fn counts_results(self) -> bool {
        matches!(self, Self::Closed | Self::RampUp)
    }
}

impl fmt::Display for CircuitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The reason for which a circuit opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OpenReason {
    /// Too many consecutive failures.
    Consecutive,
    /// The leaky count reached its threshold.
    Leaky,
    /// The failure rate reached its threshold.
    FailureRate,
    /// The rate of slow calls reached its threshold.
    SlowCallRate,
    /// Too many probes failed.
    Probe,
    /// The upstream rejected the credential, which is latched.
    CredentialRejected,
    /// The credential's quota is spent, and the credential is latched.
    QuotaExhausted,
    /// An operator holds it open.
    Forced,
}

impl OpenReason {
    /// Returns the name in metrics and data, such as `failure-rate`.
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

    /// Returns whether a credential is latched, rather than a circuit of the upstream open.
    #[must_use]
    pub const fn is_latch(self) -> bool {
        matches!(self, Self::CredentialRejected | Self::QuotaExhausted)
    }
}

impl fmt::Display for OpenReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Consecutive => "consecutive failures",
            Self::Leaky => "too many failures",
            Self::FailureRate => "failure rate too high",
            Self::SlowCallRate => "rate of slow calls too high",
            Self::Probe => "probe failed",
            Self::CredentialRejected => "credential rejected",
            Self::QuotaExhausted => "quota exhausted",
            Self::Forced => "held open",
        })
    }
}
