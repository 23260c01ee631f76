//! Which region takes an attempt: a plain function.

use std::time::Duration;

use crate::scope::Tried;

/// What is known of a region when one is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) priority: u32,
    pub(super) healthy: bool,
    /// Zero where none was measured: what is unknown is worth a try.
    pub(super) latency: Duration,
}

/// The healthy one of the smallest (priority, latency) that wasn't tried. If
/// none is healthy, a call that has tried none goes to the primary all the same.
pub(super) fn choose(
    candidates: impl Iterator<Item = Candidate> + Clone,
    tried: &Tried,
) -> Option<usize> {
    let healthy = candidates
        .clone()
        .enumerate()
        .filter(|(region, candidate)| candidate.healthy && !tried.contains(*region))
        .min_by_key(|(_, candidate)| (candidate.priority, candidate.latency));
    let primary =
        || {
            let mut all = candidates.enumerate().filter(|_| tried.len() == 0);
            let first = all.next()?;
            Some(all.fold(
                first,
                |best, next| if next.1.priority < best.1.priority { next } else { best },
            ))
        };
    healthy.or_else(primary).map(|(region, _)| region)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(candidates: &[(u32, bool, u64)], tried: &[usize]) -> Option<usize> {
        let mut seen = Tried::default();
        for region in tried {
            seen.push(*region);
        }
        let candidates = candidates.iter().map(|&(priority, healthy, latency)| Candidate {
            priority,
            healthy,
            latency: Duration::from_millis(latency),
        });
        choose(candidates, &seen)
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
    fn past_its_bound_nothing_is_remembered() {
        let mut tried = Tried::default();
        for region in 0..100 {
            tried.push(region);
        }
        assert_eq!(tried.len(), Tried::MOST);
    }
}
