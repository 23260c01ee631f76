//! Tower layers for calls to an upstream that you do not control.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "circuit-breaker")]
pub mod circuit_breaker;
pub mod classify;
pub mod error;
pub mod event;
pub mod head;
pub mod hint;
pub mod key;
pub mod presets;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
#[cfg(feature = "retry")]
pub mod replay;
#[cfg(feature = "retry")]
pub mod retry;
pub mod scope;
#[cfg(any(feature = "circuit-breaker", feature = "rate-limit", feature = "retry"))]
mod spare;
#[cfg(feature = "circuit-breaker")]
mod stripe;
mod sync;
mod time;

#[cfg(feature = "circuit-breaker")]
#[doc(inline)]
pub use self::circuit_breaker::CircuitBreakerLayer;
#[doc(inline)]
pub use self::error::{BoxError, InvalidConfig, cause_ref};
#[cfg(feature = "rate-limit")]
#[doc(inline)]
pub use self::rate_limit::{Quota, RateLimitLayer};
#[cfg(feature = "retry")]
#[doc(inline)]
pub use self::retry::RetryLayer;
