//! Which of two limits is reached first.

use std::cmp::{Ordering, Reverse};

use super::Limit;

/// The one that is reached first comes first. Both have a known remainder.
pub(super) fn order(a: &Limit, b: &Limit) -> Ordering {
    let (left_a, left_b) = (left(a), left(b));
    // a/b < c/d without dividing.
    let share = (left_a * all(b)).cmp(&(left_b * all(a)));
    let later = || Reverse(a.reset).cmp(&Reverse(b.reset));
    share.then(left_a.cmp(&left_b)).then_with(later)
}

fn left(limit: &Limit) -> u128 {
    limit.remaining.unwrap_or(u64::MAX).into()
}

/// What is left is all that is known of an untold limit. Not zero, so that
/// nothing left is no share of it.
fn all(limit: &Limit) -> u128 {
    limit.limit.map_or_else(|| left(limit), u128::from).max(1)
}
