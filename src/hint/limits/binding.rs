//! Which of two limits is reached first.

use std::cmp::{Ordering, Reverse};

use super::Limit;

/// Orders limits by which is reached first. Both must have a known `remaining`.
pub(super) fn order(a: &Limit, b: &Limit) -> Ordering {
    let (left_a, left_b) = (left(a), left(b));
    // Compares a/b with c/d without dividing.
    let share = (left_a * all(b)).cmp(&(left_b * all(a)));
    let later = || Reverse(a.reset).cmp(&Reverse(b.reset));
    share.then(left_a.cmp(&left_b)).then_with(later)
}

fn left(limit: &Limit) -> u128 {
    limit.remaining.unwrap_or(u64::MAX).into()
}

/// Returns the limit, or what is left if the limit isn't known. At least 1, so that nothing left is a
/// share of zero.
fn all(limit: &Limit) -> u128 {
    limit.limit.map_or_else(|| left(limit), u128::from).max(1)
}
