use std::cell::LazyCell;

use super::FailureRate;
use super::failure_rate::RateTrip;
use crate::circuit_breaker::CallResult;
use crate::error::OpenReason;
use crate::time::Instant;

/// The windows of one circuit.
#[derive(Debug)]
pub(super) struct Rates {
    failures: Option<RateTrip>,
    slow: Option<RateTrip>,
    /// The circuit's generation whose results they take in.
    generation: u32,
}

impl Rates {
    /// Windows for a rate of failures, and one of slow calls. Returns `None` if there is neither.
    pub(super) fn new(
        failures: Option<FailureRate>,
        slow: Option<FailureRate>,
        now: Instant,
    ) -> Option<Self> {
        let failures = failures.map(|rate| RateTrip::new(rate, now));
        let slow = slow.map(|rate| RateTrip::new(rate, now));
        (failures.is_some() || slow.is_some()).then_some(Self { failures, slow, generation: 0 })
    }

    /// Takes one result in, and returns the reason to open if a rate is reached. `now` is called
    /// once at most. A result of another generation than the windows' is late and changes nothing.
    pub(super) fn record(
        &mut self,
        count: CallResult,
        slow: bool,
        generation: u32,
        now: impl FnOnce() -> Instant,
    ) -> Option<OpenReason> {
        if count == CallResult::Neutral || generation != self.generation {
            return None;
        }
        let now = LazyCell::new(now);
        let record = |rate: &mut Option<RateTrip>, bad| {
            rate.as_mut().is_some_and(|rate| rate.record(bad, || *now))
        };
        // Both windows take it in, whatever the first one says.
        let failing = record(&mut self.failures, count == CallResult::Failure);
        let slow = record(&mut self.slow, slow);
        let failing = failing.then_some(OpenReason::FailureRate);
        failing.or(slow.then_some(OpenReason::SlowCallRate))
    }

    /// Whether one more fast success changes nothing.
    pub(super) fn are_settled(&self) -> bool {
        self.all().all(RateTrip::is_settled)
    }

    /// Whether the next result can reach a rate even if it is a fast success.
    pub(super) fn may_fill(&self) -> bool {
        self.all().any(RateTrip::may_fill)
    }

    fn all(&self) -> impl Iterator<Item = &RateTrip> {
        [&self.failures, &self.slow].into_iter().flatten()
    }

    /// Keeps everything: the circuit goes on as `generation`.
    pub(super) fn go_on(&mut self, generation: u32) {
        self.generation = generation;
    }

    /// Forgets everything: the circuit has moved on to `generation`.
    pub(super) fn clear(&mut self, generation: u32, now: Instant) {
        self.generation = generation;
        for rate in [&mut self.failures, &mut self.slow].into_iter().flatten() {
            rate.clear(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: FailureRate = FailureRate::over_calls(2).at(1.0);

    #[test]
    fn results_of_another_generation_are_not_taken_in() {
        let now = crate::time::now();
        let mut rates = Rates::new(Some(ALL), None, now).unwrap();
        let mut fails = |generation| rates.record(CallResult::Failure, false, generation, || now);
        assert_eq!(fails(0), None);
        rates.clear(1, now);
        let mut fails = |generation| rates.record(CallResult::Failure, false, generation, || now);
        assert_eq!((fails(0), fails(1)), (None, None));
        assert_eq!(fails(1), Some(OpenReason::FailureRate));
    }

    #[test]
    fn slow_successes_and_fast_failures_are_counted_separately() {
        let now = crate::time::now();
        let mut rates = Rates::new(Some(ALL), Some(ALL), now).unwrap();
        assert_eq!(rates.record(CallResult::Success, true, 0, || now), None);
        assert_eq!(rates.record(CallResult::Failure, false, 0, || now), None);
        assert_eq!(rates.record(CallResult::Success, true, 0, || now), None);
        assert_eq!(rates.record(CallResult::Neutral, true, 0, || now), None);
        assert_eq!(
            rates.record(CallResult::Success, true, 0, || now),
            Some(OpenReason::SlowCallRate)
        );
        rates.clear(0, now);
        assert_eq!(rates.record(CallResult::Failure, false, 0, || now), None);
        assert_eq!(
            rates.record(CallResult::Failure, true, 0, || now),
            Some(OpenReason::FailureRate)
        );
    }
}
