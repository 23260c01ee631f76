//! Team 1's breaker: opens after 5 consecutive failures, probes after 30 s.
//!
//! - While it is closed, a success resets the count.
//! - 30 s after it opened it is half-open and admits at most 3 calls. 2 successes close it, one
//!   failure opens it again.
//! - A failure is what the hand-written client raised as an exception: a timeout, a broken or refused
//!   connection, any other error, a 401, a 429, a status of 500 or more. Every other response is a
//!   success.
//! - There is one circuit per region, by its host. No credential is latched.
//!
//! One use opened after 3: `circuit_breaker().consecutive_failures(3)`.
//!
//! Differences from the hand-written breaker: the 3 calls are those in flight or succeeded, and a
//! dropped call releases its slot (by hand, the circuit then stayed half-open for ever). A late result
//! of a call that began before the circuit opened changes nothing, so the 30 s count from the failure
//! that opened it.

use std::time::Duration;

use http::StatusCode;
use tower_upstream::CircuitBreakerLayer;
use tower_upstream::circuit_breaker::{CallResult, CircuitBreakerBuilder};
use tower_upstream::classify::{Cause, Class, HttpClassifier};
use tower_upstream::key::ByAuthority;

pub(crate) fn circuit_breaker() -> CircuitBreakerBuilder<HttpClassifier, ByAuthority> {
    CircuitBreakerLayer::builder()
        .consecutive_failures(5)
        .open_for(Duration::from_secs(30))
        .hint_cap(Duration::ZERO)
        .half_open_probes(3)
        .half_open_successes(2)
        .count_fn(|verdict| match (verdict.cause(), verdict.class()) {
            (Cause::Status(status), _) => {
                let raised = status.as_u16() >= 500
                    || status == StatusCode::TOO_MANY_REQUESTS
                    || status == StatusCode::UNAUTHORIZED;
                if raised { CallResult::Failure } else { CallResult::Success }
            }
            (_, Class::CircuitOpen | Class::Local) => CallResult::Neutral,
            (_, Class::Success | Class::Rejected) => CallResult::Success,
            _ => CallResult::Failure,
        })
        .by_authority()
        .no_latch()
}
