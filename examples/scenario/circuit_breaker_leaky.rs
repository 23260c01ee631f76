//! Team 2's breaker: a leaky count without probes.
//!
//! - It counts up by one for a timeout, a broken or refused connection or a 429, and down by one for
//!   a 200, never below 0. Any other response changes nothing.
//! - It opens at 10. After 60 s it closes and starts again from zero.
//! - No credential is latched.

use std::time::Duration;

use http::StatusCode;
use tower_upstream::CircuitBreakerLayer;
use tower_upstream::circuit_breaker::{CallResult, CircuitBreakerBuilder};
use tower_upstream::classify::Cause;

pub(crate) fn circuit_breaker() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder()
        .leaky_failures(10)
        .open_for(Duration::from_secs(60))
        .hint_cap(Duration::ZERO)
        .no_half_open()
        .count_fn(|verdict| match verdict.cause() {
            Cause::Status(StatusCode::OK) => CallResult::Success,
            Cause::Status(StatusCode::TOO_MANY_REQUESTS)
            | Cause::Timeout
            | Cause::Connect
            | Cause::Connection
            | Cause::RefusedStream => CallResult::Failure,
            _ => CallResult::Neutral,
        })
        .no_latch()
}
