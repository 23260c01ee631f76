//! Which region takes an attempt: a plain function.

use std::time::Duration;

use crate::scope::Tried;

/// What is known of a region when one is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) priority: u32,
    /// For how long it isn't chosen. Zero: it is healthy.
    pub(super) out_for: Duration,
    /// Zero where none was measured: what is unknown is worth a try.
    pub(super) latency: Duration,
}

impl Candidate {
    fn is_healthy(&self) -> bool {
        self.out_for.is_zero()
    }
}

/// The healthy one of the smallest (priority, latency) that wasn't tried. If none is
/// healthy, a call goes to the primary all the same; and one that has been to all of them and begins
/// anew (it has `failed` before), to the one that is back the soonest, which is the one that
/// failed longest ago.
pub(super) fn choose(
    candidates: impl Iterator<Item = Candidate> + Clone,
    tried: &Tried,
    failed: bool,
) -> Option<usize> {
    let healthy = candidates
        .clone()
        .enumerate()
        .filter(|(region, candidate)| candidate.is_healthy() && !tried.contains(*region))
        .min_by_key(|(_, candidate)| (candidate.priority, candidate.latency));
    let least_bad = || {
        candidates.enumerate().filter(|_| tried.len() == 0).min_by_key(|(region, candidate)| {
            let out_for = if failed { candidate.out_for } else { Duration::ZERO };
            (out_for, candidate.priority, *region)
        })
    };
    healthy.or_else(least_bad).map(|(region, _)| region)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(candidates: &[(u32, bool, u64)], tried: &[usize]) -> Option<usize> {
        let out_for = |healthy: bool| if healthy { 0 } else { 9 };
        let candidates: Vec<_> = candidates
            .iter()
            .map(|&(priority, healthy, latency)| (priority, out_for(healthy), latency))
            .collect();
        choice(&candidates, tried, false)
    }

    fn choice(candidates: &[(u32, u64, u64)], tried: &[usize], failed: bool) -> Option<usize> {
        let mut seen = Tried::default();
        for region in tried {
            seen.push(*region);
        }
        let candidates = candidates.iter().map(|&(priority, out_for, latency)| Candidate {
            priority,
            out_for: Duration::from_secs(out_for),
            latency: Duration::from_millis(latency),
        });
        choose(candidates, &seen, failed)
    }

    #[test]
    fn by_priority_then_latency() {
        assert_eq!(chosen(&[(2, true, 10), (1, true, 90)], &[]), Some(1));
        assert_eq!(chosen(&[(1, true, 90), (1, true, 10)], &[]), Some(1));
        assert_eq!(chosen(&[(1, true, 0), (1, true, 0)], &[]), Some(0));
        assert_eq!(chosen(&[(1, false, 1), (2, true, 10)], &[]), Some(1));
    }

    #[test]
    fn the_tried_ones_are_left_out() {
        let three = [(1, true, 1), (2, true, 1), (3, true, 1)];
        assert_eq!(chosen(&three, &[0]), Some(1));
        assert_eq!(chosen(&three, &[1, 0]), Some(2));
        assert_eq!(chosen(&three, &[0, 1, 2]), None);
    }

    #[test]
    fn none_healthy_is_the_primary_all_the_same() {
        let none = [(3, false, 1), (1, false, 9), (1, false, 1)];
        assert_eq!(chosen(&none, &[]), Some(1));
        assert_eq!(chosen(&none, &[1]), None);
        assert_eq!(chosen(&[], &[]), None);
    }

    #[test]
    fn a_call_that_was_everywhere_goes_where_it_failed_longest_ago() {
        let none = [(1, 10, 1), (2, 8, 1), (3, 9, 1)];
        assert_eq!(choice(&none, &[], true), Some(1));
        assert_eq!(choice(&none, &[], false), Some(0));
        assert_eq!(choice(&[(2, 9, 1), (1, 9, 1)], &[], true), Some(1));
        // A healthy one is better than any of them.
        assert_eq!(choice(&[(1, 1, 1), (2, 0, 1)], &[], true), Some(1));
    }

    #[test]
    fn past_its_bound_nothing_is_remembered() {
        let mut tried = Tried::default();
        for region in 0..100 {
            tried.push(region);
        }
        assert_eq!(tried.len(), Tried::MOST);
    }
}
