//! Keeps calls below the provider's limit, and uses all of it.
//!
//! A client without a local limit finds the provider's limit by exceeding it: every call above it is
//! answered with a 429, and providers suspend credentials for that. A [`RateLimitLayer`] keeps a
//! [`Quota`] on the client's side. Calls pass while units remain. Other calls wait in order of
//! arrival, or are rejected at once if they would wait too long.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_upstream::{BoxError, Quota, RateLimitLayer, cause_ref, rate_limit::RateLimited};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! // The provider allows 60 requests a minute per credential. No call waits for more than 10 s.
//! let limit = RateLimitLayer::builder(Quota::per_minute(60))
//!     .by_credential()
//!     .max_wait(Duration::from_secs(10))
//!     .build()?;
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
//! [governor] decides each admission, on tokio's clock. A plain quota is strict: it never passes more
//! than its limit in *any* window. A quota with a [`burst`](Quota::burst) is paced by GCRA. Waiting
//! calls are served first in, first out. Each admission wakes one call at most twice, however many
//! calls wait.
//!
//! The units of a call that was never sent are refunded: the circuit below was open, the connection
//! was refused, or the caller dropped the call while it waited here. The units of a call that is
//! dropped after it was passed to the inner service stay spent. It may have waited in a layer below,
//! but this layer isn't notified of that.
//!
//! Units count in time from when the call is sent. If the inner service isn't ready, an admitted call
//! waits for it, and its units stay reserved. If the server requests a pause meanwhile, the call
//! releases its units and waits again.
//!
//! The wait of a call is predicted on arrival, from the units that waiting calls will take. Where
//! costs don't add up to whole quotas (two calls of 6 can't share a window of 10), the wait is longer
//! than predicted, and a call can be rejected when it reaches the head of the queue.
//!
//! A call keeps its position in the queue until it is dropped, so waiting calls must be polled. A
//! call that isn't polled, as in a `buffered` stream that isn't read, blocks all calls behind it once
//! it is the head, and until then prolongs their predicted waits. Calls in tasks of their own are
//! always polled.
//!
//! Several quotas are taken [atomically](RateLimitBuilder::and): requests, tokens, money. A call's
//! cost is estimated from its request, and [settled](RateLimitBuilder::settle_fn) once its response
//! states the real cost: excess units are refunded, missing units are owed. A quota can be
//! [replaced](RateLimitHandle::set_quota) while calls wait.
//!
//! # Pauses
//!
//! A 429 with a hint closes the throttle gate of its key: no call of that key passes before that
//! time, from any clone. An exhausted quota closes the gate for a minute if its response has no hint.
//! [`max_pause`](RateLimitBuilder::max_pause) limits both. If the pause exceeds the wait limit of the
//! call at the head of the queue, the call is rejected. Calls behind it are rejected when they become
//! the head, or when their wait limits expire.
//!
//! When the gate opens, one call passes, and twice as many with each of ten steps. This ramp-up takes
//! up to five seconds, or as long as the pause if that was shorter. So clients that were paused
//! together don't return together.
//!
//! # Learned limits
//!
//! With [`learn_limits`](RateLimitBuilder::learn_limits), and always for a [learned
//! quota](Quota::learned), the layer learns limits from the [headers](crate::hint#limits) of
//! responses, for each quota that [counts](Quota::of) the same resource:
//!
//! - The limit and its window. They are a second limit beside the quota, which can only make it
//!   stricter. The learned limit is lowered at once, and raised in ten steps within a window. A
//!   window that isn't reported counts as long as the longest reset that is. A learned limit below
//!   the quota is paced over its window, with a burst of a tenth. Otherwise calls would use it up at
//!   once, and then wait for the end of the window.
//! - The units that remain until the reset. If they are fewer than this client's calls would leave,
//!   other clients use the same credential, and their share is reserved. Responses arrive out of
//!   order, so the smallest number that is reported for one reset is used.
//!
//! A call that costs more than the learned limit passes when none of that limit is in use, as its
//! response may report a higher limit. Only the configured quota makes a cost [too
//! high](CostAboveQuota). Of several limits of one resource, the one that is reached first determines
//! the remaining units, and the one with the shortest window determines the rate.
//!
//! Learning assumes that all calls of a key are under the same limit, so it is off by default. Where
//! a server has several limits (GitHub has a separate one for search, OpenAI one for each model), no
//! response states which calls its limit applies to, and the lowest would apply to all. If one call
//! in twenty is under a limit of a tenth, 14 % of the larger limit are used instead of 75 %. Give
//! each limit its own [key](crate::key) before enabling it.
//!
//! [governor]: https://docs.rs/governor

mod config;
mod cost;
mod fast_path;
mod handle;
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

pub use self::cost::{AndCost, Cost, CostFn, Costs, UnitCost};
pub use self::handle::{LimitStatus, RateLimitHandle, RateLimitStatus};
pub use self::layer::{RateLimitBuilder, RateLimitLayer};
pub use self::permit::{Settle, SettledCost, Usage};
pub use self::quota::Quota;
pub use self::service::{RateLimit, ResponseFuture};
pub use crate::error::{CostAboveQuota, RateLimited, RateLimitedReason};
