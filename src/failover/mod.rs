//! Several regions, and a caller who doesn't notice that one is gone.
//!
//! A [`FailoverLayer`] sends each call to the healthy region of the smallest
//! (priority, latency), and, where a region fails, the same call to the next one,
//! the ones already tried left out. With no region healthy, the primary is
//! called all the same.
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
//! the set. [`FailoverLayer::services`] has one client a region, and rewrites nothing.
//!
//! # When it goes elsewhere
//!
//! When the region is at fault: it is overloaded, can't be reached, times out, breaks off,
//! or its circuit is open; a 429 only where quota is
//! [per region](FailoverBuilder::quota_per_region). And when it is safe: what may have been processed and isn't
//! idempotent isn't sent twice unless you say so.
//!
//! # Health checks
//!
//! By default a region's health is what calls find out. With [`HealthChecks`] each region
//! is also asked every 10 s, through a client of the checks' own: a dead one is found before
//! a call is lost on it, and one that has recovered takes calls again at once.
//!
//! # Under a retry
//!
//! A [retry](crate::retry) above keeps the one copy of the request and counts
//! all attempts. The failover then makes one attempt at a time, and asks for the
//! next one, at once, in the next region.

mod checks;
mod choice;
mod error;
mod event;
mod future;
mod health;
mod layer;
mod region;
mod route;
mod service;
mod serving;
mod set;
mod status;
mod watch;

pub use self::checks::HealthChecks;
pub use self::error::RegionsExhausted;
pub use self::event::{FailoverEvent, FailoverEventKind};
pub use self::future::ResponseFuture;
pub use self::layer::{FailoverBuilder, FailoverLayer};
pub use self::region::{Region, Regions};
pub use self::route::{Route, Target};
pub use self::service::{Failover, FailoverServices};
pub use self::serving::{HasExtensions, IfAsked, InResponse, ServingRegion, TellRegion, Untold};
pub use self::status::{FailoverHandle, RegionStatus};
