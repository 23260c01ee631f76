use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::classify::{Cause, Class, Verdict};
#[cfg(feature = "tonic")]
use crate::error::LazyStatus;

/// The circuit is open: the call was answered here, and nothing was sent.
///
/// Over tonic, with the feature `tonic`, a client sees it as `UNAVAILABLE`.
#[derive(Debug)]
pub struct CircuitOpen {
    circuit: Arc<str>,
    cause: Cause,
    retry_after: Option<Duration>,
    #[cfg(feature = "tonic")]
    status: LazyStatus,
}

impl CircuitOpen {
    pub(super) fn new(circuit: Arc<str>, cause: Cause, retry_after: Option<Duration>) -> Self {
        Self {
            circuit,
            cause,
            retry_after,
            #[cfg(feature = "tonic")]
            status: LazyStatus::default(),
        }
    }

    /// The circuit's name.
    #[must_use]
    pub fn circuit(&self) -> &str {
        &self.circuit
    }

    /// What opened it.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// When a call may pass again. `None` while a half-open circuit waits for its
    /// probes: that takes as long as they take.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let verdict = Verdict::new(Class::CircuitOpen).cause_is(Cause::CircuitOpen);
        match self.retry_after {
            Some(wait) => verdict.retry_after(wait),
            None => verdict,
        }
    }
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "circuit {} is open after: {}", self.circuit, self.cause)?;
        match self.retry_after {
            Some(wait) => write!(f, "; try again in {wait:.1?}"),
            None => f.write_str("; it is being probed"),
        }
    }
}

impl Error for CircuitOpen {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        #[cfg(feature = "tonic")]
        return Some(self.status.get(tonic::Code::Unavailable, self));
        #[cfg(not(feature = "tonic"))]
        None
    }
}
