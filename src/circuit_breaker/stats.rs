//! Lifetime totals, counted by each thread so that threads don't contend.

use super::CallResult;
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Instant, TimeOrigin};

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
                _ = self.others.fetch_add(1, Ordering::Relaxed)
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

    pub(super) fn is_at(&self, now: Instant) {
        self.at.fetch_max(self.start.nanos(now).saturating_add(1), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Instant> {
        let nanos = self.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.start.instant(nanos))
    }
}
