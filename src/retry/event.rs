use std::fmt;

use super::Decision;
use crate::classify::Verdict;

/// What a retry layer decided about a failed attempt.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RetryEvent {
    /// Which attempt had failed; the first is 1.
    pub attempt: u32,
    /// What its answer meant.
    pub verdict: Verdict,
    /// What becomes of it.
    pub decision: Decision,
}

impl RetryEvent {
    #[cfg(feature = "tracing")]
    pub(crate) fn is_final(&self) -> bool {
        matches!(self.decision, Decision::Stop(_))
    }
}

impl fmt::Display for RetryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (attempt, cause) = (self.attempt, self.verdict.cause());
        write!(f, "attempt {attempt}: {cause}; ")?;
        match self.decision {
            Decision::Return => f.write_str("returned"),
            Decision::Retry { wait } => write!(f, "retried in {wait:.1?}"),
            Decision::Stop(reason) => write!(f, "not retried: {reason}"),
        }
    }
}
