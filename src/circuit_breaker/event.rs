use std::fmt;
use std::time::Duration;

use crate::classify::Cause;

/// Something that a circuit did.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CircuitEvent<'a> {
    /// The circuit's name.
    pub circuit: &'a str,
    /// What it did.
    pub kind: CircuitEventKind,
}

/// What a circuit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CircuitEventKind {
    /// It opened: calls are turned away.
    Opened {
        /// What the last failure was.
        cause: Cause,
        /// For how long at least.
        open_for: Duration,
    },
    /// It lets probes through.
    HalfOpened,
    /// It closed: calls pass.
    Closed,
    /// It turned a call away.
    Rejected {
        /// When to come back, where that is known.
        retry_after: Option<Duration>,
    },
}

impl CircuitEvent<'_> {
    #[cfg(feature = "tracing")]
    pub(crate) fn is_opening(&self) -> bool {
        matches!(self.kind, CircuitEventKind::Opened { .. })
    }
}

impl fmt::Display for CircuitEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "circuit {} ", self.circuit)?;
        match self.kind {
            CircuitEventKind::Opened { cause, open_for } => {
                write!(f, "opened for {open_for:?}: {cause}")
            }
            CircuitEventKind::HalfOpened => f.write_str("half-open: probing"),
            CircuitEventKind::Closed => f.write_str("closed"),
            CircuitEventKind::Rejected { .. } => f.write_str("turned a call away"),
        }
    }
}
