//! Stop calling what is down.
//!
//! A client that goes on calling a dead upstream makes every one of its own
//! callers wait for a timeout, and the upstream's recovery harder. A
//! [`CircuitBreakerLayer`] counts failures and, past a threshold, *opens*: calls are
//! answered at once with [`CircuitOpen`], and nothing is sent. After a while
//! it is *half-open* and lets a few calls through as probes; if they succeed
//! it *closes*, and all is as before.
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
//!     let answer = client.ready().await?.call(http::Request::new(())).await?;
//!     assert_eq!(answer.status(), 500);
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
//!   │ Recovering │ ◀───────────────────── │ HalfOpen │
//!   └────────────┘      succeed           └──────────┘
//!
//!   ┌────────────┐  ┌──────────────┐  a handle holds it so, from any
//!   │ ForcedOpen │  │ ForcedClosed │  state, until a reset closes it
//!   └────────────┘  └──────────────┘
//! ```
//!
//! *Recovering* takes no time unless [`recover_over`](CircuitBreakerBuilder::recover_over) gives it
//! some: then a growing share of the calls passes. *Half-open* is left out with
//! [`no_half_open`](CircuitBreakerBuilder::no_half_open). A result counts only in the state that let its call through: one that comes late, from before the
//! circuit opened, neither opens nor closes it again.
//!
//! # What counts
//!
//! By default ([`Count::by_default`]) failures are what speaks against the
//! upstream: timeouts, connections refused or broken, 5xx. A 429 isn't one, nor
//! is the request's own fault. [`count_fn`](CircuitBreakerBuilder::count_fn)
//! says it otherwise. A call that its caller drops is neutral, unless it took longer than
//! [`abandoned_after`](CircuitBreakerBuilder::abandoned_after): for timeouts that stand above.
//!
//! # When it opens
//!
//! By failures in a row (the default: 5), by a leaky count, by the share of
//! failures among the last calls or in the last while ([`FailureRate`]), or by the share of
//! [slow calls](CircuitBreakerBuilder::slow_call_rate); several are joined by "or".
//!
//! # For how long
//!
//! For 30 s by default, or for a time that [grows](OpenFor::doubling) while probes fail; and
//! always for as long as the server asked in any of the failures that opened it, up to
//! [a cap](CircuitBreakerBuilder::hint_cap). What it asked for before successes that have outweighed
//! its failures is over.
//!
//! # Latch
//!
//! A provider suspends the key of a client that goes on calling with a refused one, and every
//! call with a spent quota is one more refusal. So each *credential* has a circuit of its own
//! beside, whatever the breaker's key is: refused often enough
//! ([`CredentialRejected`](crate::classify::Class::CredentialRejected),
//! [`QuotaExhausted`](crate::classify::Class::QuotaExhausted)), it is latched, and
//! nothing is sent with it but a slow probe: after 10 minutes, 20, 40, up to 2 hours, as
//! suspensions may lift by themselves; and not before the server said, up to a day. Only a
//! success lifts it, or a [reset](CircuitBreakerHandle::reset). Another credential passes at once.
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
//! It is on by default, since one who has a key, a quota and a pager loses more by a suspended key
//! than by a few calls turned away, which say why. But one 401 is not enough: an endpoint that the
//! key may not use, or a token that has just expired, answers so too. So it takes refusals in a row,
//! without one success of that credential in between: one that makes the breaker look at
//! credentials, and two more ([`CredentialLatch::refusals`]). Once nobody looks any more they are
//! forgotten, as nobody would see a success. A 403 is the request's own fault until
//! a classifier says that it means a suspension; it then counts as a 401 does.
//!
//! While no credential is refused nobody looks at any, at the cost of one atomic load a call; for
//! ten minutes after a refusal, and while one is latched, a call costs a look-up and an allocation.
//! One that nobody uses any more, as another has taken its place, counts for this until a day after
//! the last refusal.
//!
//! A credential that isn't seen here, as a layer below adds it, is never latched: nobody could tell
//! the new one from the old. Requests that aren't HTTP's need
//! [`no_latch`](CircuitBreakerBuilder::no_latch), or [to be
//! told](CircuitBreakerBuilder::credential) where the credential is.
//!
//! # Who holds the pager
//!
//! A [handle](CircuitBreakerLayer::handle) shows every circuit, tells of
//! [changes](CircuitBreakerHandle::subscribe), holds circuits open or closed, and resets them. A
//! [dry run](CircuitBreakerBuilder::dry_run) reports and never rejects.
//!
//! # Where it stands in the stack
//!
//! Below a retry, which waits for it if there's time; below a rate limiter,
//! whose permit it gives back; above the attempt's timeout, so that timeouts
//! are seen here. One circuit a region or host: [`CircuitBreakerBuilder::by_authority`].
//!
//! # Readiness
//!
//! An open circuit answers without asking the inner service, which may never get
//! ready. So while any circuit of the layer isn't closed, `poll_ready` is ready
//! at once, and the call itself waits for the inner service where it is let
//! through; should its circuit open meanwhile, it isn't sent. Those who are waiting when
//! a circuit opens are woken. (A circuit that
//! nobody has called for ten minutes no longer counts for this, as the next call of another one
//! finds out: it may be that of a host which is gone.) An inner service that fails to get ready counts as a failed call:
//! its error comes from `call`.

mod audience;
mod builder;
mod circuit;
mod circuits;
mod common;
mod count;
#[cfg(feature = "serde")]
mod data;
mod error;
mod event;
mod future;
mod gate;
mod handle;
mod inner;
mod latch;
mod layer;
mod machine;
mod open_for;
mod permit;
mod readiness;
mod reason;
mod rules;
mod service;
mod shut;
mod state;
mod stats;
mod status;
mod trip;
mod tripped;
mod word;

pub use self::audience::CircuitTransition;
pub use self::builder::CircuitBreakerBuilder;
pub use self::count::Count;
pub use self::error::CircuitOpen;
pub use self::event::{CircuitEvent, CircuitEventKind};
pub use self::future::ResponseFuture;
pub use self::handle::CircuitBreakerHandle;
pub use self::latch::CredentialLatch;
pub use self::layer::CircuitBreakerLayer;
pub use self::open_for::OpenFor;
pub use self::reason::OpenReason;
pub use self::service::CircuitBreaker;
pub use self::state::CircuitState;
pub use self::status::CircuitStatus;
pub use self::trip::FailureRate;
