//! Lifetime totals that threads don't fight over.

use std::time::Duration;

use super::Count;
use crate::stripe::Striped;
use crate::sync::{AtomicU64, Ordering};
use crate::time::{self, Instant};

#[derive(Debug)]
pub(super) struct Stats {
    calls: Striped<Tally>,
    start: Instant,
    /// When the last failure was, in nanoseconds from `start`, plus one; 0: never.
    last_failure: AtomicU64,
}

#[derive(Debug, Default)]
struct Tally {
    successes: AtomicU64,
    others: AtomicU64,
}

/// Sums over the lifetime of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) calls: u64,
    pub(super) successes: u64,
}

impl Stats {
    pub(super) fn new(start: Instant) -> Self {
        Self { calls: Striped::default(), start, last_failure: AtomicU64::new(0) }
    }

    #[inline]
    pub(super) fn success(&self) {
        self.calls.mine().successes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record(&self, count: Count) {
        if count == Count::Success {
            return self.success();
        }
        self.calls.mine().others.fetch_add(1, Ordering::Relaxed);
        if count == Count::Failure {
            let elapsed = time::now().saturating_duration_since(self.start);
            let at = time::nanos(elapsed).saturating_add(1);
            self.last_failure.fetch_max(at, Ordering::Relaxed);
        }
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals { calls: 0, successes: 0 };
        for tally in self.calls.iter() {
            let successes = tally.successes.load(Ordering::Relaxed);
            totals.successes += successes;
            totals.calls += successes + tally.others.load(Ordering::Relaxed);
        }
        totals
    }

    pub(super) fn last_failure(&self) -> Option<Instant> {
        let nanos = self.last_failure.load(Ordering::Relaxed).checked_sub(1)?;
        Some(time::after(self.start, Duration::from_nanos(nanos)))
    }
}
