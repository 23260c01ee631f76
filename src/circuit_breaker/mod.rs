//! A circuit breaker: rejects calls to an upstream that is down.
//!
//! A client that goes on calling a dead upstream makes every one of its own callers wait for a
//! timeout, and makes the upstream's recovery harder. A [`CircuitBreakerLayer`] counts failures
//! and, past a threshold, *opens*: calls are rejected at once with [`CircuitOpen`], and nothing is
//! sent. After a while it is *half-open* and lets a few calls through as probes; if they succeed it
//! *closes*, and all is as before.
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
//!     let response = client.ready().await?.call(http::Request::new(())).await?;
//!     assert_eq!(response.status(), 500);
//! }
//! let error = client.ready().await?.call(http::Request::new(())).await.unwrap_err();
//! assert!(cause_ref::<CircuitOpen>(&*error).is_some());
//! # Ok(()) }
//! ```
//!
//! # The states
//!
//! ```text
//!               a trip policy says so
//!   ┌────────┐ ───────────────────────────▶ ┌──────┐
//!   │ Closed │      ┌─────────────────────▶ │ Open │
//!   └────────┘      │                       └──────┘
//!       ▲           │ a trip policy   time is │  ▲ too many
//!       │ time      │ says so              up │  │ probes fail
//!       │ is up     │                         ▼  │
//!   ┌────────────┐ ─┘   enough probes     ┌──────────┐
//!   │   RampUp   │ ◀───────────────────── │ HalfOpen │
//!   └────────────┘      succeed           └──────────┘
//!
//!   ┌────────────┐  ┌──────────────┐  a handle holds it so, from any
//!   │ ForcedOpen │  │ ForcedClosed │  state, until a reset closes it
//!   └────────────┘  └──────────────┘
//! ```
//!
//! *Ramp-up* takes no time unless [`ramp`](CircuitBreakerBuilder::ramp) gives it
//! some: then a growing share of the calls passes. *Half-open* is left out with
//! [`no_half_open`](CircuitBreakerBuilder::no_half_open). A result counts only in the state that
//! let its call through: a late one, of a call made before the circuit opened, neither opens nor
//! closes it again.
//!
//! # What counts
//!
//! By default ([`CallResult::by_default`]) failures are what speaks against the upstream: timeouts,
//! connections refused or broken, 5xx. A 429 isn't a failure, nor is what is the request's own
//! fault. [`count_fn`](CircuitBreakerBuilder::count_fn) changes this. A call that its caller drops
//! is neutral, unless it took at least [`abandoned_after`](CircuitBreakerBuilder::abandoned_after),
//! a setting for timeouts that stand above.
//!
//! # When it opens
//!
//! At a number of failures in a row (the default: 5), at a leaky count, at a share of failures
//! among the last calls or in the last while ([`FailureRate`]), or at a share of [slow
//! calls](CircuitBreakerBuilder::slow_call_rate). Where several of these are set, any of them opens
//! the circuit.
//!
//! # For how long
//!
//! For 30 s by default, or for a time that [grows](OpenDuration::doubling) while probes fail. If the
//! server asked for longer in any of the failures that opened the circuit, then for that long, up
//! to [a cap](CircuitBreakerBuilder::hint_cap). What it asked earlier is void once successes have
//! outweighed all failures.
//!
//! # Latch
//!
//! A provider suspends the key of a client that goes on calling after it was refused, and every
//! call with a spent quota is one more refusal. So each *credential* has a circuit of its own as
//! well, whatever the breaker's key is. A credential that is refused often enough
//! ([`CredentialRejected`](crate::classify::Class::CredentialRejected),
//! [`QuotaExhausted`](crate::classify::Class::QuotaExhausted)) is latched: nothing more is sent
//! with it, except a probe after 10 minutes, then 20, 40, up to 2 hours, as a suspension may lift
//! by itself. A probe isn't sent before the time that the server named, up to a day. Only a success
//! lifts the latch, or a [reset](CircuitBreakerHandle::reset). Calls with another credential pass
//! at once.
//!
//! ```text
//!                refused again, and again                nothing is sent
//!   ┌─────────┐ ─────────────────────────▶ ┌─────────┐ ◀─────────────────┐
//!   │ Watched │                            │ Latched │                   │ anything else
//!   └─────────┘ ◀───────────────────────── └─────────┘ ── 10 min, 20 … ─▶ one probe
//!     ▲     │     the probe succeeds, or a reset
//!     │     │
//!     │     ▼ no refusal for 10 minutes
//!   the first refusal
//! ```
//!
//! The latch is on by default: a suspended key costs its owner more than a few calls that are
//! rejected, and those say why. But one 401 is not enough: an endpoint that the key may not use,
//! or a token that has just expired, is rejected with 401 too. So it takes refusals in a row, without a
//! success of that credential in between: one that makes the breaker start to watch credentials,
//! and two more ([`CredentialLatch::refusals`]). When the watch ends their count is cleared, as
//! later successes are not observed. A 403 is the request's own fault, unless a classifier
//! says that it means a suspension; then it counts as a 401 does.
//!
//! While no credential is refused, none is watched, and a call pays one atomic load for that. For
//! ten minutes after a refusal, and while a credential is latched, each call pays a look-up and an
//! allocation. A latched credential that is no longer used, as another has taken its slot, keeps
//! the watch going until a day after the last refusal.
//!
//! A credential that a layer below adds isn't seen here and is never latched: a new one couldn't be
//! distinguished from the old. Where requests aren't HTTP requests,
//! [say](CircuitBreakerBuilder::credential) where the credential is, or that there is none:
//! `.credential(AllCalls)`.
//!
//! # Operation
//!
//! A [handle](CircuitBreakerLayer::handle) shows every circuit, reports
//! [changes](CircuitBreakerHandle::subscribe), holds circuits open or closed, and resets them. A
//! [dry run](CircuitBreakerBuilder::dry_run) reports and never rejects.
//!
//! # Where it stands in the stack
//!
//! Below a retry, which waits for an open circuit if there's time. Below a rate limiter, which refunds
//! a call's permit if its circuit is open. Above the attempt's timeout, so that timeouts are
//! seen here. Keep one circuit for each region or host: [`CircuitBreakerBuilder::by_authority`].
//!
//! # Readiness
//!
//! An open circuit rejects a call without polling the inner service, which may never get ready. So while
//! any circuit of the layer isn't closed, `poll_ready` is ready at once, and a call that is let
//! through waits for the inner service itself; should its circuit open meanwhile, it isn't sent.
//! Tasks that wait in `poll_ready` when a circuit opens are woken. (A circuit without calls
//! for ten minutes no longer counts for this, as it may be that of a host which is gone. The
//! next call of another circuit finds it.) An inner service that fails to get ready counts as a
//! failed call: its error comes from `call`.

mod breaker;
mod builder;
mod circuit;
mod circuits;
mod config;
mod count;
mod handle;
mod latch;
mod layer;
mod observers;
mod packed_state;
mod permit;
#[cfg(feature = "serde")]
mod serialize;
mod service;
mod shared_state;
mod state_machine;
mod status;
mod trip;

pub use self::builder::CircuitBreakerBuilder;
pub use self::config::OpenDuration;
pub use self::count::CallResult;
pub use self::handle::CircuitBreakerHandle;
pub use self::latch::CredentialLatch;
pub use self::layer::CircuitBreakerLayer;
pub use self::observers::CircuitTransition;
pub use self::service::CircuitBreaker;
pub use self::service::ResponseFuture;
pub use self::status::CircuitStatus;
pub use self::trip::FailureRate;
pub use crate::error::{CircuitOpen, CircuitState, OpenReason};
