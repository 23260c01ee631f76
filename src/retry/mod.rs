//! Repeats failed requests where that is safe and may help.
//!
//! Retries turn short failures into successes. Retries without jitter, without a bound, or against the
//! server's hints turn long failures into outages, and are why providers suspend keys. A
//! [`RetryLayer`] decides in one place, by the [verdict](crate::classify::Verdict):
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
//! let mut statuses = [503, 503, 200].into_iter();
//! let mut client = ServiceBuilder::new().layer(retry).service(service_fn(
//! #     { let statuses = std::sync::Arc::new(std::sync::Mutex::new(statuses));
//!     move |_: http::Request<()>| {
//! #     let mut statuses = statuses.lock().unwrap();
//!         let status = statuses.next().unwrap_or(500);
//!         async move { Ok::<_, BoxError>(http::Response::builder().status(status).body(())?) }
//!     }
//! #     }
//! ));
//!
//! let response = client.ready().await?.call(http::Request::new(())).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(()) }
//! ```
//!
//! The [guide] explains jitter, budgets, and which requests are safe to repeat.
//!
//! # When a request is retried
//!
//! - The failure may pass: throttled, overloaded, never sent, or transient. A rejected credential, an
//!   exhausted quota and a faulty request are returned at once.
//! - A repetition is *safe*: the request was certainly not processed (never sent, a 429, a 503 with a
//!   `Retry-After`), or its method or its `Idempotency-Key` makes it idempotent. A plain `POST` that
//!   timed out is retried only with [`retry_non_idempotent`](RetryBuilder::retry_non_idempotent).
//! - The server allows it: a hint (`Retry-After` and the [other headers](crate::hint)) is waited for in
//!   full or not at all, and `x-should-retry` is obeyed.
//! - Attempts, time and [budget](RetryBudget) are left.
//!
//! Otherwise the caller receives the last real response or error, unchanged, and the
//! [observer](RetryBuilder::observer) is notified of the reason. If an open circuit or a local limit
//! rejects an attempt, the result of the previous attempt is returned, if it still exists (see below).
//! A single request can set its own number of attempts or its own deadline: see [`Override`].
//!
//! # Responses during a wait
//!
//! A response that is followed by a wait is dropped before the wait, which frees its permit or stream.
//! Its body isn't read to the end, since that takes time: hyper keeps an HTTP/1 connection if the body
//! arrived together with its head, as short ones do, and closes it otherwise. A
//! [`PeekLayer`](crate::PeekLayer) keeps such connections, since it reads failed responses up to a
//! bound.
//!
//! A dropped response can't be returned if the next attempt is rejected locally: the caller receives
//! the rejection. With [`keep_last_response`](RetryBuilder::keep_last_response) the response is kept
//! and returned. An error, and a response without a wait (before another region), are always kept.
//!
//! # Position in the stack
//!
//! Above all that is done for each attempt: failover, rate limit, circuit breaker, attempt timeout. A
//! retry layer below another one in the same stack only passes calls on: none of its settings applies,
//! not even its deadline and its attempt timeout. [`scope`](crate::scope) says where a stack ends.

mod attempt;
mod backoff;
mod budget;
mod config;
mod decision;
mod future;
pub mod guide;
mod layer;
mod progress;
mod service;

pub use self::backoff::{Backoff, Jitter, Waits};
pub use self::budget::{Budget, RetryBudget, RetryThrottle, TowerBudget};
pub use self::decision::{HintUse, is_retryable};
pub use self::future::ResponseFuture;
pub use self::layer::{RetryBuilder, RetryLayer};
pub use self::service::Retry;
pub use crate::error::{AttemptTimedOut, CredentialRejected, DeadlineExceeded};
pub use crate::event::{Decision, StopReason};
pub use crate::replay::Override;
