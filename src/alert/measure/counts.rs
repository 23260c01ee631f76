//! Counts of calls, without a lock and without a cache line that all cores write to.

use std::time::Duration;

use crate::alert::rule::Measure;
use crate::sharded::Sharded;
use crate::sliding_window::CallCounts;
use crate::sync::{AtomicU64, Ordering};

/// How many measures there can be. With the successes they fill the cache lines of a stripe.
pub(in crate::alert) const MOST: usize = 7;

/// Sums over the lifetime of the alerts.
#[derive(Debug, Default)]
pub(super) struct Counts(Sharded<ShardCounters>);

#[derive(Debug, Default)]
struct ShardCounters {
    successes: AtomicU64,
    /// For each measure, the calls that were bad though they succeeded, and those that failed.
    succeeded: [AtomicU64; MOST],
    failed: [AtomicU64; MOST],
}

impl Counts {
    /// Counts a success. Returns `true` for the first of a stripe and then for every 64th: the caller does
    /// then what needn't be done for each.
    #[inline]
    pub(super) fn success(&self) -> bool {
        self.0.local().successes.fetch_add(1, Ordering::Relaxed).is_multiple_of(64)
    }

    /// The same, for a call that took this long.
    pub(super) fn timed_success(&self, measures: &[Measure], took: Duration) -> bool {
        for (measure, bad) in measures.iter().zip(&self.0.local().succeeded) {
            if matches!(measure, Measure::Slower(limit) if took > *limit) {
                bad.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.success()
    }

    /// Counts a call that failed after it `took` this long.
    pub(super) fn failure(&self, measures: &[Measure], took: Duration) {
        self.bad(measures, |measure| match measure {
            Measure::Failures => true,
            Measure::Slower(limit) => took > limit,
            Measure::Retries => false,
        });
    }

    /// Counts a retry.
    pub(super) fn retry(&self, measures: &[Measure]) {
        self.bad(measures, |measure| measure == Measure::Retries);
    }

    fn bad(&self, measures: &[Measure], is_bad: impl Fn(Measure) -> bool) {
        for (measure, bad) in measures.iter().zip(&self.0.local().failed) {
            if is_bad(*measure) {
                bad.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns what was counted for this measure since the alerts were built.
    pub(super) fn total(&self, measure: usize) -> CallCounts {
        let mut total = CallCounts::default();
        for stripe in self.0.iter() {
            let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let failed = load(&stripe.failed[measure]);
            total.add(CallCounts {
                calls: load(&stripe.successes) + failed,
                bad: load(&stripe.succeeded[measure]) + failed,
            });
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_for_which_measure() {
        let limit = Duration::from_millis(50);
        let measures = [Measure::Failures, Measure::Slower(limit), Measure::Retries];
        let counts = Counts::default();
        let (fast, slow) = (limit, limit + Duration::from_nanos(1));
        for _ in 0..10 {
            counts.timed_success(&measures, fast);
        }
        counts.timed_success(&measures, slow);
        counts.failure(&measures, fast);
        counts.failure(&measures, slow);
        counts.failure(&measures, slow);
        counts.retry(&measures);
        assert_eq!(counts.total(0), CallCounts { calls: 14, bad: 3 });
        // What failed soon says nothing of how fast answers come.
        assert_eq!(counts.total(1), CallCounts { calls: 13, bad: 3 });
        assert_eq!(counts.total(2).bad, 1);
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let (counts, measures) = (Counts::default(), [Measure::Failures]);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..10_000 {
                        match n % 10 {
                            0 => counts.failure(&measures, Duration::ZERO),
                            _ => _ = counts.success(),
                        }
                    }
                });
            }
        });
        assert_eq!(counts.total(0), CallCounts { calls: 80_000, bad: 8_000 });
    }
}
