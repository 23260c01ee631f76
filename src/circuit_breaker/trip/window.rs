//! Sliding windows of constant memory and cost: a bit a call, or buckets of time.

use std::time::Duration;

use crate::time::Instant;

/// The last N calls, a bit each.
#[derive(Debug)]
pub(super) struct CallWindow {
    bits: Box<[u64]>,
    size: usize,
    /// Where the next result goes: over the oldest one, once full.
    next: usize,
    calls: usize,
    failures: usize,
}

impl CallWindow {
    pub(super) fn new(size: u32) -> Self {
        let size = size.max(1) as usize;
        let bits = vec![0; size.div_ceil(64)].into_boxed_slice();
        Self { bits, size, next: 0, calls: 0, failures: 0 }
    }

    /// Takes a result in, and tells the window's failures and calls.
    #[inline]
    pub(super) fn record(&mut self, failed: bool) -> (u64, u64) {
        let (word, bit) = (self.next / 64, 1 << (self.next % 64));
        let leaves = self.bits[word] & bit != 0;
        self.failures = self.failures - usize::from(leaves) + usize::from(failed);
        if failed {
            self.bits[word] |= bit;
        } else {
            self.bits[word] &= !bit;
        }
        self.next = if self.next + 1 == self.size { 0 } else { self.next + 1 };
        self.calls = (self.calls + 1).min(self.size);
        (self.failures as u64, self.calls as u64)
    }

    pub(super) fn is_full_of_successes(&self) -> bool {
        self.calls == self.size && self.failures == 0
    }

    pub(super) fn clear(&mut self) {
        self.bits.fill(0);
        (self.next, self.calls, self.failures) = (0, 0, 0);
    }
}

/// The last while, in buckets.
///
/// The window slides by a bucket at a time, so it covers between 63 and 64
/// 64ths of the time asked for.
#[derive(Debug)]
pub(super) struct TimeWindow {
    buckets: Box<[Bucket; TimeWindow::BUCKETS]>,
    bucket: Duration,
    start: Instant,
    /// The number, counted from `start`, of the bucket that is being filled.
    current: u128,
    total: Bucket,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    failures: u64,
    calls: u64,
}

impl TimeWindow {
    const BUCKETS: usize = 64;
    pub(super) const SHORTEST: Duration = Duration::from_millis(Self::BUCKETS as u64);

    pub(super) fn new(window: Duration, now: Instant) -> Self {
        let bucket = window.max(Self::SHORTEST) / 64;
        let buckets = Box::new([Bucket::default(); Self::BUCKETS]);
        Self { buckets, bucket, start: now, current: 0, total: Bucket::default() }
    }

    /// Takes a result in, and tells the window's failures and calls.
    pub(super) fn record(&mut self, failed: bool, now: Instant) -> (u64, u64) {
        self.slide(now);
        let index = Self::index(self.current);
        for bucket in [&mut self.buckets[index], &mut self.total] {
            bucket.calls += 1;
            bucket.failures += u64::from(failed);
        }
        (self.total.failures, self.total.calls)
    }

    pub(super) fn clear(&mut self, now: Instant) {
        self.buckets.fill(Bucket::default());
        self.total = Bucket::default();
        (self.start, self.current) = (now, 0);
    }

    /// Empties the buckets that have left the window: at most all of them.
    fn slide(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        let current = elapsed / self.bucket.as_nanos();
        // A reading from before another thread's falls into that one's bucket.
        let passed = current.saturating_sub(self.current).min(Self::BUCKETS as u128);
        for step in 1..=passed {
            let index = Self::index(self.current + step);
            let left = std::mem::take(&mut self.buckets[index]);
            self.total.failures -= left.failures;
            self.total.calls -= left.calls;
        }
        self.current = self.current.max(current);
    }

    #[allow(clippy::cast_possible_truncation)] // less than BUCKETS
    fn index(number: u128) -> usize {
        (number % Self::BUCKETS as u128) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::time;

    #[test]
    fn a_window_of_calls_slides() {
        // 1,000 successes, and the window of 10 is full of failures 10 calls later.
        let mut window = CallWindow::new(10);
        for _ in 0..1_000 {
            window.record(false);
        }
        for failures in 1..=10 {
            assert_eq!(window.record(true), (failures, 10));
        }
        assert_eq!(window.record(false), (9, 10));
    }

    proptest! {
        #[test]
        fn a_window_of_calls_is_the_last_n(size in 1u32..200, results: Vec<bool>) {
            let mut window = CallWindow::new(size);
            let mut last = VecDeque::new();
            for failed in results {
                last.push_back(failed);
                if last.len() > size as usize { last.pop_front(); }
                let failures = last.iter().filter(|failed| **failed).count() as u64;
                prop_assert_eq!(window.record(failed), (failures, last.len() as u64));
            }
        }

        #[test]
        fn a_window_of_time_is_the_last_while(gaps in prop::collection::vec((0u64..3_000, any::<bool>()), 0..300)) {
            let start = time::now();
            let bucket = Duration::from_millis(100);
            let mut window = TimeWindow::new(bucket * 64, start);
            let mut all: Vec<(u64, bool)> = Vec::new();
            let mut at = 0;
            for (gap, failed) in gaps {
                at += gap;
                all.push((at / 100, failed));
                let inside = |number: u64| number + 64 > at / 100;
                let calls = all.iter().filter(|(number, _)| inside(*number)).count() as u64;
                let failures = all.iter().filter(|(number, failed)| inside(*number) && *failed).count() as u64;
                let seen = window.record(failed, start + Duration::from_millis(at));
                prop_assert_eq!(seen, (failures, calls));
            }
        }
    }
}
