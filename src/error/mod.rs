//! Errors: every rejection of this crate, and how to find it in a [`BoxError`].
//!
//! Every layer accepts an inner service whose error converts into [`BoxError`] and returns
//! `BoxError`, as tower's `Timeout` and `Buffer` do. An error of the client below passes through
//! unchanged. A rejection by a layer has a type of its own, such as [`CircuitOpen`] or
//! [`RateLimited`], which [`cause_ref`] finds at any depth:
//!
//! ```
//! # #[cfg(feature = "circuit-breaker")] {
//! use tower_upstream::{BoxError, cause_ref, circuit_breaker::CircuitOpen};
//!
//! fn retry_after(error: &BoxError) -> Option<std::time::Duration> {
//!     cause_ref::<CircuitOpen>(&**error)?.retry_after()
//! }
//! # let _ = retry_after;
//! # }
//! ```
//!
//! # Transparent wrappers
//!
//! An error that wraps another one with `thiserror`'s `#[error(transparent)]`, as the error enums of
//! many clients do, returns the wrapped error's source as its own. The wrapped error itself is then
//! missing from the chain of sources, and `cause_ref` doesn't find it. Match the variant and search
//! from the wrapped error:
//!
//! ```
//! # #[cfg(feature = "circuit-breaker")] {
//! # use std::error::Error;
//! # use std::fmt;
//! use tower_upstream::{BoxError, cause_ref, circuit_breaker::CircuitOpen};
//!
//! #[derive(Debug)]
//! enum ClientError {
//!     // #[error(transparent)]
//!     Http(BoxError),
//! }
//! # impl fmt::Display for ClientError {
//! #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
//! #         let Self::Http(error) = self;
//! #         error.fmt(f)
//! #     }
//! # }
//! # impl Error for ClientError {
//! #     fn source(&self) -> Option<&(dyn Error + 'static)> {
//! #         let Self::Http(error) = self;
//! #         error.source()
//! #     }
//! # }
//!
//! fn circuit_open(error: &ClientError) -> Option<&CircuitOpen> {
//!     match error {
//!         ClientError::Http(error) => cause_ref(&**error),
//!     }
//! }
//! # use tower::{Layer, ServiceExt, service_fn};
//! # use tower_upstream::CircuitBreakerLayer;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
//! # let error = runtime.block_on(async {
//! #     let refuse = || service_fn(|_: http::Request<()>| async {
//! #         Err::<http::Response<()>, _>(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
//! #     });
//! #     let layer = CircuitBreakerLayer::builder().consecutive_failures(1).build().unwrap();
//! #     let client = layer.layer(refuse());
//! #     let call = || client.clone().oneshot(http::Request::new(()));
//! #     call().await.unwrap_err();
//! #     ClientError::Http(call().await.unwrap_err())
//! # });
//! // A search from the outside fails.
//! assert!(cause_ref::<CircuitOpen>(&error).is_none());
//! assert!(circuit_open(&error).is_some());
//! # }
//! ```

mod circuit_breaker;
mod failover;
mod rate_limit;
mod retry;

use std::error::Error;
use std::{fmt, io};

use crate::verdict::GrpcCode;

pub use self::circuit_breaker::{CircuitOpen, CircuitState, OpenReason};
pub use self::failover::{NoRegionAvailable, RegionOutcome, RegionsExhausted};
pub use self::rate_limit::{CostAboveQuota, RateLimited, RateLimitedReason};
pub use self::retry::{AttemptTimedOut, CredentialRejected, DeadlineExceeded};

/// The error type of every layer of this crate: tower's boxed error.
pub use tower::BoxError;

/// The number of sources that are followed at most, since a chain may be circular.
const MAX_CHAIN: usize = 64;

/// Returns the first error of type `E` among `error` and its chain of sources, which is followed
/// for 64 steps at most.
#[must_use]
pub fn cause_ref<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Iterates over `error` and its chain of sources.
pub(crate) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| source(*error)).take(MAX_CHAIN)
}

/// Returns the next error of the chain. `io::Error::source` skips the error that it wraps, so that
/// one is taken first.
fn source<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// The error of an invalid setting. The message says what is wrong and what to do.
///
/// Builders return it, and handles that change a layer while it runs. A custom
/// [`Sink`](crate::alert::Sink) returns it from its `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidConfig {
    message: String,
}

impl InvalidConfig {
    /// Creates an error. The message must not contain a secret.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for InvalidConfig {}

/// The gRPC status of a rejection, created on demand. Empty without the feature `tonic`.
///
/// A generated tonic client reports the first `Status` in an error's chain of sources, and
/// `UNKNOWN` if there is none.
#[derive(Debug, Default)]
pub(crate) struct GrpcStatus {
    #[cfg(feature = "tonic")]
    status: std::sync::OnceLock<tonic::Status>,
}

impl GrpcStatus {
    /// Returns the source of an error that has no other: a status with this code.
    #[allow(clippy::unnecessary_wraps, clippy::unused_self)] // each applies with or without tonic
    pub(crate) fn source(
        &self,
        code: GrpcCode,
        error: &impl fmt::Display,
    ) -> Option<&(dyn Error + 'static)> {
        #[cfg(feature = "tonic")]
        {
            let code = tonic::Code::from_i32(code as i32);
            Some(self.status.get_or_init(|| tonic::Status::new(code, error.to_string())))
        }
        #[cfg(not(feature = "tonic"))]
        {
            _ = (code, error);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Circle;

    impl fmt::Display for Circle {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("circular")
        }
    }

    impl Error for Circle {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }

    #[test]
    fn cause_ref_wrapped_io_error_and_circular_chain() {
        let inner = io::Error::other(InvalidConfig::new("invalid"));
        let outer = io::Error::new(io::ErrorKind::TimedOut, inner);
        assert!(cause_ref::<InvalidConfig>(&outer).is_some());
        let kind = cause_ref::<io::Error>(&outer).map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::TimedOut), "the first is found");
        assert!(cause_ref::<io::Error>(&Circle).is_none());
        assert!(cause_ref::<io::Error>(&io::Error::other(Circle)).is_some());
    }
}
