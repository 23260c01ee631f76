//! One error type at any depth, and how to find what is in it.
//!
//! Every layer takes an inner service whose error converts into [`BoxError`],
//! and returns `BoxError`, as tower's own `Timeout` and `Buffer` do. An error of
//! the client below passes through unchanged. A layer's own decision is an
//! error type named for what happened
//! ([`CircuitOpen`](crate::circuit_breaker::CircuitOpen),
//! [`RateLimited`](crate::rate_limit::RateLimited)), which is found at any depth:
//!
//! ```
//! # #[cfg(feature = "circuit-breaker")] {
//! use tower_upstream::{BoxError, cause_ref, circuit_breaker::CircuitOpen};
//!
//! fn when_to_come_back(error: &BoxError) -> Option<std::time::Duration> {
//!     cause_ref::<CircuitOpen>(&**error)?.retry_after()
//! }
//! # let _ = when_to_come_back;
//! # }
//! ```
//!
//! # Transparent wrappers
//!
//! An error may wrap another one *transparently*, with `#[error(transparent)]` of `thiserror`, as the
//! error enums of many clients do. It then returns the wrapped error's source as its own, and
//! so leaves the wrapped error itself out of the chain. If that is a layer's error, no search finds
//! it. Take the wrapped error out of the variant, and search from there:
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
//! // A search from the outside doesn't find it.
//! assert!(cause_ref::<CircuitOpen>(&error).is_none());
//! assert!(circuit_open(&error).is_some());
//! # }
//! ```

use std::error::Error;
use std::fmt;
use std::io;

use crate::classify::GrpcCode;

/// A boxed error, which every layer of this crate returns. It is tower's own.
pub use tower::BoxError;

/// How far a chain of sources is followed, as it may be a circle.
const LONGEST_CHAIN: usize = 64;

/// Returns the first error of type `E` in the chain of `error`, its source and so on, 64 at most.
#[must_use]
pub fn cause_ref<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Returns `error`, its source, the source's source and so on.
pub(crate) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| below(*error)).take(LONGEST_CHAIN)
}

/// Returns the next error of the chain. If an `io::Error` was made from another error, its `source()` is
/// that error's source, and would skip the error itself.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// A setting that can't work, and what to do about it. Builders return it, and handles that change
/// a layer while it runs.
///
/// A [`Sink`](crate::alert::Sink) of yours makes its own in its `check`; there is an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidConfig {
    message: String,
}

impl InvalidConfig {
    /// An error with this message: what can't work and what to do about it, without a secret.
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

/// The gRPC status of a rejection, made when a tonic client asks for it. Empty without tonic.
///
/// A generated client uses the first `Status` in an error's chain of sources. A rejection without
/// one would be `UNKNOWN`.
#[derive(Debug, Default)]
pub(crate) struct LazyStatus {
    #[cfg(feature = "tonic")]
    status: std::sync::OnceLock<tonic::Status>,
}

impl LazyStatus {
    /// Returns a status with this code, as the source of an error that has no other.
    #[allow(clippy::unnecessary_wraps, clippy::unused_self)] // one holds with tonic, the other without
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
            f.write_str("what came of it led to it")
        }
    }

    impl Error for Circle {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }

    #[test]
    fn an_error_that_an_io_error_was_made_of_is_found_and_a_circle_ends() {
        let inner = io::Error::other(InvalidConfig::new("it can't work"));
        let outer = io::Error::new(io::ErrorKind::TimedOut, inner);
        assert!(cause_ref::<InvalidConfig>(&outer).is_some());
        let kind = cause_ref::<io::Error>(&outer).map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::TimedOut), "the first is found");
        assert!(cause_ref::<io::Error>(&Circle).is_none());
        assert!(cause_ref::<io::Error>(&io::Error::other(Circle)).is_some());
    }
}
