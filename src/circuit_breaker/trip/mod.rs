//! When a closed circuit opens.
//!
//! The policies are joined by "or", and each is a plain function of what it has
//! seen: two counts that live in the circuit's atomic word (here), and a window
//! over the last calls or the last while ([`window`]).

mod failure_rate;
mod window;

pub use self::failure_rate::FailureRate;
pub(super) use self::failure_rate::RateTrip;

use super::Count;
use super::word::{Counts, MAX_COUNT};

/// The thresholds of the counting policies.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CountTrip {
    /// Open at this many failures in a row.
    pub(super) consecutive: Option<u32>,
    /// Open when the leaky count reaches this.
    pub(super) leaky: Option<u32>,
}

impl CountTrip {
    /// The counts after one more result, and whether a threshold is reached.
    #[inline]
    pub(super) fn after(self, counts: Counts, count: Count) -> (Counts, bool) {
        let next = match count {
            Count::Neutral => counts,
            Count::Success => Counts { consecutive: 0, leaky: counts.leaky.saturating_sub(1) },
            Count::Failure => Counts {
                consecutive: self.consecutive.map_or(0, |_| up(counts.consecutive)),
                leaky: self.leaky.map_or(0, |_| up(counts.leaky)),
            },
        };
        let reached = |count: u32, threshold: Option<u32>| threshold.is_some_and(|at| count >= at);
        let trips = count == Count::Failure
            && (reached(next.consecutive, self.consecutive) || reached(next.leaky, self.leaky));
        (next, trips)
    }
}

fn up(count: u32) -> u32 {
    (count + 1).min(MAX_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(trip: CountTrip, results: &str) -> Option<usize> {
        let mut counts = Counts::default();
        results.chars().position(|result| {
            let count = match result {
                'F' => Count::Failure,
                'S' => Count::Success,
                _ => Count::Neutral,
            };
            let (next, trips) = trip.after(counts, count);
            counts = next;
            trips
        })
    }

    #[test]
    fn consecutive_failures() {
        let trip = CountTrip { consecutive: Some(3), leaky: None };
        assert_eq!(run(trip, "FFSFFSFF"), None);
        assert_eq!(run(trip, "FFF"), Some(2));
        assert_eq!(run(trip, "FF-F"), Some(3));
    }

    #[test]
    fn leaky_failures() {
        let trip = CountTrip { consecutive: None, leaky: Some(3) };
        assert_eq!(run(trip, "FFSFF"), Some(4));
        assert_eq!(run(trip, "FSFSFSFS"), None);
        assert_eq!(run(trip, "SSSFFF"), Some(5));
    }

    #[test]
    fn either_policy_trips() {
        let trip = CountTrip { consecutive: Some(3), leaky: Some(4) };
        assert_eq!(run(trip, "FFF"), Some(2));
        assert_eq!(run(trip, "FFSFFSFF"), Some(7));
    }
}
