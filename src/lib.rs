//! Tower layers for calls to an upstream that you do not control.
//!
//! A provider times out, then answers 429, then suspends the key because the
//! client retried without end. These layers stand between your code and such
//! an API. Each is useful alone; together they act on one
//! [verdict](classify) about each answer, emit one stream of
//! [events](event), and keep time on one clock, tokio's, so that a paused test
//! drives them all.
//!
//! ```
//! # #[cfg(all(feature = "retry", feature = "rate-limit", feature = "circuit-breaker"))]
//! # fn main() -> Result<(), tower_upstream::InvalidConfig> {
//! use std::time::Duration;
//! use tower::{ServiceBuilder, timeout::TimeoutLayer};
//! use tower_upstream::{CircuitBreakerLayer, Quota, RateLimitLayer, RetryLayer};
//!
//! # let your_client = tower::service_fn(|_: http::Request<String>| async {
//! #     Ok::<_, std::io::Error>(http::Response::new(String::new()))
//! # });
//! let client = ServiceBuilder::new()
//!     .layer(RetryLayer::builder().deadline(Duration::from_secs(60)).build()?)
//!     .layer(RateLimitLayer::new(Quota::per_minute(60)))
//!     .layer(CircuitBreakerLayer::new())
//!     .layer(TimeoutLayer::new(Duration::from_secs(30)))
//!     .service(your_client);
//! # fn check<S: tower::Service<http::Request<String>>>(_: S) {}
//! # check(client);
//! # Ok(()) }
//! # #[cfg(not(all(feature = "retry", feature = "rate-limit", feature = "circuit-breaker")))]
//! # fn main() {}
//! ```
//!
//! `your_client` is any tower service: hyper-util's client, `reqwest::Client`, a
//! tonic `Channel`, an axum `Router`, a `service_fn`. It must be `Clone`, and its
//! error must convert into [`BoxError`]. [`UpstreamLayer`] is all of this, with regions
//! and alerts, from one builder that checks the settings against each other; its [module](stack) says more.
//!
//! # Why this order
//!
//! From the outside in, each layer sees what it must see:
//!
//! 1. **[Retry](retry)** repeats everything below it, so that each attempt takes
//!    its place in the limit and asks the circuit anew. There is one retry loop:
//!    turn off the client's own.
//! 2. **Failover** decides which region takes the attempt.
//! 3. **[Rate limit](rate_limit)**: every attempt spends quota. Above the breaker,
//!    so that time in our own queue isn't taken for the upstream's, and a
//!    call that waited isn't sent into a circuit that has opened since; an open
//!    circuit gives the permit back.
//! 4. **[Circuit breaker](circuit_breaker)** decides when the request is sent.
//! 5. The **attempt's timeout**, tower's own, below the breaker, so that it sees
//!    timeouts.
//!
//! Outermost of all goes the [alert layer](alert), which observes what the caller received and notifies
//! people; it isn't needed for the others to work.
//!
//! # Beyond HTTP
//!
//! The layers name no request, response or error type. For a service that
//! doesn't use HTTP, set how results are classified and requests repeated, and where credentials are:
//!
//! ```
//! # #[cfg(all(feature = "retry", feature = "circuit-breaker"))]
//! # {
//! use tower::ServiceBuilder;
//! use tower_upstream::classify::ErrorClassifier;
//! use tower_upstream::key::AllCalls;
//! use tower_upstream::{BoxError, CircuitBreakerLayer, RetryLayer};
//!
//! # fn main() -> Result<(), BoxError> {
//! let breaker = CircuitBreakerLayer::builder()
//!     .classifier(ErrorClassifier::new())
//!     .credential(AllCalls) // There are none to latch.
//!     .build()?;
//! let client = ServiceBuilder::new()
//!     .layer(RetryLayer::builder().replay_clone().classifier(ErrorClassifier::new()).build()?)
//!     .layer(breaker)
//!     .service_fn(|number: u32| async move { Ok::<_, std::io::Error>(number + 1) });
//! # fn check<S: tower::Service<u32>>(_: S) {}
//! # check(client);
//! # Ok(()) }
//! # main().unwrap();
//! # }
//! ```
//!
//! # When a stack doesn't compile
//!
//! `client.ready()` and `.oneshot(request)` only say that a bound isn't met.
//! [`check`] says which, and what to do:
//!
//! ```
//! # #[cfg(feature = "retry")] {
//! # use tower::ServiceBuilder;
//! # use tower_upstream::RetryLayer;
//! # let your_client = tower::service_fn(|_: http::Request<String>| async {
//! #     Ok::<_, std::io::Error>(http::Response::new(()))
//! # });
//! let client = ServiceBuilder::new().layer(RetryLayer::new()).service(your_client);
//! let client = tower_upstream::check::<http::Request<String>, _>(client);
//! # let _ = client;
//! # }
//! ```
//!
//! Where the *inner* service's type names `BoxError` (a `service_fn` whose closure
//! returns it, a boxed service), a stack used inside `tokio::spawn(async { .. })` fails
//! with "implementation of `From` is not general enough", as tower's own `Timeout` does: a
//! limit of the compiler. Box the stack first (`BoxCloneSyncService::new(stack)`).
//!
//! # Features
//!
//! | feature | brings | by default |
//! |---|---|---|
//! | `upstream` | all layers, and [`UpstreamLayer`] | yes |
//! | `alert`, `retry`, `failover`, `rate-limit`, `circuit-breaker`, `peek` | one layer each | by `upstream` |
//! | `tracing` | `event::TracingObserver` | |
//! | `serde` | `CircuitStatus` and `CircuitTransition` as data | |
//! | `hyper-util` | hyper's, hyper-util's and h2's errors; `http-body-util`'s bodies | |
//! | `reqwest` | `reqwest::Request`, `Response` and `Error` | |
//! | `tonic` | tonic's body and errors; rejections as `tonic::Status` | |
//! | `axum` | axum's body | |
//! | `full` | all of these | |
//!
//! Without a client's feature its errors are known by the `std::io::Error` in
//! their chain of sources, if there is one.
// Under loom tokio has no network, so clients don't build, and the models in
// tests/loom take in the files that they check: the crate itself is empty then.
#![cfg(not(loom))]
#![forbid(unsafe_code)]
#![warn(clippy::pedantic, clippy::must_use_candidate, clippy::return_self_not_must_use)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::unwrap_used))]
// Names repeat their module where tower's do (`retry::RetryLayer`).
#![allow(clippy::module_name_repetitions)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// One layer alone doesn't use all that the layers share. What none of them uses
// is found where all are built.
#![cfg_attr(
    not(all(
        feature = "alert",
        feature = "circuit-breaker",
        feature = "failover",
        feature = "peek",
        feature = "rate-limit",
        feature = "retry"
    )),
    allow(dead_code, unused_imports, unreachable_code)
)]

#[cfg(feature = "alert")]
pub mod alert;
mod call_state;
#[cfg(feature = "circuit-breaker")]
pub mod circuit_breaker;
pub mod classify;
pub mod error;
pub mod event;
#[cfg(feature = "failover")]
pub mod failover;
pub mod head;
pub mod hint;
pub mod key;
#[cfg(feature = "peek")]
pub mod peek;
#[cfg(feature = "upstream")]
pub mod presets;
#[cfg(any(
    feature = "circuit-breaker",
    feature = "failover",
    feature = "rate-limit",
    feature = "retry"
))]
mod random;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
#[cfg(any(feature = "failover", feature = "retry"))]
pub mod replay;
#[cfg(feature = "retry")]
pub mod retry;
pub mod scope;
mod sharded;
#[cfg(any(feature = "alert", feature = "circuit-breaker"))]
mod sliding_window;
#[cfg(feature = "upstream")]
pub mod stack;
mod sync;
mod time;
mod unready_clone;
mod verdict;

#[cfg(feature = "alert")]
#[doc(inline)]
pub use self::alert::{AlertLayer, Alerts};
#[cfg(feature = "circuit-breaker")]
#[doc(inline)]
pub use self::circuit_breaker::CircuitBreakerLayer;
#[doc(inline)]
pub use self::error::{BoxError, InvalidConfig, cause_ref};
#[cfg(feature = "failover")]
#[doc(inline)]
pub use self::failover::FailoverLayer;
#[cfg(feature = "peek")]
#[doc(inline)]
pub use self::peek::PeekLayer;
#[cfg(feature = "rate-limit")]
#[doc(inline)]
pub use self::rate_limit::{Quota, RateLimitLayer};
#[cfg(feature = "retry")]
#[doc(inline)]
pub use self::retry::RetryLayer;
#[cfg(feature = "upstream")]
#[doc(inline)]
pub use self::stack::{Upstream, UpstreamLayer};

/// The stack itself, if it is a service of requests `Req` that can be cloned and
/// shared by tasks. If it isn't, the compiler says here what is missing.
///
/// ```compile_fail
/// # use tower_upstream::{RetryLayer, check};
/// struct MyBody; // can't be sent twice, as nothing says how
/// let client = tower::service_fn(|_: http::Request<MyBody>| async {
///     Ok::<_, std::io::Error>(http::Response::new(()))
/// });
/// check::<http::Request<MyBody>, _>(tower::Layer::layer(&RetryLayer::new(), client));
/// ```
pub fn check<Req, S>(stack: S) -> S
where
    S: tower_service::Service<Req, Error = BoxError> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    stack
}
