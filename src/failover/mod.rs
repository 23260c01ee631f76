//! Several regions, and a caller who doesn't notice that one is gone.
//!
//! A [`FailoverLayer`] sends each call to a healthy region of the best priority, and,
//! where a region fails, the same call to the next one, the ones already tried left
//! out. With no region healthy, the primary is called all the same.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_upstream::failover::{FailoverLayer, Region, Regions};
//! use tower_upstream::BoxError;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let regions = Regions::new([
//!     Region::new("us-west-2", "https://api.example.com/v1").priority(1),
//!     Region::new("eu-west-1", "https://eu-api.example.com/v1").priority(2),
//! ])?;
//!
//! // The primary is down.
//! let mut client = ServiceBuilder::new().layer(FailoverLayer::new(regions)).service(service_fn(
//!     |request: http::Request<()>| async move {
//!         let status = if request.uri().host() == Some("eu-api.example.com") { 200 } else { 503 };
//!         assert_eq!(request.uri().path(), "/v1/models");
//!         Ok::<_, BoxError>(http::Response::builder().status(status).body(())?)
//!     },
//! ));
//!
//! let answer = client.ready().await?.call(http::Request::get("/models").body(())?).await?;
//! assert_eq!(answer.status(), 200);
//! # Ok(()) }
//! ```
//!
//! # Two forms
//!
//! As a layer it has one client, and rewrites each request's scheme, host, path prefix
//! and `Host` header to the region that takes it. A request for a URI
//! under one region's base means the same place in each; any other is taken as
//! relative to the base, so that no request, and no credential, goes to a host outside
//! the set. [`FailoverLayer::services`] has one client a region, and rewrites nothing. A client that
//! isn't ready (its own limit is reached, it is connecting) holds up no call: as long as it isn't,
//! the next choice of the regions that take calls, or of one that is back meanwhile, may be ready
//! sooner. That isn't a failure. To fail to get
//! ready is one; but nothing was sent, so that any call goes elsewhere.
//!
//! A client that follows redirects of itself, as reqwest's does by default, goes where those lead:
//! give it `redirect::Policy::none()` if it must not.
//!
//! # Which region
//!
//! The best priority first. Among equals the better of two that are drawn by chance, by smoothed
//! latency and the calls under way there: to take the best of all would send every
//! client to the same one. Latency is that on the wire, never time in a queue of this
//! crate, and counts half with each 10 s in which nothing was measured, so that a region that was
//! slow is tried again. Or the calls of one key [keep to one region](FailoverBuilder::sticky).
//!
//! # When it goes elsewhere
//!
//! When the region is at fault: it is overloaded, can't be reached, times out, breaks off,
//! or its circuit is open; a 429 only where quota is
//! [per region](FailoverBuilder::quota_per_region). And when it is safe: what may have been processed and isn't
//! idempotent isn't sent twice unless you say so. Before a call fails, it goes to regions that
//! are out as well, but for those whose servers asked to be left alone: they may be well again by
//! now, and nobody know it.
//!
//! # A region's life
//!
//! ```text
//!            a failure                  the cooldown is over, or a check
//!    fit ─────────────────▶ out ──────────────────────────────▶ on trial
//!     ▲                    ▲  ▲                                  │    │
//!     │                    │  └── a failure: twice as long ──────┘    │
//!     │                    │                                          │
//!     │     a failure: twice as long                                  │
//!     │                    │                                          │
//!     └──── in time ── ramping ◀────────────── good calls ────────────┘
//! ```
//!
//! - **Out** for a cooldown, or as long as its server asked if that is longer. Cooldowns double while it
//!   fails again before it has quite come back, and are up to a tenth longer at random, so that a fleet
//!   doesn't come back together. Where a 429 or an open circuit says for how long, that is all.
//! - **On trial** it takes one call at a time from each process. One good call is enough by default,
//!   and one bad call too. An answer that finds the request at fault, or asks for patience, is a good one:
//!   the region is alive.
//! - **Ramping** its share of the calls grows, from a tenth to all, by default in 30 s.
//!
//! What comes late changes nothing: a call that was sent before the region was lost, or before it
//! was back, says nothing about what is now.
//!
//! A [handle](FailoverHandle) tells how each region is, adds and removes them while calls go
//! on, forces one in or out, or drains it.
//!
//! Which region served a call is known below the failover
//! ([`CallScope::region`](crate::scope::CallScope::region)). To have it told above, put
//! [`ServingRegion::insert_into`] between the failover and its client.
//!
//! # Options
//!
//! | option | default | |
//! |---|---|---|
//! | [`max_attempts`](FailoverBuilder::max_attempts) | 3 | regions that one call tries |
//! | [`cooldown`](FailoverBuilder::cooldown), [`max_cooldown`](FailoverBuilder::max_cooldown) | 10 s, 5 min | how long a region is out, at first and at most |
//! | [`hint_cap`](FailoverBuilder::hint_cap) | 5 min | how long a server can ask for |
//! | [`good_calls`](FailoverBuilder::good_calls) | 1 | what a region must serve on trial |
//! | [`ramp`](FailoverBuilder::ramp) | 30 s | how long its share grows after that |
//! | [`when_all_out`](FailoverBuilder::when_all_out) | the primary | what a call does when no region is fit |
//! | [`sticky`](FailoverBuilder::sticky) | no | calls of one key keep to one region |
//! | [`quota_per_region`](FailoverBuilder::quota_per_region) | no | a 429 goes elsewhere |
//! | [`leave_when_asked_to_wait`](FailoverBuilder::leave_when_asked_to_wait) | never | so does one with a long hint |
//! | [`retry_non_idempotent`](FailoverBuilder::retry_non_idempotent) | no | sends twice what may have been processed |
//! | [`health_checks`](FailoverBuilder::health_checks) | none | |
//!
//! # Health checks
//!
//! By default a region's health is what calls find out. With [`HealthChecks`] each region
//! is also asked every 10 s, through a client of the checks' own: a dead one is found before
//! a call is lost on it, and one that has recovered is on trial at once. That a body stalls after
//! its head is found out by [`watch_bodies`](FailoverHandle::watch_bodies).
//!
//! # Under a retry
//!
//! A [retry](crate::retry) above keeps the one copy of the request and counts
//! all attempts. The failover then makes one attempt at a time, and asks for the
//! next one, at once, in the next region. To wait for a region when none is fit is the
//! retry's to do: with [`WhenAllOut::FailFast`] it knows for how long.
//!
//! An attempt that the retry ends counts as a timeout of its region, be it for the attempt's own timeout
//! or for the deadline, however little of that was left. Calls that give up sooner than a region mostly
//! answers take it out for all others.
//!
//! # Without a retry
//!
//! A failover alone keeps a copy of the request and tries the regions itself. It goes by what a
//! request [asks for](crate::replay::Override): no more regions than attempts, and no other one once
//! its deadline has passed. But:
//!
//! - It ends no attempt for taking long, not even at the deadline: that takes a timer a call, which
//!   tower's timeout is. It belongs below, for each attempt: one above looks like a caller who gave up, which
//!   says nothing of the region, so that one that hangs would be called again and again.
//! - It doesn't repeat in the region that failed, and has no budget: each region gets a call once.
//! - It writes no headers, so no idempotency key. One that the caller has set is understood.
//!
//! So it is too below another failover, such as one over providers that have regions each: a retry above
//! moves the call among those of the outer one, and each of its attempts may try several of the inner one.
//! But one of the [recommended stack](crate::stack) has no copy, and tries one.

mod body_watch;
mod builder;
mod checks;
mod choice;
mod error;
mod event;
mod future;
mod handle;
mod health;
mod journey;
mod latency;
mod layer;
mod live_region;
mod outcome;
mod probe;
mod readying;
mod region;
mod route;
mod rules;
mod search;
mod service;
mod serving;
mod set;
mod shared;
mod slots;
mod standing;
mod status;
mod traffic;
mod waiting;
mod watch;

pub use self::body_watch::{BodyWatch, BodyWatchFuture, BodyWatchLayer, WatchedBody};
pub use self::builder::FailoverBuilder;
pub use self::checks::HealthChecks;
pub use self::choice::WhenAllOut;
pub use self::error::{AllRegionsOut, RegionsExhausted};
pub use self::event::{FailoverEvent, FailoverEventKind};
pub use self::future::ResponseFuture;
pub use self::handle::FailoverHandle;
pub use self::layer::FailoverLayer;
pub use self::outcome::RegionOutcome;
pub use self::region::{Region, Regions};
pub use self::route::{Route, Target};
pub use self::service::{Failover, FailoverServices};
pub use self::serving::ServingRegion;
pub use self::status::{Condition, RegionStatus};
