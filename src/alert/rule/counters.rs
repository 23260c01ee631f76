//! Counters of calls, without a lock and without a cache line that all cores write to.

use std::time::Duration;

use super::definition::Measure;
use crate::sharded::Sharded;
use crate::sliding_window::CallCounts;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use crate::time::{self, Instant};

/// Sums since the alerts were built.
#[derive(Debug, Default)]
pub(super) struct ResultCounters(Sharded<Shard>);

#[derive(Debug, Default)]
struct Shard {
    successes: AtomicU64,
    /// For each measure, the successful calls that were bad, and the failed calls.
    bad_successes: [AtomicU64; ResultCounters::MAX_MEASURES],
    failures: [AtomicU64; ResultCounters::MAX_MEASURES],
}

impl ResultCounters {
    /// The maximum number of measures. With the successes they fill the cache lines of a shard.
    pub(super) const MAX_MEASURES: usize = 7;

    /// Counts a success. Returns `true` for the first of a shard and then for every 64th, so that the
    /// caller can check whether the scheduler runs.
    #[inline]
    pub(super) fn success(&self) -> bool {
        self.0.local().successes.fetch_add(1, Ordering::Relaxed).is_multiple_of(64)
    }

    /// Counts a success of this duration, see [`success`](Self::success).
    pub(super) fn timed_success(&self, measures: &[Measure], duration: Duration) -> bool {
        for (measure, bad) in measures.iter().zip(&self.0.local().bad_successes) {
            if matches!(measure, Measure::Slower(limit) if duration > *limit) {
                bad.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.success()
    }

    /// Counts a call that failed after this duration.
    pub(super) fn failure(&self, measures: &[Measure], duration: Duration) {
        self.bad(measures, |measure| match measure {
            Measure::Failures => true,
            Measure::Slower(limit) => duration > limit,
            Measure::Retries => false,
        });
    }

    /// Counts a retry.
    pub(super) fn retry(&self, measures: &[Measure]) {
        self.bad(measures, |measure| measure == Measure::Retries);
    }

    fn bad(&self, measures: &[Measure], is_bad: impl Fn(Measure) -> bool) {
        for (measure, bad) in measures.iter().zip(&self.0.local().failures) {
            if is_bad(*measure) {
                bad.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns the counts of this measure.
    pub(super) fn total(&self, measure: usize) -> CallCounts {
        let mut total = CallCounts::default();
        for shard in self.0.iter() {
            let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let failed = load(&shard.failures[measure]);
            total.add(CallCounts {
                calls: load(&shard.successes) + failed,
                bad: load(&shard.bad_successes[measure]) + failed,
            });
        }
        total
    }
}

/// The number of slots for the cohorts within the limit, and for older ones that still have a hanging
/// call. If those occupy every slot, the newest cohort continues, and its calls don't count as hanging.
const SLOTS: usize = 16;

/// Counts the calls that have been in flight for too long, without a clock reading or a lock per call.
///
/// Calls that begin within a quarter of the limit are a cohort, which has a slot. Another cohort may use
/// the slot once it is empty. A call keeps its slot number and is removed from the slot when it ends,
/// possibly on another thread: only the sum over all shards counts.
#[derive(Debug)]
pub(super) struct InFlightCounter {
    /// By slot. A shard may wrap below zero.
    calls: Sharded<[AtomicU64; SLOTS]>,
    current: AtomicUsize,
    pub(super) limit: Duration,
}

/// When cohorts began and ended. Only [`InFlightCounter::hanging`] uses it.
#[derive(Debug)]
pub(super) struct Cohorts {
    current_since: Instant,
    ended_at: [Option<Instant>; SLOTS],
}

impl Cohorts {
    pub(super) fn new(now: Instant) -> Self {
        Self { current_since: now, ended_at: [None; SLOTS] }
    }
}

impl InFlightCounter {
    pub(super) fn new(limit: Duration) -> Self {
        Self { calls: Sharded::default(), current: AtomicUsize::new(0), limit }
    }

    /// Returns the length of a cohort.
    pub(super) fn step(&self) -> Duration {
        self.limit / 4
    }

    /// Counts a call that begins. Returns its slot, with which it must [end](Self::end).
    pub(super) fn begin(&self) -> usize {
        let slot = self.current.load(Ordering::Relaxed);
        self.calls.local()[slot].fetch_add(1, Ordering::Relaxed);
        slot
    }

    pub(super) fn end(&self, slot: usize) {
        self.calls.local()[slot].fetch_sub(1, Ordering::Relaxed);
    }

    fn count(&self, slot: usize) -> u64 {
        let calls = self.calls.iter().map(|calls| calls[slot].load(Ordering::Relaxed));
        let count = calls.fold(0_u64, u64::wrapping_add);
        // While the shards are read, a call may begin on one already read and end on a later one.
        if count > u64::MAX / 2 { 0 } else { count }
    }

    /// Begins a new cohort if it is time to. Returns the number of calls that have been in flight for
    /// longer than the limit.
    pub(super) fn hanging(&self, cohorts: &mut Cohorts, now: Instant) -> u64 {
        let mut current = self.current.load(Ordering::Relaxed);
        if now >= time::after(cohorts.current_since, self.step())
            && let Some(free) = (0..SLOTS).find(|slot| *slot != current && self.count(*slot) == 0)
        {
            cohorts.ended_at[current] = Some(now);
            cohorts.ended_at[free] = None;
            cohorts.current_since = now;
            self.current.store(free, Ordering::Relaxed);
            current = free;
        }
        let overdue = |slot: &usize| {
            let ended_at = cohorts.ended_at[*slot].filter(|_| *slot != current);
            ended_at.is_some_and(|at| now >= time::after(at, self.limit))
        };
        (0..SLOTS).filter(overdue).map(|slot| self.count(slot)).sum()
    }
}

#[cfg(test)]
mod tests;
