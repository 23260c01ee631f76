//! Send a failed request again, where that is safe and may help.
//!
//! Retries turn short failures into successes, and, done carelessly, long
//! ones into disasters: clients that retry in step, without end or against
//! the server's word are why providers suspend keys. A [`RetryLayer`] decides
//! in one place, by the [verdict](crate::classify::Verdict):
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_upstream::{BoxError, RetryLayer, retry::Backoff};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let retry = RetryLayer::builder()
//!     .max_attempts(4)
//!     .backoff(Backoff::exponential(Duration::from_millis(500)))
//!     .deadline(Duration::from_secs(30))
//!     .build()?;
//!
//! let mut answers = [503, 503, 200].into_iter();
//! let mut client = ServiceBuilder::new().layer(retry).service(service_fn(
//! #     { let answers = std::sync::Arc::new(std::sync::Mutex::new(answers));
//!     move |_: http::Request<()>| {
//! #     let mut answers = answers.lock().unwrap();
//!         let status = answers.next().unwrap_or(500);
//!         async move { Ok::<_, BoxError>(http::Response::builder().status(status).body(())?) }
//!     }
//! #     }
//! ));
//!
//! let answer = client.ready().await?.call(http::Request::new(())).await?;
//! assert_eq!(answer.status(), 200);
//! # Ok(()) }
//! ```
//!
//! # When it retries
//!
//! - The failure must be one that may pass: throttled, overloaded, never sent, or
//!   transient. A refused credential, an exhausted quota and a fault of the request are
//!   returned at once.
//! - A repetition must be *safe*: the request never left or was refused unprocessed
//!   (a 429, a 503 that says when to come back), or its method or its `Idempotency-Key`
//!   says that sending it twice does no harm. A plain `POST` that timed out is
//!   not sent again unless [`retry_non_idempotent`](RetryLayer::retry_non_idempotent) is set.
//! - The server must not say otherwise: a hint (`Retry-After` and its
//!   [siblings](crate::hint)) is waited for in full or not at all, and
//!   `x-should-retry` is obeyed.
//! - There must be attempts, time and [budget](RetryBudget) left.
//!
//! When it doesn't retry, the caller gets the last real response or error,
//! untouched, and the [observer](RetryLayer::observer) is told why. An attempt that an open circuit or a
//! limit on this side turned away has no real answer: the answer to the attempt before is returned, if it is
//! still there (see below). A single request can ask for another number of
//! attempts, or another deadline: see [`Override`].
//!
//! New to retries? The [guide] says why there is jitter, what a budget is for, and what is
//! safe to send again.
//!
//! # What an answer holds
//!
//! A response that is followed by another attempt is dropped before the wait, with all that it holds: a
//! permit, a stream. Its body isn't read to the end to save the connection, as that takes time. hyper
//! keeps an HTTP/1 connection if the body arrived together with its head, as short ones do, and closes it
//! otherwise. A [`PeekLayer`](crate::PeekLayer) saves it, as it reads failing answers anyway, up to a bound.
//!
//! So a response that was followed by a wait can't be returned if the next attempt is turned away on this
//! side: the caller gets the rejection. With [`keep_last_response`](RetryLayer::keep_last_response) the response is
//! saved and returned. An error holds nothing, and a response without a wait (before another region)
//! holds it only briefly: both are saved and returned in any case.
//!
//! # Where it stands in the stack
//!
//! Above everything that is done for each attempt: failover, rate limit,
//! circuit breaker, attempt timeout. A retry layer below another one in the same
//! stack only passes calls on: none of its settings has an effect, not even its deadline and its attempt
//! timeout. [`scope`](crate::scope) says where a stack ends.

mod backoff;
mod budget;
mod builder;
mod config;
mod decision;
mod future;
pub mod guide;
mod layer;
mod progress;
mod service;

pub use self::backoff::{Backoff, Jitter, Waits};
pub use self::budget::{Budget, RetryBudget, RetryThrottle, TowerBudget};
pub use self::builder::RetryBuilder;
pub use self::decision::{HintUse, is_retryable};
pub use self::future::ResponseFuture;
pub use self::layer::RetryLayer;
pub use self::service::Retry;
pub use crate::error::{AttemptTimedOut, CredentialRejected, DeadlineExceeded};
pub use crate::event::{Decision, StopReason};
pub use crate::replay::Override;
