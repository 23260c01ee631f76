//! Stay under the provider's limit, and leave none of it unused.
//!
//! A client that finds the limit by running into it pays for every call that is
//! answered 429, and providers suspend keys for it. A [`RateLimitLayer`] keeps
//! a [`Quota`] on this side: calls pass while there is some left, and then wait
//! in order of arrival, or are turned away at once if they would wait too long.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_upstream::{BoxError, Quota, RateLimitLayer, cause_ref, rate_limit::RateLimited};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! // The provider allows a key 60 requests a minute; nobody waits over 10 s.
//! let limit = RateLimitLayer::builder(Quota::per_minute(60))
//!     .by_credential()
//!     .max_wait(Duration::from_secs(10))
//!     .build();
//!
//! let mut client = ServiceBuilder::new().layer(limit).service(service_fn(
//!     |_: http::Request<()>| async { Ok::<_, BoxError>(http::Response::new(())) },
//! ));
//!
//! for _ in 0..60 {
//!     client.ready().await?.call(http::Request::new(())).await?;
//! }
//! let error = client.ready().await?.call(http::Request::new(())).await.unwrap_err();
//! let limited = cause_ref::<RateLimited>(&*error).expect("the minute's quota is spent");
//! assert!(limited.retry_after() > Duration::from_secs(50));
//! # Ok(()) }
//! ```
//!
//! # How it decides
//!
//! [governor] decides each admission, on tokio's clock. A plain quota is strict: never more than
//! its limit in *any* window. One with a [`burst`](Quota::burst) is paced by GCRA. WaitingCall calls
//! are served first come, first served, at two wake-ups a grant at most, however many wait. A call
//! that never left gives back what it took: because the circuit below was open, the connection was
//! refused, or the caller gave up while the call was still here. What a call took stays spent if it
//! is dropped after it was passed on: it may have been waiting in a layer below, but nothing tells
//! of that.
//!
//! What a call took counts in time from when it is sent. If the inner service isn't ready, a call
//! that has its permit waits for that too, and what it took is kept for it. If the server closes
//! the gate meanwhile, the call gives that back and waits again.
//!
//! How long a call would wait is predicted on arrival, from the units that are wanted before it.
//! Where costs don't add up to whole quotas (two calls of 6 can't share a window of 10), the wait
//! is longer than was predicted, and a call can be turned away when its turn comes. A call keeps its
//! entry in the queue until it is dropped. So waiting calls must be polled: one that isn't, as in a
//! `buffered` stream that nobody reads, stops all behind it when its turn comes, and until then
//! makes the waits longer that are predicted for others. Calls in tasks of their own are always
//! polled.
//!
//! Several quotas are taken [all or none](RateLimitBuilder::and): requests, tokens, money. What a
//! call costs is estimated from its request, and [settled](RateLimitBuilder::settle_fn) when its
//! answer tells: what was too much comes back, what was too little is owed. A quota can be
//! [changed](RateLimitHandle::set_quota) while calls wait.
//!
//! # What the server says
//!
//! A 429 that says when to come back closes the gate: no call of that key passes before that time,
//! from whichever clone it comes. An exhausted quota closes the gate for a minute if the answer
//! doesn't say for how long. Both are bounded by [`max_pause`](RateLimitBuilder::max_pause). The
//! first call in queue is turned away if it can't wait that long; those behind it are when they
//! become first, or when their wait limit ends. When the gate opens, one call passes, and twice as
//! many with each of ten steps. The steps take five seconds at most, or as long as the pause if
//! that was shorter. So clients that were all stopped at once don't all come back at once.
//!
//! Where [`taught`](RateLimitBuilder::taught) is set, and always where a limit is [not
//! known](Quota::taught), the layer learns limits from the [headers](crate::hint#limits) of
//! answers, for the quota that [counts](Quota::of) the same resource:
//!
//! - How many units are allowed in what time: this is a second limit beside the quota, which it can
//!   only make stricter. It is lowered at once, and raised in ten steps within a window. A window
//!   that isn't observed is taken to be as long as the longest reset that is. A limit that is lower
//!   than the quota is paced over its window, a tenth of it at once: otherwise calls would use it
//!   up and wait for the window's end.
//! - How many units are left until the reset: if that is less than what was sent from here would
//!   leave, others use the same credential, and what they used is kept for them. Answers come out
//!   of order, so of several numbers for one reset the smallest counts.
//! - A call that costs more than the observed limit passes when none of that is in use, since the next
//!   answer may tell a higher one. Only a configured quota makes a cost [too high](CostAboveQuota).
//! - Of several limits of one resource, the one that is reached first says what is left, and the
//!   one with the shortest window says how fast calls may go.
//!
//! Learning takes it for granted that all calls of a key are under the same limit, so it isn't the
//! default. Where a server has several limits (GitHub's search has one of its own, and at OpenAI
//! each model has), no answer says which calls its limit is for, and the lowest would hold for all.
//! If one call in twenty is under a limit of a tenth, 14 % of the larger limit are used instead of
//! 75 %. Give each limit a [key](crate::key) of its own before you switch this on.
//!
//! [governor]: https://docs.rs/governor

mod config;
mod cost;
mod fast_path;
mod layer;
mod learned;
mod limiter;
mod meter;
mod permit;
mod queue;
mod quota;
mod quota_state;
mod service;
mod state;
mod status;

pub use self::cost::{And, Cost, CostFn, Costs, Quotas, Settle, Settled, UnitCost};
pub use self::layer::RateLimitBuilder;
pub use self::layer::RateLimitLayer;
pub use self::permit::Usage;
pub use self::quota::Quota;
pub use self::service::RateLimit;
pub use self::service::ResponseFuture;
pub use self::status::{LimitStatus, RateLimitHandle, RateLimitStatus};
pub use crate::error::{CostAboveQuota, RateLimited, RateLimitedReason};
