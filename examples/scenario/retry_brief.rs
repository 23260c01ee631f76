//! Team 2's retry.
//!
//! - It makes at most 3 attempts, and waits 2 s each time (exponential from 1 s, held between 2 s
//!   and 10 s), without jitter.
//! - It retries only a timeout, a broken or refused connection, and a 429, whose `Retry-After` it
//!   ignores.
//!
//! It repeats a `POST` that may have been processed, and has no budget.
//!
//! Difference from the hand-written loop: after `x-should-retry: false`, the request isn't sent again.

use std::time::Duration;

use http::StatusCode;
use tower_upstream::RetryLayer;
use tower_upstream::classify::Cause;
use tower_upstream::retry::{Backoff, HintUse, Jitter, RetryBuilder};

pub(crate) fn retry() -> RetryBuilder {
    RetryLayer::builder()
        .max_attempts(3)
        .backoff(
            Backoff::exponential(Duration::from_secs(1))
                .min(Duration::from_secs(2))
                .max(Duration::from_secs(10))
                .jitter(Jitter::None),
        )
        .hint(HintUse::Ignore)
        .no_budget()
        .retry_non_idempotent()
        .retry_if(|verdict| match verdict.cause() {
            Cause::Status(status) => status == StatusCode::TOO_MANY_REQUESTS,
            Cause::Timeout | Cause::Connect | Cause::Connection | Cause::RefusedStream => true,
            _ => false,
        })
}
