//! A sliding window of calls, of constant memory and cost.

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

    /// Takes a result in, and returns the window's failures and calls.
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

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
    }
}
