use super::{FailureRate, Rates};
use crate::circuit_breaker::CallResult;
use crate::error::OpenReason;
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::time::Instant;

/// The windows of one circuit, as threads share them.
///
/// One more success doesn't change a window of calls that is full of successes. So while an
/// upstream is well, nothing is written and no lock is taken. A window of time has no such rest:
/// the number of calls that it holds changes with each.
#[derive(Debug)]
pub(in crate::circuit_breaker) struct Windows {
    rates: Mutex<Rates>,
    /// Whether a success changes nothing. Written under the lock, after the windows. A thread that
    /// still reads `true` while a failure is taken in counts as having come before that failure.
    settled: AtomicBool,
}

impl Windows {
    /// Returns `None` if no policy needs a window.
    pub(in crate::circuit_breaker) fn new(
        failures: Option<FailureRate>,
        slow: Option<FailureRate>,
        now: Instant,
    ) -> Option<Self> {
        let rates = Mutex::new(Rates::new(failures, slow, now)?);
        Some(Self { rates, settled: AtomicBool::new(false) })
    }

    /// Takes a fast success in, unless it may fill a window and so reach a rate. Returns whether it
    /// did.
    #[inline]
    pub(in crate::circuit_breaker) fn success(
        &self,
        generation: u32,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        self.are_settled() || self.take_success(generation, now)
    }

    fn take_success(&self, generation: u32, now: impl FnOnce() -> Instant) -> bool {
        let mut rates = self.rates.lock();
        let takes = !rates.may_fill();
        if takes {
            self.take(&mut rates, CallResult::Success, false, generation, now);
        }
        takes
    }

    /// Takes one result in, and returns the reason to open if a rate is reached. `now` is called
    /// once at most.
    pub(in crate::circuit_breaker) fn record(
        &self,
        count: CallResult,
        slow: bool,
        generation: u32,
        now: impl FnOnce() -> Instant,
    ) -> Option<OpenReason> {
        let is_good = count == CallResult::Success && !slow;
        if is_good && self.are_settled() {
            return None;
        }
        self.take(&mut self.rates.lock(), count, slow, generation, now)
    }

    fn take(
        &self,
        rates: &mut Rates,
        count: CallResult,
        slow: bool,
        generation: u32,
        now: impl FnOnce() -> Instant,
    ) -> Option<OpenReason> {
        let reached = rates.record(count, slow, generation, now);
        self.settled.store(rates.are_settled(), Ordering::Release);
        reached
    }

    /// Whether a success changes nothing.
    pub(in crate::circuit_breaker) fn are_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// Keeps everything: the circuit goes on as `generation`.
    pub(in crate::circuit_breaker) fn go_on(&self, generation: u32) {
        self.rates.lock().go_on(generation);
    }

    /// Forgets everything: the circuit has moved on to `generation`.
    pub(in crate::circuit_breaker) fn clear(&self, generation: u32, now: Instant) {
        let mut rates = self.rates.lock();
        rates.clear(generation, now);
        self.settled.store(false, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Leaving out a success that changes nothing doesn't change which result reaches the rate.
        #[test]
        fn a_success_that_is_passed_over_changes_nothing(
            size in 1u32..6,
            results in prop::collection::vec(prop::bool::weighted(0.25), 0..60),
        ) {
            let now = crate::time::now();
            let rate = Some(FailureRate::over_calls(size).at(0.5));
            let mut all = Rates::new(rate, None, now).unwrap();
            let some = Windows::new(rate, None, now).unwrap();
            for failed in results {
                let count = if failed { CallResult::Failure } else { CallResult::Success };
                let reached = all.record(count, false, 0, || now);
                prop_assert_eq!(some.record(count, false, 0, || now), reached);
                if !failed {
                    let taken = some.success(0, || now);
                    let rest = if taken { None } else { some.record(count, false, 0, || now) };
                    prop_assert_eq!(rest, all.record(count, false, 0, || now));
                }
            }
        }
    }

    #[test]
    fn nothing_is_passed_over_before_a_window_is_full_and_after_a_failure() {
        let now = crate::time::now();
        let windows = Windows::new(Some(FailureRate::over_calls(3)), None, now).unwrap();
        let settles = |count| {
            windows.record(count, false, 0, || now);
            windows.settled.load(Ordering::Acquire)
        };
        let results =
            [CallResult::Success, CallResult::Success, CallResult::Success, CallResult::Failure];
        assert_eq!(results.map(settles), [false, false, true, false]);
        let results = [CallResult::Success, CallResult::Success, CallResult::Success];
        assert_eq!(results.map(settles), [false, false, true]);
        windows.clear(1, now);
        assert!(!windows.settled.load(Ordering::Acquire));
    }
}
