use std::fmt;
use std::time::Duration;

use super::Decision;
use crate::classify::{Class, Verdict};

/// What a retry layer decided about a failed attempt.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RetryEvent<'a> {
    /// The layer's name.
    pub name: &'a str,
    /// Which attempt failed; the first is 1.
    pub attempt: u32,
    /// What its answer meant.
    pub verdict: Verdict,
    /// What is done with its answer.
    pub decision: Decision,
}

impl fmt::Display for RetryEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, attempt, verdict, .. } = self;
        write!(f, "{name}, attempt {attempt}: {}", verdict.cause())?;
        if let (Class::CircuitOpen, Some(wait)) = (verdict.class(), verdict.hint().retry_after) {
            write!(f, " for another {wait:.1?}")?;
        }
        f.write_str("; ")?;
        match self.decision {
            Decision::Return => f.write_str("returned"),
            Decision::Retry { wait: Duration::ZERO } => f.write_str("retried at once"),
            Decision::Retry { wait } => write!(f, "retried in {wait:.1?}"),
            Decision::Stop(reason) => write!(f, "not retried: {reason}"),
        }
    }
}
