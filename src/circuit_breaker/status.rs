use std::sync::Arc;

use super::CallResult;
use crate::error::{CircuitState, OpenReason};
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Instant, TimeOrigin};
use crate::verdict::Cause;

/// The status of a circuit at one moment.
///
/// With the feature `serde` it can be serialised: names in kebab-case, times as whole
/// milliseconds before [`at`](Self::at) or, for `retry-after-ms`, after it, and what is
/// unknown as null.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CircuitStatus {
    /// The layer's name, and the key where circuits are kept by key.
    pub name: Arc<str>,
    /// When the status was taken.
    pub at: Instant,
    /// Whether calls pass.
    pub state: CircuitState,
    /// The number of the state, as in [`CircuitChanged::generation`](crate::event::CircuitChanged::generation).
    pub generation: u32,
    /// When it entered this state.
    pub since: Instant,
    /// When an open circuit lets the next call through, or a ramp-up ends.
    pub until: Option<Instant>,
    /// What opened it last; `None` if nothing has.
    pub reason: Option<OpenReason>,
    /// What was seen then; [`Cause::Unknown`] if nothing was.
    pub cause: Cause,
    /// Calls let through that have ended, over the circuit's lifetime.
    /// Excludes calls that were rejected, or that a
    /// [dry run](super::CircuitBreakerBuilder::dry_run) would reject.
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

    /// Returns the rank by which the worst of several circuits is chosen.
    pub(super) fn rank(&self) -> (u8, Option<Instant>, u64) {
        (self.state.severity(), self.last_failure, self.calls)
    }
}

/// The results of one thread's calls, counted.
#[derive(Debug, Default)]
pub(super) struct CallCounters {
    successes: AtomicU64,
    others: AtomicU64,
}

impl CallCounters {
    #[inline]
    pub(super) fn success(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record(&self, count: CallResult) {
        match count {
            CallResult::Success => self.success(),
            CallResult::Failure | CallResult::Neutral => {
                _ = self.others.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Sums over the lifetime of a circuit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CallTotals {
    pub(super) calls: u64,
    pub(super) successes: u64,
}

impl CallTotals {
    pub(super) fn of<'a>(tallies: impl Iterator<Item = &'a CallCounters>) -> Self {
        tallies.fold(Self::default(), |sum, counters| {
            let successes = counters.successes.load(Ordering::Relaxed);
            let others = counters.others.load(Ordering::Relaxed);
            Self { calls: sum.calls + successes + others, successes: sum.successes + successes }
        })
    }
}

/// When a circuit's last failure was.
#[derive(Debug)]
pub(super) struct LastFailure {
    start: TimeOrigin,
    /// In nanoseconds from `start`, plus one; 0: never.
    at: AtomicU64,
}

impl LastFailure {
    pub(super) fn new(start: Instant) -> Self {
        Self { start: TimeOrigin::new(start), at: AtomicU64::new(0) }
    }

    pub(super) fn record(&self, now: Instant) {
        self.at.fetch_max(self.start.nanos(now).saturating_add(1), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Instant> {
        let nanos = self.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.start.instant(nanos))
    }
}
