//! Counts in a sliding window.

use std::time::Duration;

use crate::time::nanos;

/// Calls that counted, and those of them that were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::alert) struct Tally {
    pub(in crate::alert) calls: u64,
    pub(in crate::alert) bad: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.bad = self.bad.saturating_add(other.bad);
    }

    pub(super) fn less(self, other: Self) -> Self {
        let calls = self.calls.saturating_sub(other.calls);
        Self { calls, bad: self.bad.saturating_sub(other.bad) }
    }
}

/// How many buckets a window has.
const BUCKETS: usize = 60;

/// The sums of the last sixty buckets, the present one included. What a bucket holds is exact;
/// the window's far end moves by a sixtieth of it.
#[derive(Debug)]
pub(super) struct Window {
    /// In nanoseconds.
    width: u64,
    buckets: Box<[Tally; BUCKETS]>,
    /// The number of the present bucket, since the beginning.
    present: u64,
    sum: Tally,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let width = nanos(Self::bucket(length)).max(1);
        Self {
            width,
            buckets: Box::new([Tally::default(); BUCKETS]),
            present: 0,
            sum: Tally::default(),
        }
    }

    /// How long a bucket of a window lasts.
    pub(super) fn bucket(length: Duration) -> Duration {
        length / 60
    }

    /// Adds what was counted so long after the beginning; 0 moves it on.
    pub(super) fn add(&mut self, elapsed: Duration, counted: Tally) {
        let present = (nanos(elapsed) / self.width).max(self.present);
        let passed = usize::try_from(present - self.present).unwrap_or(BUCKETS).min(BUCKETS);
        for number in 0..passed as u64 {
            let bucket = &mut self.buckets[Self::place(present - number)];
            self.sum = self.sum.less(std::mem::take(bucket));
        }
        self.present = present;
        self.buckets[Self::place(present)].add(counted);
        self.sum.add(counted);
    }

    pub(super) fn sum(&self) -> Tally {
        self.sum
    }

    #[allow(clippy::cast_possible_truncation)] // below 60
    fn place(number: u64) -> usize {
        (number % BUCKETS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(calls: u64, bad: u64) -> Tally {
        Tally { calls, bad }
    }

    /// An hour has buckets of a minute.
    #[test]
    fn a_window_by_hand() {
        let mut window = Window::new(Duration::from_secs(3600));
        for (second, counted, sum) in [
            (0, tally(10, 1), tally(10, 1)),
            (59, tally(10, 2), tally(20, 3)),
            // The second minute.
            (60, tally(5, 5), tally(25, 8)),
            (1800, tally(100, 0), tally(125, 8)),
            // The sixtieth minute is the last that still sees the first.
            (3599, tally(0, 0), tally(125, 8)),
            (3600, tally(0, 0), tally(105, 5)),
            (3660, tally(1, 1), tally(101, 1)),
            // Later than now can't be; what comes late counts now.
            (100, tally(1, 0), tally(102, 1)),
            (5399, tally(0, 0), tally(102, 1)),
            (5400, tally(0, 0), tally(2, 1)),
            (3_000_000, tally(7, 3), tally(7, 3)),
        ] {
            window.add(Duration::from_secs(second), counted);
            assert_eq!(window.sum(), sum, "after {second} s");
        }
    }

    #[test]
    fn the_sum_is_that_of_the_last_sixty_buckets() {
        let mut window = Window::new(Duration::from_secs(60));
        let counted: Vec<_> = (0..1000_u64).map(|n| tally(n % 7 + 1, n % 3)).collect();
        for (second, now) in counted.iter().enumerate() {
            window.add(Duration::from_secs(second as u64), *now);
            let mut sum = Tally::default();
            counted[(second + 1).saturating_sub(60)..=second].iter().for_each(|n| sum.add(*n));
            assert_eq!(window.sum(), sum);
        }
    }

    #[test]
    fn extremes() {
        for length in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let mut window = Window::new(length);
            window.add(Duration::MAX, tally(u64::MAX, u64::MAX));
            window.add(Duration::MAX, tally(1, 1));
            assert_eq!(window.sum(), tally(u64::MAX, u64::MAX));
        }
    }
}
