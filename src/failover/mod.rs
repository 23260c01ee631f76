//! Several regions behind one client: when one fails, its calls go to the next.
//!
//! A [`FailoverLayer`] sends each call to a healthy region of the best priority. If that region
//! fails, the same call goes to the next one that it hasn't tried. When no region is healthy, the call
//! goes to the primary all the same.
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
//! let result = client.ready().await?.call(http::Request::get("/models").body(())?).await?;
//! assert_eq!(result.status(), 200);
//! # Ok(()) }
//! ```
//!
//! # Two forms
//!
//! **One client for all regions.** This is the failover as a layer. It rewrites each request's
//! scheme, host, path prefix and `Host` header to those of the region that takes it. A request for a
//! URI under one region's base means the same place in every region. Any other URI is taken as
//! relative to the base. So no request, and no credential, goes to a host outside the set. A client
//! that follows redirects by itself, as reqwest's does by default, goes where they lead: give it
//! `redirect::Policy::none()` if it must not.
//!
//! **One client per region**, with [`FailoverLayer::services`]. Nothing is rewritten. A client that
//! isn't ready, as its own limit is reached or it is connecting, holds up no call: the call waits for
//! it and for the next choices side by side, and takes the first that is ready. Not to be ready yet is
//! no failure of the region. An error in getting ready is one, but as nothing was sent, any
//! call may go elsewhere then.
//!
//! # Which region
//!
//! The best priority comes first. Among equals the failover draws two by random and takes the better
//! one, by smoothed latency and the calls under way: if every client took the best of all, they would
//! all go to the same one. Latency is that on the wire, without time in this crate's own queues. It
//! counts half after each 10 s without a measurement, so that a slow region is tried
//! again. Alternatively, the calls of one key [keep to one region](FailoverBuilder::sticky).
//!
//! # When a call goes elsewhere
//!
//! Two things must hold:
//!
//! - The region is at fault: it is overloaded, can't be reached, times out, breaks off, or its circuit
//!   is open. A 429 counts only where the quota is [per region](FailoverBuilder::quota_per_region).
//! - It is safe: a request that may have been processed, and isn't idempotent, isn't sent twice unless
//!   [you say so](FailoverBuilder::retry_non_idempotent).
//!
//! Before a call fails, it is also sent to regions that are out, as they may have recovered without
//! anybody knowing. It isn't sent to a region whose server asked to be left alone.
//!
//! # A region's timeline
//!
//! ```text
//!            a failure                  the cooldown is over, or a check
//!    fit ─────────────────▶ out ──────────────────────────────▶ probing
//!     ▲                    ▲  ▲                                  │    │
//!     │                    │  └── a failure: twice as long ──────┘    │
//!     │                    │                                          │
//!     │     a failure: twice as long                                  │
//!     │                    │                                          │
//!     └──── in time ── ramping ◀────────────── good calls ────────────┘
//! ```
//!
//! - **Out** for a cooldown, or for as long as its server asked if that is longer. The cooldown doubles
//!   each time the region fails again before it has come back fully. Up to a tenth is added at random,
//!   so that a fleet doesn't come back together. Where a 429 or an open circuit says how long to wait,
//!   that is the whole time out.
//! - **Probing**: it takes one call at a time from each process. By default one success is enough to
//!   make it healthy, and one failure takes it out. A response that rejects the request,
//!   or requests a pause, is a success: the region is alive.
//! - **Ramping** its share of the calls grows, from a tenth to all, by default in 30 s.
//!
//! A late result changes nothing: a call that was sent before the region was lost, or before it
//! was back, says nothing about how it is now.
//!
//! A [handle](FailoverHandle) shows how each region is, adds and removes regions while calls go
//! on, forces one in or out, or drains it.
//!
//! Below the failover the call's region is [`CallScope::region`](crate::scope::CallScope::region). To
//! find it in the response, put [`ServingRegion::insert_into`] between the failover and its client.
//!
//! # Options
//!
//! | option | default | |
//! |---|---|---|
//! | [`max_attempts`](FailoverBuilder::max_attempts) | 3 | regions that one call tries |
//! | [`cooldown`](FailoverBuilder::cooldown), [`max_cooldown`](FailoverBuilder::max_cooldown) | 10 s, 5 min | how long a region is out, at first and at most |
//! | [`hint_cap`](FailoverBuilder::hint_cap) | 5 min | how long a server can ask for |
//! | [`good_calls`](FailoverBuilder::good_calls) | 1 | successful probes until a region is healthy |
//! | [`ramp`](FailoverBuilder::ramp) | 30 s | how long its share grows after that |
//! | [`when_all_out`](FailoverBuilder::when_all_out) | the primary | what a call does when no region is fit |
//! | [`sticky`](FailoverBuilder::sticky) | no | calls of one key keep to one region |
//! | [`quota_per_region`](FailoverBuilder::quota_per_region) | no | a 429 goes elsewhere |
//! | [`leave_when_asked_to_wait`](FailoverBuilder::leave_when_asked_to_wait) | never | a 429 with a long hint goes elsewhere |
//! | [`retry_non_idempotent`](FailoverBuilder::retry_non_idempotent) | no | sends twice what may have been processed |
//! | [`health_checks`](FailoverBuilder::health_checks) | none | |
//!
//! # Health checks
//!
//! By default only calls find out how a region is. With [`HealthChecks`] each region
//! is also asked every 10 s, through a client of the checks' own: a dead one is found before
//! a call is lost on it, and one that has recovered is probed at once. A body that stalls after
//! its head is found by [`watch_bodies`](FailoverHandle::watch_bodies).
//!
//! # Under a retry
//!
//! A [retry](crate::retry) above keeps the one copy of the request and counts
//! all attempts. The failover then makes one attempt at a time, and asks the retry to make the
//! next one at once, in the next region. When no region is fit, it is the retry that waits for one:
//! with [`WhenAllOut::FailFast`] it is data for how long.
//!
//! An attempt that the retry cuts off counts as a timeout of its region, whether the attempt's own
//! timeout ended it or the call's deadline, however little of that was left. So calls that give up
//! sooner than a region usually responds take it out for all others. An attempt that is cut off in one
//! of this crate's own queues says nothing about the region.
//!
//! # Without a retry
//!
//! A failover alone keeps a copy of the request and tries the regions itself. It keeps to what the
//! request [asks for](crate::replay::Override): it tries no more regions than that allows attempts, and
//! no further one once its deadline has passed. It does less than a retry:
//!
//! - It ends no attempt for taking long, not even at the deadline: that would take a timer for each
//!   call. Put tower's timeout below it, where it times each attempt. A timeout above it looks like a
//!   caller that gave up, which says nothing about the region, so a region that hangs would be called
//!   again and again.
//! - It doesn't repeat a call in the region that failed, and has no budget: each region gets a call
//!   once.
//! - It writes no headers, so no idempotency key. It understands one that the caller has set.
//!
//! The same holds below another failover, such as one over providers that each have regions. A retry
//! above moves the call among the regions of the outer failover, and each of its attempts may try several
//! of the inner one. The failover of a [recommended stack](crate::stack) keeps no copy, and tries
//! one.

mod body_watch;
mod checks;
mod config;
mod future;
mod handle;
mod health;
mod layer;
mod ready_race;
mod region;
mod region_state;
mod request_state;
mod route;
mod selection;
mod service;
mod set;
mod shared;
mod waiting;

pub use self::body_watch::{BodyWatch, BodyWatchFuture, BodyWatchLayer, WatchedBody};
pub use self::checks::HealthChecks;
pub use self::future::ResponseFuture;
pub use self::handle::FailoverHandle;
pub use self::handle::{Condition, RegionStatus};
pub use self::layer::FailoverBuilder;
pub use self::layer::FailoverLayer;
pub use self::region::{Region, Regions};
pub use self::route::{Route, Target};
pub use self::selection::WhenAllOut;
pub use self::service::ServingRegion;
pub use self::service::{Failover, FailoverServices};
pub use crate::error::{NoRegionAvailable, RegionOutcome, RegionsExhausted};
