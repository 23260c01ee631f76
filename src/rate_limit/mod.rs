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
//! [governor] decides each admission, on tokio's clock. A plain quota is
//! strict: never more than its limit in *any* window. One with a
//! [`burst`](Quota::burst) is paced by GCRA. Waiting calls are served first
//! come, first served, at two wake-ups a grant at most, however many wait. A call that never left
//! gives back what it took: the circuit below was open, the connection was refused, the caller
//! gave up while it was still here. One that is dropped after it was passed on stays spent, though
//! it may have waited in a layer below: nobody tells of it.
//!
//! What a call took counts in time from when it is sent. Where the inner service
//! isn't ready, a call that has its permit waits for that too, and what it took
//! is kept for it; if the server closes the gate meanwhile, it gives that back and waits again.
//!
//! How long a call would wait is foreseen on arrival by the units that are wanted before it.
//! Where costs don't add up to whole quotas (of 10, two calls of 6 can't share a window) it takes
//! longer than was foreseen, and a call can be turned away when its turn comes. A place is held, and
//! foreseen, until its call is dropped. So waiting calls must be polled: one that is kept and
//! isn't, as in a `buffered` stream that nobody reads, stops all behind it when its turn comes,
//! and is in others' foreseen waits till then. Calls in tasks of their own do well.
//!
//! Several quotas are taken [all or none](RateLimitBuilder::and): requests, tokens, money. What
//! a call costs is estimated from its request, and [settled](RateLimitBuilder::settle_fn) when its
//! answer tells: the rest comes back, or is owed. A quota can be
//! [changed](RateLimitHandle::set_quota) while calls wait.
//!
//! # What the server says
//!
//! A 429 that says when to come back closes the gate: no call of that key
//! passes before, from whichever clone it comes. A quota that is exhausted closes it for a minute
//! where the answer doesn't say for how long; both are bounded by
//! [`max_pause`](RateLimitBuilder::max_pause). The first in line is turned away then if it can't
//! wait so long; those behind it when they are first, or when their patience ends. When the gate opens, one passes, and
//! within five seconds or the pause, if that was shorter, twice as many with each of ten
//! steps: clients that were all stopped at once don't all come back at once.
//!
//! Where it is to, and always where a limit is [not known](Quota::taught), the layer is
//! [taught](RateLimitBuilder::taught) limits by answers' [headers](crate::hint#limits), for the quota that
//! [counts](Quota::of) the same:
//!
//! - How many are allowed in what time is kept beside the quota, which it can only
//!   make stricter. It is lowered at once, and raised in ten steps within a window. A window that
//!   isn't told is as long as the longest reset that is. What is lower than the quota is spread
//!   over the window, a tenth of it at once: calls would else use it up and wait for its end.
//! - What is left until the reset: where it is less than can be left after what was sent
//!   from here, others use the same credential, and what they used is kept for them. Answers come out
//!   of order: of one reset the smallest number counts.
//! - A call that costs more than is told passes when none of that is in use: the next answer may tell
//!   better. Only what is configured makes a cost [too high](CostAboveQuota).
//! - Of several limits of one resource the one that is reached first says what is left, and
//!   the one of the shortest window how fast calls may go.
//!
//! That takes it that all calls of a key are under the same limit, and so it isn't the default.
//! Where a server has several (GitHub's search has one of its own, and at OpenAI each model has),
//! no answer says which calls its limit is for, and the lowest would hold for all: with one call in
//! twenty under a limit of a tenth, 14 % of the larger limit are used instead of 75 %. Give
//! each a [key](crate::key), and be taught.
//!
//! [governor]: https://docs.rs/governor

mod account;
mod bill;
mod books;
mod builder;
mod ceiling;
mod cost;
mod desk;
mod error;
mod event;
mod future;
mod gate;
mod lane;
mod layer;
mod limiter;
mod meter;
mod permit;
mod queue;
mod quota;
mod rules;
mod server;
mod service;
mod status;
mod usage;

pub use self::builder::RateLimitBuilder;
pub use self::cost::{And, Cost, CostFn, Costs, OneEach, Quotas, Settle, Settled};
pub use self::error::{CostAboveQuota, RateLimited, RateLimitedReason};
pub use self::event::{RateLimitEvent, RateLimitEventKind};
pub use self::future::ResponseFuture;
pub use self::layer::RateLimitLayer;
pub use self::quota::Quota;
pub use self::service::RateLimit;
pub use self::status::{LimitStatus, RateLimitHandle, RateLimitStatus};
pub use self::usage::Usage;
