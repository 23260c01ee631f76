//! The recommended stack, from one builder.
//!
//! An [`UpstreamLayer`] is the five layers in the [right order](crate#why-this-order),
//! with one verdict, one name and one set of observers for all. Their settings are checked
//! against each other. The stack goes over any client for HTTP or gRPC.
//!
//! ```
//! use std::time::Duration;
//!
//! use tower::{Service, ServiceExt, service_fn};
//! use tower_upstream::failover::{Region, Regions};
//! use tower_upstream::Upstream;
//! use tower_upstream::{BoxError, Quota, UpstreamLayer};
//!
//! # #[derive(Clone)]
//! # struct Client;
//! # impl Service<http::Request<String>> for Client {
//! #     type Response = http::Response<String>;
//! #     type Error = std::io::Error;
//! #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> { std::task::Poll::Ready(Ok(())) }
//! #     fn call(&mut self, request: http::Request<String>) -> Self::Future {
//! #         assert_eq!(request.uri(), "https://api.example.com/v1/models");
//! #         std::future::ready(Ok(http::Response::new(String::new())))
//! #     }
//! # }
//! /// Calls the upstream. `Client` is any tower client: reqwest's, hyper-util's ..
//! struct Caller {
//!     upstream: Upstream<Client>,
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let upstream = UpstreamLayer::builder()
//!     .name("provider")
//!     .deadline(Duration::from_secs(60))
//!     .attempt_timeout(Duration::from_secs(20))
//!     .quota(Quota::per_minute(60))
//!     .regions(Regions::new([
//!         Region::new("us-west-2", "https://api.example.com/v1").priority(1),
//!         Region::new("eu-west-1", "https://eu-api.example.com/v1").priority(2),
//!     ])?)
//!     .build()?;
//!
//! # let client = Client;
//! let mut caller = Caller { upstream: upstream.over(client) };
//! let request = http::Request::get("/models").body(String::new())?;
//! let response = caller.upstream.ready().await?.call(request).await?;
//! # assert_eq!(response.status(), 200);
//! # Ok(()) }
//! ```
//!
//! # What is in it
//!
//! | from the outside in | present if | by default |
//! |---|---|---|
//! | [alert](crate::alert) | [`alerts`](UpstreamBuilder::alerts) are given | none |
//! | [retry](crate::retry) | always | as [`RetryLayer::new`](crate::RetryLayer::new), with a deadline of 2 minutes |
//! | [failover](crate::failover) | [`regions`](UpstreamBuilder::regions) are given | none |
//! | [rate limit](crate::rate_limit) | always | by credential; [no quota](UpstreamBuilder::quota), but a 429's hint holds back all calls of its key |
//! | [circuit breaker](crate::circuit_breaker) | always | one circuit per region, or per host where there are no regions |
//! | attempt timeout | always | 30 s |
//!
//! A closure changes each part's own settings. It is given the part as it is, and what it doesn't
//! touch stays: [`retry`](UpstreamBuilder::retry), [`failover`](UpstreamBuilder::failover),
//! [`rate_limit`](UpstreamBuilder::rate_limit), [`circuit_breaker`](UpstreamBuilder::circuit_breaker).
//! Where that isn't enough, stack the layers yourself: the stack is no more than a `ServiceBuilder`
//! of the same layers.
//!
//! A layer between the stack and the client sees single attempts. To limit how many are in flight,
//! put tower's `ConcurrencyLimitLayer` there: an attempt holds its permit, but a call that waits for
//! its next attempt, or for its turn in the quota, holds none.
//!
//! To find in a response which region served it:
//!
//! ```
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_upstream::failover::{Region, Regions, ServingRegion};
//! use tower_upstream::{BoxError, UpstreamLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! # let client = service_fn(|_: http::Request<()>| async {
//! #     Ok::<_, BoxError>(http::Response::new(()))
//! # });
//! let regions = Regions::new([Region::new("us-west-2", "https://api.example.com/v1")])?;
//! let upstream = UpstreamLayer::builder().regions(regions).build()?;
//! let client = upstream.over(
//!     ServiceBuilder::new().map_response(ServingRegion::insert_into).service(client),
//! );
//!
//! let response = client.oneshot(http::Request::get("/models").body(())?).await?;
//! assert_eq!(response.extensions().get(), Some(&ServingRegion("us-west-2")));
//! # Ok(()) }
//! ```
//!
//! # Callers that wait for less
//!
//! A call that its caller drops says nothing about the upstream, nor does one that its deadline
//! ends. So if callers stop waiting (at the deadline, or by a timeout of their own above the stack)
//! before the attempt timeout passes, an upstream that hangs opens no circuit. Set the
//! breaker from when on a dropped attempt counts as a failure:
//!
//! ```
//! use std::time::Duration;
//! use tower_upstream::UpstreamLayer;
//!
//! // Callers wait for 5 s. An attempt that they drop after 3 s or more has failed.
//! let upstream = UpstreamLayer::builder()
//!     .circuit_breaker(|breaker| breaker.abandoned_after(Duration::from_secs(3)))
//!     .build()?;
//! # let _ = upstream;
//! # Ok::<_, tower_upstream::InvalidConfig>(())
//! ```
//!
//! # What is checked
//!
//! [`build`](UpstreamBuilder::build) refuses settings that can't work together:
//!
//! - An attempt may take as long as the whole call: a server that hangs would cost the
//!   call, with no time for another attempt.
//! - The attempts of one call can open a circuit before they are used up: a
//!   single bad request would shut everybody out.
//! - The limiter lets calls through sooner than the server asked, while the retry still waits.
//! - A deadline or a timeout is set twice, differently.
//! - The failover is changed, but has no regions.
//!
//! One setting is corrected instead: the circuit's probes get at least as much time as an attempt.
//!
//! # Its type
//!
//! [`Upstream`] is a named type, is `Clone`, and fits in a field. To hide the client's type too, use
//! `tower::util::BoxCloneSyncService::new(upstream)`.

mod builder;
mod check;
mod layer;
mod service;

pub use self::builder::UpstreamBuilder;
pub use self::layer::UpstreamLayer;
pub use self::service::{Upstream, UpstreamServices};
