//! A sliding window of time, of constant memory and cost.

use std::time::Duration;

use crate::time::nanos;

/// Calls that counted, and those of them that were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallCounts {
    pub(crate) calls: u64,
    pub(crate) bad: u64,
}

impl CallCounts {
    pub(crate) fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.bad = self.bad.saturating_add(other.bad);
    }

    pub(crate) fn less(self, other: Self) -> Self {
        let calls = self.calls.saturating_sub(other.calls);
        Self { calls, bad: self.bad.saturating_sub(other.bad) }
    }
}

/// The counts of the last `BUCKETS` buckets, the present one included.
///
/// What a bucket holds is exact; the window's far end moves by a bucket at a time, so the window
/// covers up to a bucket less than the time that was asked for.
#[derive(Debug)]
pub(crate) struct SlidingWindow<const BUCKETS: usize> {
    /// Of a bucket, in nanoseconds.
    width: u64,
    buckets: Box<[CallCounts; BUCKETS]>,
    /// The number of the present bucket, since the beginning.
    present: u64,
    sum: CallCounts,
}

impl<const BUCKETS: usize> SlidingWindow<BUCKETS> {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            width: nanos(Self::bucket(length)).max(1),
            buckets: Box::new([CallCounts::default(); BUCKETS]),
            present: 0,
            sum: CallCounts::default(),
        }
    }

    /// How long a bucket of a window of this length lasts.
    #[allow(clippy::cast_possible_truncation)] // some tens
    pub(crate) fn bucket(length: Duration) -> Duration {
        length / BUCKETS as u32
    }

    /// Adds what was counted when `elapsed` had passed since the beginning, and drops what is
    /// too old by then. What comes later with an earlier time counts in the present bucket.
    pub(crate) fn add(&mut self, elapsed: Duration, counted: CallCounts) {
        let present = (nanos(elapsed) / self.width).max(self.present);
        let passed = (present - self.present).min(BUCKETS as u64);
        for number in 0..passed {
            let left = std::mem::take(&mut self.buckets[Self::place(present - number)]);
            self.sum = self.sum.less(left);
        }
        self.present = present;
        self.buckets[Self::place(present)].add(counted);
        self.sum.add(counted);
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.buckets.fill(CallCounts::default());
        (self.present, self.sum) = (0, CallCounts::default());
    }

    pub(crate) fn sum(&self) -> CallCounts {
        self.sum
    }

    #[allow(clippy::cast_possible_truncation)] // less than BUCKETS
    fn place(number: u64) -> usize {
        (number % BUCKETS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(calls: u64, bad: u64) -> CallCounts {
        CallCounts { calls, bad }
    }

    /// An hour has buckets of a minute.
    #[test]
    fn a_window_by_hand() {
        let mut window = SlidingWindow::<60>::new(Duration::from_secs(3600));
        for (second, counted, sum) in [
            (0, counts(10, 1), counts(10, 1)),
            (59, counts(10, 2), counts(20, 3)),
            // The second minute.
            (60, counts(5, 5), counts(25, 8)),
            (1800, counts(100, 0), counts(125, 8)),
            // The sixtieth minute is the last that still sees the first.
            (3599, counts(0, 0), counts(125, 8)),
            (3600, counts(0, 0), counts(105, 5)),
            (3660, counts(1, 1), counts(101, 1)),
            // Later than now can't be; what comes late counts now.
            (100, counts(1, 0), counts(102, 1)),
            (5399, counts(0, 0), counts(102, 1)),
            (5400, counts(0, 0), counts(2, 1)),
            (3_000_000, counts(7, 3), counts(7, 3)),
        ] {
            window.add(Duration::from_secs(second), counted);
            assert_eq!(window.sum(), sum, "after {second} s");
        }
    }

    proptest! {
        #[test]
        fn it_holds_the_last_buckets(
            gaps in prop::collection::vec((0u64..3_000, any::<bool>()), 0..300)
        ) {
            let mut window = SlidingWindow::<64>::new(Duration::from_millis(6_400));
            let (mut all, mut at) = (Vec::new(), 0);
            for (gap, bad) in gaps {
                at += gap;
                all.push((at / 100, bad));
                window.add(Duration::from_millis(at), counts(1, bad.into()));
                let held = || all.iter().filter(|(number, _)| number + 64 > at / 100);
                let bad = held().filter(|(_, bad)| *bad).count();
                prop_assert_eq!(window.sum(), counts(held().count() as u64, bad as u64));
            }
        }
    }

    #[test]
    fn extremes() {
        for length in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let mut window = SlidingWindow::<60>::new(length);
            window.add(Duration::MAX, counts(u64::MAX, u64::MAX));
            window.add(Duration::MAX, counts(1, 1));
            assert_eq!(window.sum(), counts(u64::MAX, u64::MAX));
        }
    }
}
