use std::time::Duration;

use crate::error::InvalidConfig;
use crate::sliding_window::{CallCounts, SlidingWindow};
use crate::time::Instant;

/// Opens when too large a share of the calls in a window failed or, where it is
/// given to [`slow_call_rate`](crate::circuit_breaker::CircuitBreakerBuilder::slow_call_rate), were slow.
///
/// ```
/// use std::time::Duration;
/// use tower_upstream::circuit_breaker::FailureRate;
///
/// // Half of the last 100 calls, once there were 20.
/// let calls = FailureRate::over_calls(100).at(0.5).min_calls(20);
/// // A fifth of the last minute's calls.
/// let minute = FailureRate::over_time(Duration::from_secs(60)).at(0.2);
/// # let _ = (calls, minute);
/// ```
///
/// A call that is neither failure nor success isn't in the window.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct FailureRate {
    over: Over,
    rate: f64,
    min_calls: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Over {
    Calls(u32),
    Time(Duration),
}

/// How many buckets a window of time has.
const BUCKETS: usize = 64;

/// The shortest window of time: a millisecond a bucket.
const SHORTEST_TIME: Duration = Duration::from_millis(BUCKETS as u64);

/// The largest window of calls. Each call takes a bit.
const MAX_CALLS: u32 = 1 << 20;

impl FailureRate {
    /// Over the last `calls` calls, from 1 to 1,048,576. Opens at half, once the window is full,
    /// unless set otherwise. The call that fills the window may open the circuit even if it is a
    /// success.
    pub const fn over_calls(calls: u32) -> Self {
        Self { over: Over::Calls(calls), rate: 0.5, min_calls: None }
    }

    /// Over the calls of the last `window`, kept in 64 buckets of equal length, at least a
    /// millisecond each. Opens at half, once there were 10 calls, unless set otherwise.
    pub const fn over_time(window: Duration) -> Self {
        Self { over: Over::Time(window), rate: 0.5, min_calls: None }
    }

    /// The share of failures to open at: more than 0, at most 1.
    pub const fn at(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// How many calls the window must hold before it can open the circuit.
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = Some(calls);
        self
    }

    /// How far a window of time reaches back. Zero for a window of calls.
    pub(in crate::circuit_breaker) fn time(&self) -> Duration {
        match self.over {
            Over::Calls(_) => Duration::ZERO,
            Over::Time(window) => window,
        }
    }

    /// How many calls the window must hold before it can open the circuit.
    pub(in crate::circuit_breaker) fn least_calls(&self) -> u32 {
        self.min_calls.unwrap_or(match self.over {
            Over::Calls(calls) => calls,
            Over::Time(_) => 10,
        })
    }

    /// Refuses settings that could never open a circuit, or would open it without a failure.
    pub(in crate::circuit_breaker) fn check(&self) -> Result<(), InvalidConfig> {
        if !(self.rate > 0.0 && self.rate <= 1.0) {
            let message = format!("a failure rate is above 0 and at most 1, not {}", self.rate);
            return Err(InvalidConfig::new(message));
        }
        if self.min_calls == Some(0) {
            return Err(InvalidConfig::new("a failure rate needs min_calls of at least 1"));
        }
        match self.over {
            Over::Calls(calls) if !(1..=MAX_CALLS).contains(&calls) => Err(InvalidConfig::new(
                format!("a window of calls holds 1 to {MAX_CALLS} of them, not {calls}"),
            )),
            Over::Calls(calls) if self.min_calls.is_some_and(|min| min > calls) => {
                Err(InvalidConfig::new(format!(
                    "a window of {calls} calls never holds min_calls; lower min_calls to {calls}"
                )))
            }
            Over::Time(window) if window < SHORTEST_TIME => Err(InvalidConfig::new(format!(
                "a window of time is at least {SHORTEST_TIME:?}, not {window:?}"
            ))),
            _ => Ok(()),
        }
    }
}

/// A quotient, because 7 / 100 is the same float as a literal 0.07, while 100 * 0.07 isn't 7.
#[allow(clippy::cast_precision_loss)] // from 2^53 calls on
fn share(failures: u64, calls: u64) -> f64 {
    failures as f64 / calls as f64
}

/// A rate at work in one circuit.
#[derive(Debug)]
pub(super) struct RateTrip {
    window: Window,
    rate: f64,
    min_calls: u64,
    /// How many calls the window held after the last one.
    held: u64,
}

#[derive(Debug)]
enum Window {
    Calls(CallWindow),
    /// The time in it counts from `start`.
    Time {
        window: SlidingWindow<BUCKETS>,
        start: Instant,
    },
}

impl RateTrip {
    pub(super) fn new(config: FailureRate, now: Instant) -> Self {
        let window = match config.over {
            Over::Calls(calls) => Window::Calls(CallWindow::new(calls)),
            Over::Time(time) => Window::Time { window: SlidingWindow::new(time), start: now },
        };
        Self { window, rate: config.rate, min_calls: config.least_calls().into(), held: 0 }
    }

    /// Takes one call in, and returns whether the rate is reached. `now` is called only for a
    /// window of time.
    pub(super) fn record(&mut self, bad: bool, now: impl FnOnce() -> Instant) -> bool {
        let (failures, calls) = match &mut self.window {
            Window::Calls(window) => window.record(bad),
            Window::Time { window, start } => {
                let elapsed = now().saturating_duration_since(*start);
                window.add(elapsed, CallCounts { calls: 1, bad: bad.into() });
                (window.sum().bad, window.sum().calls)
            }
        };
        let fills = std::mem::replace(&mut self.held, calls) < self.min_calls;
        (bad || fills) && calls >= self.min_calls && share(failures, calls) >= self.rate
    }

    /// Whether the next call may be the one with which the window holds enough calls. That one can
    /// open the circuit even if it is good.
    pub(super) fn may_fill(&self) -> bool {
        self.held + 1 == self.min_calls
    }

    /// Whether one more good call changes nothing.
    pub(super) fn is_settled(&self) -> bool {
        match &self.window {
            Window::Calls(window) => window.is_full_of_successes(),
            Window::Time { .. } => false,
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, now: Instant) {
        self.held = 0;
        match &mut self.window {
            Window::Calls(window) => window.clear(),
            Window::Time { window, start } => {
                window.clear();
                *start = now;
            }
        }
    }
}

/// The last N calls, a bit each.
#[derive(Debug)]
struct CallWindow {
    bits: Box<[u64]>,
    size: usize,
    /// Where the next result goes: over the oldest one, once full.
    next: usize,
    calls: usize,
    failures: usize,
}

impl CallWindow {
    fn new(size: u32) -> Self {
        let size = size.max(1) as usize;
        let bits = vec![0; size.div_ceil(64)].into_boxed_slice();
        Self { bits, size, next: 0, calls: 0, failures: 0 }
    }

    /// Takes a result in, and returns the window's failures and calls.
    fn record(&mut self, failed: bool) -> (u64, u64) {
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

    fn is_full_of_successes(&self) -> bool {
        self.calls == self.size && self.failures == 0
    }

    fn clear(&mut self) {
        self.bits.fill(0);
        (self.next, self.calls, self.failures) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact_at_every_hundredth() {
        for failures in 1..=100_u32 {
            let rate: f64 = format!("{:.2}", f64::from(failures) / 100.0).parse().unwrap();
            assert!(share(failures.into(), 100) >= rate);
            assert!(share(u64::from(failures) - 1, 100) < rate);
        }
    }

    #[test]
    fn a_share_holds_past_32_bits() {
        // A fifth of ten thousand million calls isn't half of them.
        assert!(share(2_200_000_000, 10_000_000_000) < 0.5);
        assert!(share(u64::MAX / 2, u64::MAX) <= 0.5);
    }
}

#[cfg(test)]
mod window_tests {
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
