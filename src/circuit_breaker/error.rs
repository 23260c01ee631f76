use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::reason::Why;
use super::{CircuitState, OpenReason};
use crate::classify::{Cause, Class, GrpcCode, Verdict};
use crate::error::LazyStatus;
use crate::time::Instant;

/// The circuit is open: the call was answered here, and nothing was sent.
///
/// Over tonic, with the feature `tonic`, a client sees it as `UNAVAILABLE`; where its
/// credential is latched as `UNAUTHENTICATED`, or as `RESOURCE_EXHAUSTED` if its quota is spent.
#[derive(Debug)]
pub struct CircuitOpen {
    circuit: Arc<str>,
    state: CircuitState,
    why: Option<Why>,
    /// When the call was turned away.
    at: Instant,
    /// When a call may pass again, if that is known.
    until: Option<Instant>,
    status: LazyStatus,
}

impl CircuitOpen {
    pub(super) fn new(
        circuit: &Arc<str>,
        state: CircuitState,
        why: Option<Why>,
        (at, until): (Instant, Option<Instant>),
    ) -> Self {
        Self { circuit: Arc::clone(circuit), state, why, at, until, status: LazyStatus::default() }
    }

    /// The circuit's name.
    #[must_use]
    pub fn circuit(&self) -> &str {
        &self.circuit
    }

    /// The circuit's state: open, half-open with all probes under way, recovering, or held open.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.state
    }

    pub(super) fn why(&self) -> Option<Why> {
        self.why
    }

    /// Why it opened.
    #[must_use]
    pub fn reason(&self) -> OpenReason {
        self.why.map_or(OpenReason::Forced, |why| why.reason)
    }

    /// What was seen when it opened.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.why.map_or(Cause::Unknown, |why| why.cause)
    }

    /// How long until a call may pass again. `None` where that isn't known: a half-open circuit
    /// waits for its probes, a recovering one lets only some calls pass, and one that is held open
    /// waits for a reset.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(self.at))
    }

    /// A latched credential has the verdict that the server gave it: no layer above should wait for
    /// it, or try it in another region.
    pub(crate) fn verdict(&self) -> Verdict {
        let class = match self.reason() {
            OpenReason::CredentialRejected => Class::CredentialRejected,
            OpenReason::QuotaExhausted => Class::QuotaExhausted,
            _ => Class::CircuitOpen,
        };
        let verdict = Verdict::new(class).cause_is(Cause::CircuitOpen);
        match self.retry_after() {
            Some(wait) => verdict.retry_after(wait),
            None => verdict,
        }
    }
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (circuit, state, reason) = (&self.circuit, self.state, self.reason());
        write!(f, "circuit {circuit} is {state} after {reason} ({})", self.cause())?;
        match self.retry_after() {
            Some(wait) => write!(f, "; try again in {wait:.1?}"),
            None => Ok(()),
        }
    }
}

impl Error for CircuitOpen {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let code = match self.reason() {
            OpenReason::CredentialRejected => GrpcCode::Unauthenticated,
            OpenReason::QuotaExhausted => GrpcCode::ResourceExhausted,
            _ => GrpcCode::Unavailable,
        };
        self.status.source(code, self)
    }
}
