//! Counts of calls, without a lock and without a cache line that all cores write to.

use std::time::Duration;

use crate::alert::rule::Measure;
use crate::sharded::Sharded;
use crate::sliding_window::CallCounts;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use crate::time::{self, Instant};

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

/// Slots for the generations within the limit, and for older ones that still have a hanging call. If
/// those take every slot, the newest generation goes on, and its calls don't count as hanging.
const SLOTS: usize = 16;
/// How many generations begin within one limit.
const GENERATIONS: u32 = 4;

#[derive(Debug)]
pub(super) struct Flight {
    /// By slot. A stripe may wrap below zero, as a call may end on another thread than it began on.
    calls: Sharded<[AtomicU64; SLOTS]>,
    present: AtomicUsize,
    limit: Duration,
}

/// When generations began and ended. Only a look reads and changes it.
#[derive(Debug)]
pub(super) struct Generations {
    present_since: Instant,
    ended_at: [Option<Instant>; SLOTS],
}

impl Generations {
    pub(super) fn new(now: Instant) -> Self {
        Self { present_since: now, ended_at: [None; SLOTS] }
    }
}

impl Flight {
    pub(super) fn new(limit: Duration) -> Self {
        Self { calls: Sharded::default(), present: AtomicUsize::new(0), limit }
    }

    /// Returns how long a generation is.
    pub(super) fn step(&self) -> Duration {
        self.limit / GENERATIONS
    }

    /// Counts a call that begins. Returns its slot, with which it must [end](Self::end).
    #[inline]
    pub(super) fn begin(&self) -> usize {
        let slot = self.present.load(Ordering::Relaxed);
        self.calls.local()[slot].fetch_add(1, Ordering::Relaxed);
        slot
    }

    #[inline]
    pub(super) fn end(&self, slot: usize) {
        self.calls.local()[slot].fetch_sub(1, Ordering::Relaxed);
    }

    fn count(&self, slot: usize) -> u64 {
        let calls = self.calls.iter().map(|calls| calls[slot].load(Ordering::Relaxed));
        let count = calls.fold(0_u64, u64::wrapping_add);
        // While this reads the stripes, a call may begin on one already read and end on a later one.
        if count > u64::MAX / 2 { 0 } else { count }
    }

    /// Begins a new generation if it is time to. Returns how many calls have been in flight for longer
    /// than the limit.
    pub(super) fn look(&self, generations: &mut Generations, now: Instant) -> u64 {
        let present = self.present.load(Ordering::Relaxed);
        if now >= time::after(generations.present_since, self.step())
            && let Some(free) = (0..SLOTS).find(|slot| *slot != present && self.count(*slot) == 0)
        {
            generations.ended_at[present] = Some(now);
            generations.ended_at[free] = None;
            generations.present_since = now;
            self.present.store(free, Ordering::Relaxed);
        }
        let present = self.present.load(Ordering::Relaxed);
        let overdue = |slot: &usize| {
            *slot != present
                && generations.ended_at[*slot].is_some_and(|at| now >= time::after(at, self.limit))
        };
        (0..SLOTS).filter(overdue).map(|slot| self.count(slot)).sum()
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

#[cfg(test)]
mod flight_tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn a_call_hangs_once_the_limit_has_passed_and_until_it_ends() {
        let flight = Flight::new(LIMIT);
        let start = time::now();
        let mut generations = Generations::new(start);
        let hanging = flight.begin();
        let mut seen_at = None;
        for second in 0..10_000 {
            let brief = flight.begin();
            let hang = flight.look(&mut generations, start + Duration::from_secs(second));
            if hang > 0 {
                assert_eq!(hang, 1, "after {second} s");
                seen_at.get_or_insert(second);
            }
            flight.end(brief);
        }
        let seen_at = seen_at.unwrap();
        assert!((60..=60 + 60 / 4).contains(&seen_at), "{seen_at}");
        flight.end(hanging);
        assert_eq!(flight.look(&mut generations, start + Duration::from_secs(10_000)), 0);
    }

    #[test]
    fn calls_within_the_limit_do_not_hang() {
        let flight = Flight::new(LIMIT);
        let start = time::now();
        let mut generations = Generations::new(start);
        let mut calls = std::collections::VecDeque::new();
        for second in 0..10_000 {
            calls.push_back(flight.begin());
            if calls.len() > 59 {
                flight.end(calls.pop_front().unwrap());
            }
            let now = start + Duration::from_secs(second);
            assert_eq!(flight.look(&mut generations, now), 0, "after {second} s");
        }
    }

    #[test]
    fn with_calls_hanging_from_every_generation_new_ones_do_not_count() {
        let flight = Flight::new(LIMIT);
        let start = time::now();
        let mut generations = Generations::new(start);
        let mut hanging = Vec::new();
        let at = |second| start + Duration::from_secs(second);
        for second in 0..1000 {
            hanging.push(flight.begin());
            flight.look(&mut generations, at(second));
        }
        let count = flight.look(&mut generations, at(1000));
        // Fifteen generations of fifteen seconds.
        assert!((200..=240).contains(&count), "{count}");
        hanging.drain(..).for_each(|slot| flight.end(slot));
        assert_eq!(flight.look(&mut generations, at(1015)), 0);
        let _one = flight.begin();
        flight.look(&mut generations, at(1030));
        assert_eq!(flight.look(&mut generations, at(1091)), 1, "it finds room again");
    }

    #[test]
    fn calls_end_on_other_threads() {
        let flight = Flight::new(LIMIT);
        let slots: Vec<_> = (0..100).map(|_| flight.begin()).collect();
        std::thread::scope(|scope| {
            let flight = &flight;
            for slot in slots {
                scope.spawn(move || flight.end(slot));
            }
        });
        assert_eq!(flight.count(0), 0);
    }
}
