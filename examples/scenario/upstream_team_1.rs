//! Team 1's client: its patient retry over its breaker, within the standard tier.
//!
//! Differences: the breaker is below the retry, so that it counts each attempt instead of only those
//! that the retry gave up on. The attempt's 30 s apply below the breaker.

use std::time::Duration;

use tower_upstream::key::{ByAuthority, ByCredential};
use tower_upstream::replay::HttpReplay;
use tower_upstream::stack::UpstreamBuilder;
use tower_upstream::{Quota, UpstreamLayer};

use super::circuit_breaker_consecutive::circuit_breaker;
use super::retry_patient::{Classifier, retry};

pub(crate) fn upstream() -> UpstreamBuilder<Classifier, HttpReplay, ByCredential, ByAuthority> {
    UpstreamLayer::builder()
        .deadline(Duration::MAX)
        .retry(|_| retry())
        .quota(Quota::per_minute(60))
        .rate_limit(|limit| limit.max_pause(Duration::MAX))
        .circuit_breaker(|_| circuit_breaker())
}
