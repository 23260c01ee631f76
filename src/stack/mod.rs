//! The recommended stack, from one builder.
//!
//! An [`UpstreamLayer`] is the five layers in the [right order](crate#why-this-order),
//! with one verdict, one name and one set of observers for all, and their settings checked
//! against each other. It goes over any client for HTTP or gRPC.
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
//! /// Whoever calls the upstream. `Client` is any tower client: reqwest's, hyper-util's ..
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
//! let answer = caller.upstream.ready().await?.call(request).await?;
//! # assert_eq!(answer.status(), 200);
//! # Ok(()) }
//! ```
//!
//! # What is in it
//!
//! | from the outside in | there if | by default |
//! |---|---|---|
//! | [alert](crate::alert) | [`alerts`](UpstreamBuilder::alerts) are given | none |
//! | [retry](crate::retry) | always | as [`RetryLayer::new`](crate::RetryLayer::new), with a deadline of 2 minutes |
//! | [failover](crate::failover) | [`regions`](UpstreamBuilder::regions) are given | none |
//! | [rate limit](crate::rate_limit) | always | by credential; [no quota](UpstreamBuilder::quota), but a 429's hint stops all calls of its key |
//! | [circuit breaker](crate::circuit_breaker) | always | a circuit a region, or a host where there are no regions |
//! | attempt timeout | always | 30 s |
//!
//! Each part's own settings are changed by a closure. It is given the part as it is, so settings that
//! it doesn't touch stay: [`retry`](UpstreamBuilder::retry), [`failover`](UpstreamBuilder::failover),
//! [`rate_limit`](UpstreamBuilder::rate_limit), [`circuit_breaker`](UpstreamBuilder::circuit_breaker).
//! Where that isn't enough, stack the layers yourself: this is a `ServiceBuilder` of the same
//! layers, and no more.
//!
//! What goes between the stack and the client sees single attempts: a limit on those in flight
//! is tower's `ConcurrencyLimitLayer` there. It is held for the attempt, and not while a call
//! waits to be repeated or for its turn in the quota.
//!
//! # Callers that wait for less
//!
//! A call that its caller drops says nothing of the upstream, nor does one that is cut off by
//! its deadline. So where callers stop waiting, by that or by a timeout
//! of theirs above the stack, before an attempt is timed out, a client that hangs opens no circuit. Tell the
//! breaker how long is too long for an attempt that is dropped:
//!
//! ```
//! use std::time::Duration;
//! use tower_upstream::UpstreamLayer;
//!
//! // Callers wait for 5 s: what they drop after 3 s and more has failed.
//! let upstream = UpstreamLayer::builder()
//!     .circuit_breaker(|breaker| breaker.abandoned_after(Duration::from_secs(3)))
//!     .build()?;
//! # let _ = upstream;
//! # Ok::<_, tower_upstream::InvalidConfig>(())
//! ```
//!
//! # What is checked
//!
//! [`build`](UpstreamBuilder::build) refuses what can't work together:
//!
//! - an attempt that may take as long as the whole call, so that a server that hangs costs the
//!   call, and no other attempt is made;
//! - a circuit that the attempts of one call open before they are used up, so that a
//!   single bad request closes the upstream to everybody;
//! - a limiter that lets calls through sooner than the server asked, while the retry still waits;
//! - a deadline or a timeout that is set twice, differently.
//!
//! What can be mended is mended: the circuit's probes have at least an attempt's time.
//!
//! # Its type
//!
//! [`Upstream`] is named, `Clone`, and fits in a field. Where even the client's type should be
//! out of sight, `tower::util::BoxCloneSyncService::new(upstream)` hides all of it.

mod builder;
mod check;
mod layer;
mod service;

pub use self::builder::UpstreamBuilder;
pub use self::layer::UpstreamLayer;
pub use self::service::{Upstream, UpstreamServices};
