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
//! let retry = RetryLayer::new()
//!     .max_attempts(4)
//!     .backoff(Backoff::exponential(Duration::from_millis(500)))
//!     .deadline(Duration::from_secs(30));
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
//! - The verdict must be one that may pass: throttled, overloaded, never sent,
//!   transient. A dead credential, an exhausted quota and the request's own
//!   fault are returned at once.
//! - It must be *safe*: the request never left or was refused unprocessed
//!   (a 429, a 503 that says when to come back), or repeating it does no harm,
//!   by its method or its `Idempotency-Key`. A plain `POST` that timed out is
//!   not sent again unless [`retry_non_idempotent`](RetryLayer::retry_non_idempotent) says so.
//! - The server must not say otherwise: a hint (`Retry-After` and its
//!   [siblings](crate::hint)) is waited for in full or not at all, and
//!   `x-should-retry` is obeyed.
//! - There must be attempts, time and [budget](RetryBudget) left.
//!
//! When it doesn't, the caller gets the last real response or error,
//! untouched, and the [observer](RetryLayer::observer) hears why. An attempt that an open circuit or a limit
//! on this side turned away isn't a real one: what came of the one before is returned, if it is still
//! there (see below). One request can ask for other
//! attempts, or another deadline: see [`Override`].
//!
//! New to retries? The [guide] says why there is jitter, what a budget is for, and what is
//! safe to send again.
//!
//! # What an answer holds
//!
//! An answer that is followed by another attempt is dropped before the wait, with what it holds: a
//! permit, a stream. Its body isn't read for the sake of the connection, as that costs time: hyper keeps an
//! HTTP/1 connection if the body had come along with its head, as short ones do, and closes it if not.
//! A [`PeekLayer`](crate::PeekLayer), which reads failing answers anyway, within a bound, keeps it.
//!
//! So a response that was followed by a wait can't be returned when the next attempt is turned away on this side, and
//! the caller gets that rejection. [`hold_answers`](RetryLayer::hold_answers) has it the other way round.
//! An error holds nothing, and without a wait (in another region) nothing is held for long: they come back.
//!
//! # Where it stands in the stack
//!
//! Above everything that is done for each attempt: failover, rate limit,
//! circuit breaker, the attempt's timeout. A retry layer below another one in the same
//! stack passes through, and none of its settings holds, its deadline and its attempts' timeout
//! neither; see [`scope`](crate::scope) for where that ends.

mod attempt;
mod backoff;
mod budget;
mod config;
mod decision;
mod error;
mod event;
mod future;
pub mod guide;
mod layer;
mod past;
mod progress;
mod service;
mod stamp;

pub use self::backoff::{Backoff, Jitter, Waits};
pub use self::budget::{Budget, RetryBudget, RetryThrottle, TowerBudget};
pub use self::decision::{Decision, HintUse, StopReason, is_retryable};
pub use self::error::{AttemptTimedOut, CredentialRejected, DeadlineExceeded};
pub use self::event::RetryEvent;
pub use self::future::ResponseFuture;
pub use self::layer::RetryLayer;
pub use self::service::Retry;
pub use crate::replay::Override;
