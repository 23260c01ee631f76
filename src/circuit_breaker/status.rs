use std::sync::Arc;

use super::CircuitState;
use crate::classify::Cause;
use crate::time::Instant;

/// How a circuit is, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CircuitStatus {
    /// The layer's name, and the key where circuits are kept by key.
    pub name: Arc<str>,
    /// Whether calls pass.
    pub state: CircuitState,
    /// Since when it is in this state.
    pub since: Instant,
    /// When an open circuit lets the next call through.
    pub until: Option<Instant>,
    /// What opened it last; [`Cause::Unknown`] if nothing has.
    pub cause: Cause,
    /// Calls let through that have ended, over the circuit's lifetime.
    /// Those turned away aren't counted.
    pub calls: u64,
    /// Those of [`calls`](Self::calls) that counted as successes.
    pub successes: u64,
    /// The failures counted towards opening, in a row or leaky; 0 once it is open.
    pub failure_count: u32,
    /// When a call last counted as a failure.
    pub last_failure: Option<Instant>,
}

impl CircuitStatus {
    /// The share of successes over the circuit's lifetime, from 0 to 1; 0 if
    /// there were no calls.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a ratio to look at
    pub fn success_rate(&self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.successes as f64 / self.calls as f64 }
    }
}
