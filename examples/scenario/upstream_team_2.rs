//! Team 2's client: its brief retry over its breaker, 30 s per attempt, within the standard tier.
//!
//! Differences: there is a circuit per region or host, instead of one for all. As for team 1, the
//! breaker counts each attempt.

use std::time::Duration;

use tower_upstream::stack::UpstreamBuilder;
use tower_upstream::{Quota, UpstreamLayer};

use super::circuit_breaker_leaky::circuit_breaker;
use super::retry_brief::retry;

pub(crate) fn upstream() -> UpstreamBuilder {
    UpstreamLayer::builder()
        .deadline(Duration::MAX)
        .attempt_timeout(Duration::from_secs(30))
        .retry(|_| retry())
        .quota(Quota::per_minute(60))
        .circuit_breaker(|_| circuit_breaker().by_region())
}
