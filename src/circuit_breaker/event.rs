use std::fmt;
use std::time::Duration;

use super::OpenReason;
use crate::classify::Cause;

/// Something that a circuit did.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CircuitEvent<'a> {
    /// The circuit's name.
    pub circuit: &'a str,
    /// The number of the state in which this happened. It grows with each change of state, and
    /// starts from zero again after 8 million. Events of two threads may arrive in another order
    /// than they happened in.
    pub generation: u32,
    /// What opened the circuit last; `None` if nothing has.
    pub reason: Option<OpenReason>,
    /// What it did.
    pub kind: CircuitEventKind,
}

/// What a circuit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CircuitEventKind {
    /// It opened: calls are turned away.
    Opened {
        /// What was seen then: the last failure, or the success that filled a window.
        cause: Cause,
        /// How long it stays open at least; [`Duration::MAX`] if it is held open.
        open_for: Duration,
    },
    /// It lets probes through.
    HalfOpened,
    /// The upstream is back: a growing share of the calls passes.
    Recovering,
    /// It closed, or is held closed: calls pass.
    Closed,
    /// It turned a call away.
    Rejected {
        /// How long until a call may pass, if that is known.
        retry_after: Option<Duration>,
    },
    /// In a [dry run](super::CircuitBreakerBuilder::dry_run), it let a call pass that it would
    /// otherwise have turned away.
    WouldReject,
}

impl fmt::Display for CircuitEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "circuit {} ", self.circuit)?;
        match self.kind {
            CircuitEventKind::Opened { cause, open_for } => {
                f.write_str("opened")?;
                if open_for < Duration::MAX {
                    write!(f, " for {open_for:?}")?;
                }
                match self.reason {
                    Some(reason) => write!(f, ": {reason} ({cause})"),
                    None => write!(f, ": {cause}"),
                }
            }
            CircuitEventKind::HalfOpened => f.write_str("half-open: probing"),
            CircuitEventKind::Recovering => f.write_str("recovering: some calls pass"),
            CircuitEventKind::Closed => f.write_str("closed"),
            CircuitEventKind::Rejected { .. } => f.write_str("turned a call away"),
            CircuitEventKind::WouldReject => f.write_str("would turn a call away"),
        }
    }
}
