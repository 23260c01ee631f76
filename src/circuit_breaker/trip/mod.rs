//! When a closed circuit opens.
//!
//! Any of the policies opens it: two counts in the circuit's packed state (here), and windows over
//! the last calls or a period, of failures and of slow calls ([`rates`]).

mod failure_rate;
mod rates;
mod windows;

use self::rates::Rates;
use super::CallResult;
use super::packed_state::{Counts, MAX_COUNT};
use crate::error::OpenReason;

pub use self::failure_rate::FailureRate;
pub(super) use self::windows::Windows;

/// The thresholds of the counting policies.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CountTrip {
    /// Open at this many failures in a row.
    pub(super) consecutive: Option<u32>,
    /// Open when the leaky count reaches this.
    pub(super) leaky: Option<u32>,
}

impl CountTrip {
    /// Returns the counts after one more result, and the reason to open if a threshold is reached.
    pub(super) fn after(self, counts: Counts, count: CallResult) -> (Counts, Option<OpenReason>) {
        let next = match count {
            CallResult::Neutral => counts,
            CallResult::Success => Counts { consecutive: 0, leaky: counts.leaky.saturating_sub(1) },
            CallResult::Failure => Counts {
                consecutive: self.consecutive.map_or(0, |_| up(counts.consecutive)),
                leaky: self.leaky.map_or(0, |_| up(counts.leaky)),
            },
        };
        let reached = |count: u32, threshold: Option<u32>| threshold.is_some_and(|at| count >= at);
        let trips = if count != CallResult::Failure {
            None
        } else if reached(next.consecutive, self.consecutive) {
            Some(OpenReason::Consecutive)
        } else {
            reached(next.leaky, self.leaky).then_some(OpenReason::Leaky)
        };
        (next, trips)
    }
}

fn up(count: u32) -> u32 {
    (count + 1).min(MAX_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which result trips, and by which policy.
    fn run(trip: CountTrip, results: &str) -> Option<(usize, OpenReason)> {
        let mut counts = Counts::default();
        results.chars().enumerate().find_map(|(index, result)| {
            let count = match result {
                'F' => CallResult::Failure,
                'S' => CallResult::Success,
                _ => CallResult::Neutral,
            };
            let (next, trips) = trip.after(counts, count);
            counts = next;
            Some((index, trips?))
        })
    }

    #[test]
    fn consecutive_failures() {
        let trip = CountTrip { consecutive: Some(3), leaky: None };
        assert_eq!(run(trip, "FFSFFSFF"), None);
        assert_eq!(run(trip, "FFF"), Some((2, OpenReason::Consecutive)));
        assert_eq!(run(trip, "FF-F"), Some((3, OpenReason::Consecutive)));
    }

    #[test]
    fn leaky_failures() {
        let trip = CountTrip { consecutive: None, leaky: Some(3) };
        assert_eq!(run(trip, "FFSFF"), Some((4, OpenReason::Leaky)));
        assert_eq!(run(trip, "FSFSFSFS"), None);
        assert_eq!(run(trip, "SSSFFF"), Some((5, OpenReason::Leaky)));
    }

    #[test]
    fn either_policy_trips() {
        let trip = CountTrip { consecutive: Some(3), leaky: Some(4) };
        assert_eq!(run(trip, "FFF"), Some((2, OpenReason::Consecutive)));
        assert_eq!(run(trip, "FFSFFSFF"), Some((7, OpenReason::Leaky)));
    }
}
