//! One verdict for every response and error.
//!
//! Layers that disagree about what a 429, a 401 or a timeout means cause more
//! outages than they prevent: a breaker that counts 429s as failures opens just
//! when the server only requested a pause; a retry that repeats a 401 gets a
//! key suspended. So one [`Classify`] makes one [`Verdict`], and every layer of
//! this crate acts on that.
//!
//! | verdict | typical cause |
//! |---|---|
//! | [`Success`](Class::Success) | 2xx, 3xx, gRPC `OK` |
//! | [`Throttled`](Class::Throttled) | 429, `RESOURCE_EXHAUSTED` |
//! | [`Overloaded`](Class::Overloaded) | 503, 529, `UNAVAILABLE` with a pushback |
//! | [`NotSent`](Class::NotSent) | connection refused, `REFUSED_STREAM`, `GOAWAY` |
//! | [`Transient`](Class::Transient) | 408, 409, 425, other 5xx, timeout, reset |
//! | [`QuotaExhausted`](Class::QuotaExhausted) | a spend limit, found by a [`PeekLayer`](crate::PeekLayer) or your classifier |
//! | [`CredentialRejected`](Class::CredentialRejected) | 401, `UNAUTHENTICATED` |
//! | [`Rejected`](Class::Rejected) | other 4xx, 501: the request's own fault |
//! | [`CircuitOpen`](Class::CircuitOpen), [`Local`](Class::Local) | decided on this side |
//!
//! # Your own classification
//!
//! A closure sees an [`Outcome`], the status and headers or the error, of
//! whatever client is below, and falls back to the default with
//! [`Outcome::verdict`]:
//!
//! ```
//! use tower_upstream::classify::{classify_fn, Verdict};
//!
//! // This provider says "spend limit reached" with a 402.
//! let classifier = classify_fn(|outcome| match outcome.status() {
//!     Some(status) if status == 402 => Verdict::quota_exhausted(),
//!     _ => outcome.verdict(),
//! });
//! # let _ = classifier;
//! ```
//!
//! For services that don't speak HTTP there are [`ErrorClassifier`], for which
//! every response is a success, and [`result_fn`].

mod classifier;
mod error;
pub(crate) mod grpc;
pub(crate) mod http;
mod outcome;

pub use self::classifier::{
    Classify, ClassifyFn, ErrorClassifier, HttpClassifier, ResultFn, classify_fn, result_fn,
};
pub use self::outcome::{Outcome, ResponseVerdict};
pub use crate::verdict::{Cause, Class, GrpcCode, Verdict};
