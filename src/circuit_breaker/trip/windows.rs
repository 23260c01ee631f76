use super::Rates;
use crate::circuit_breaker::Count;
use crate::circuit_breaker::reason::OpenReason;
use crate::circuit_breaker::rules::Rules;
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::time::Instant;

/// The windows of one circuit, as threads share them.
///
/// A window of the last calls that is full of successes stays what it is with one more: while an
/// upstream is well, nothing is written and no lock is taken. A window of time isn't so: how many
/// calls it holds changes with each.
#[derive(Debug)]
pub(in crate::circuit_breaker) struct Windows {
    rates: Mutex<Rates>,
    /// Whether a success changes nothing. Written with the lock held, after the windows: who still
    /// reads that it doesn't came before the failure that is being taken in.
    settled: AtomicBool,
}

impl Windows {
    /// None where no policy needs one.
    pub(in crate::circuit_breaker) fn new(rules: &Rules, now: Instant) -> Option<Self> {
        let rates = Mutex::new(Rates::new(rules, now)?);
        Some(Self { rates, settled: AtomicBool::new(false) })
    }

    /// Takes a fast success in, unless it may reach a rate, as the one that fills a window;
    /// whether it did.
    #[inline]
    pub(in crate::circuit_breaker) fn success(
        &self,
        generation: u32,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        self.are_settled() || self.take_success(generation, now)
    }

    /// Apart, or what takes in a success that changes nothing isn't compiled into its caller.
    #[inline(never)]
    fn take_success(&self, generation: u32, now: impl FnOnce() -> Instant) -> bool {
        let mut rates = self.rates.lock();
        let takes = !rates.may_fill();
        if takes {
            self.take(&mut rates, Count::Success, false, generation, now);
        }
        takes
    }

    /// Takes one result in; which rate is reached. `now` is asked for once, if at all.
    pub(in crate::circuit_breaker) fn record(
        &self,
        count: Count,
        slow: bool,
        generation: u32,
        now: impl FnOnce() -> Instant,
    ) -> Option<OpenReason> {
        let is_good = count == Count::Success && !slow;
        if is_good && self.are_settled() {
            return None;
        }
        self.take(&mut self.rates.lock(), count, slow, generation, now)
    }

    fn take(
        &self,
        rates: &mut Rates,
        count: Count,
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
    use crate::circuit_breaker::FailureRate;

    proptest! {
        /// What isn't taken in makes no difference: not to which result reaches the rate.
        #[test]
        fn a_success_that_is_passed_over_changes_nothing(
            size in 1u32..6,
            results in prop::collection::vec(prop::bool::weighted(0.25), 0..60),
        ) {
            let now = crate::time::now();
            let rate = FailureRate::over_calls(size).at(0.5);
            let rules = Rules { rate: Some(rate), ..Rules::default() };
            let mut all = Rates::new(&rules, now).unwrap();
            let some = Windows::new(&rules, now).unwrap();
            for failed in results {
                let count = if failed { Count::Failure } else { Count::Success };
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
        let rules = Rules { rate: Some(FailureRate::over_calls(3)), ..Rules::default() };
        let windows = Windows::new(&rules, now).unwrap();
        let settles = |count| {
            windows.record(count, false, 0, || now);
            windows.settled.load(Ordering::Acquire)
        };
        let results = [Count::Success, Count::Success, Count::Success, Count::Failure];
        assert_eq!(results.map(settles), [false, false, true, false]);
        let results = [Count::Success, Count::Success, Count::Success];
        assert_eq!(results.map(settles), [false, false, true]);
        windows.clear(1, now);
        assert!(!windows.settled.load(Ordering::Acquire));
    }
}
