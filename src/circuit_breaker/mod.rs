//! Stop calling what is down.
//!
//! A client that goes on calling a dead upstream makes every one of its own
//! callers wait for a timeout, and the upstream's recovery harder. A
//! [`CircuitBreakerLayer`] counts failures and, past a threshold, *opens*: calls are
//! answered at once with [`CircuitOpen`], and nothing is sent. After a while
//! it is *half-open* and lets a few calls through as probes; if they succeed
//! it *closes*, and all is as before.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_upstream::{BoxError, CircuitBreakerLayer, cause_ref, circuit_breaker::CircuitOpen};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let breaker = CircuitBreakerLayer::builder()
//!     .consecutive_failures(3)
//!     .open_for(Duration::from_secs(10))
//!     .build()?;
//!
//! let mut client = ServiceBuilder::new().layer(breaker).service(service_fn(
//!     |_: http::Request<()>| async {
//!         Ok::<_, BoxError>(http::Response::builder().status(500).body(())?)
//!     },
//! ));
//!
//! for _ in 0..3 {
//!     let answer = client.ready().await?.call(http::Request::new(())).await?;
//!     assert_eq!(answer.status(), 500);
//! }
//! let error = client.ready().await?.call(http::Request::new(())).await.unwrap_err();
//! assert!(cause_ref::<CircuitOpen>(&*error).is_some());
//! # Ok(()) }
//! ```
//!
//! # What counts
//!
//! By default ([`Count::by_default`]) failures are what speaks against the
//! upstream: timeouts, connections refused or broken, 5xx. A 429 isn't one, nor
//! is the request's own fault. [`count_fn`](CircuitBreakerBuilder::count_fn)
//! says it otherwise. A call that its caller drops is neutral.
//!
//! # When it opens
//!
//! By failures in a row (the default: 5), by a leaky count, or by the share of
//! failures among the last calls or in the last while ([`FailureRate`]);
//! several are joined by "or".
//!
//! # Where it stands in the stack
//!
//! Below a retry, which waits for it if there's time; below a rate limiter,
//! whose permit it gives back; above the attempt's timeout, so that timeouts
//! are seen here. One circuit a region or host: [`CircuitBreakerBuilder::by_authority`].
//!
//! # Readiness
//!
//! An open circuit answers without asking the inner service, which may never get
//! ready. So while any circuit of the layer isn't closed, `poll_ready` is ready
//! at once, and the call itself waits for the inner service where it is let
//! through; should its circuit open meanwhile, it isn't sent. (A circuit that
//! nobody has called for ten minutes no longer counts for this: it may be that
//! of a host which is gone.) An inner service that fails to get ready counts as a failed call:
//! its error comes from `call`.

mod circuit;
mod common;
mod count;
mod error;
mod event;
mod future;
mod handle;
mod layer;
mod permit;
mod rules;
mod service;
mod state;
mod stats;
mod status;
mod trip;
mod word;

pub use self::count::Count;
pub use self::error::CircuitOpen;
pub use self::event::{CircuitEvent, CircuitEventKind};
pub use self::future::ResponseFuture;
pub use self::handle::CircuitBreakerHandle;
pub use self::layer::{CircuitBreakerBuilder, CircuitBreakerLayer};
pub use self::service::CircuitBreaker;
pub use self::state::CircuitState;
pub use self::status::CircuitStatus;
pub use self::trip::FailureRate;

use self::rules::{Recovery, Rules};
