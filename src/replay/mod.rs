//! What makes a request sendable twice.
//!
//! A retry needs a second copy of a request whose first one is being sent, and
//! not every request can be cloned: tonic's, axum's and any streamed body
//! can't. So how to repeat a request is a strategy of the layer, not a bound on
//! its type:
//!
//! - [`HttpReplay`], the default, knows `http::Request` with the bodies that
//!   implement [`RepeatableBody`] (plain bytes and text; with the feature `hyper-util`
//!   `http_body_util`'s `Full`, `Empty` and boxed bodies; with theirs tonic's and axum's), and
//!   `reqwest::Request`.
//! - [`BodyReplay`] takes any other body of `http::Request`, given how to wrap
//!   one: see [`RetryLayer::replay_body`](crate::RetryLayer::replay_body).
//! - [`CloneReplay`] clones any request that is `Clone`.
//!
//! Streamed bodies are recorded, within a bound, while the first attempt sends
//! them ([`ReplayBody`]).

use std::convert::Infallible;

use ::http::HeaderMap;

mod body;
mod head;
mod http;
mod overrides;
mod repeatable;
#[cfg(feature = "reqwest")]
mod reqwest;

pub use self::body::{ReplayBody, Superseded};
pub use self::http::{BodyReplay, HttpReplay, Kept};
pub use self::overrides::{Override, OverrideFn};
pub use self::repeatable::RepeatableBody;
#[cfg(feature = "reqwest")]
pub use self::reqwest::KeptReqwest;

/// How a request is sent again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` doesn't know how to send the request `{Req}` twice",
    label = "this request can't be repeated by this strategy",
    note = "the default knows `http::Request<B>` where `B: RepeatableBody`, and, with the feature `reqwest`, the `Request` of reqwest 0.13",
    note = "for another body of `http::Request` add `.replay_body(MyBody::new)`, for a request that is `Clone` add `.replay_clone()`"
)]
pub trait Replay<Req> {
    /// What is kept of a request while it is being sent.
    type Kept;

    /// Keeps what it takes to send the request again; `None` if it can only be sent once. A body
    /// that is recorded for this while it is sent takes the place of the request's own.
    fn keep(&self, request: &mut Req) -> Option<Self::Kept>;

    /// The request once more. `last`: it will not be asked for again, so
    /// nothing needs to be kept. `None` if it turns out that it can't be
    /// repeated, such as when the body was longer than what is recorded.
    fn again(&self, kept: Self::Kept, last: bool) -> Option<(Req, Option<Self::Kept>)>;

    /// Whether sending it twice does no more than sending it once, so that it
    /// may be repeated when it isn't known whether it was processed.
    fn is_idempotent(&self, request: &Req) -> bool;

    /// What this request asks for in place of the layer's settings. By default nothing.
    fn overrides(&self, request: &Req) -> Override {
        let _ = request;
        Override::new()
    }

    /// Where a header can be added to the request. By default nowhere.
    fn headers_mut<'a>(&self, request: &'a mut Req) -> Option<&'a mut HeaderMap> {
        let _ = request;
        None
    }
}

/// Repeats nothing: each request is sent once.
///
/// For a [failover](crate::failover) whose calls a retry above repeats, which keeps the copy: its
/// futures are smaller by a request. Alone, it only sends the next calls elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReplay;

impl<Req> Replay<Req> for NoReplay {
    type Kept = Infallible;

    fn keep(&self, _: &mut Req) -> Option<Infallible> {
        None
    }

    fn again(&self, kept: Infallible, _: bool) -> Option<(Req, Option<Infallible>)> {
        match kept {}
    }

    fn is_idempotent(&self, _: &Req) -> bool {
        false
    }
}

/// Repeats any request by cloning it.
///
/// What it stands for isn't known, so none counts as idempotent: what may have
/// been processed is only sent again if the layer says
/// [`retry_non_idempotent`](crate::RetryLayer::retry_non_idempotent).
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneReplay;

impl<Req: Clone> Replay<Req> for CloneReplay {
    type Kept = Req;

    fn keep(&self, request: &mut Req) -> Option<Req> {
        Some(request.clone())
    }

    fn again(&self, kept: Req, last: bool) -> Option<(Req, Option<Req>)> {
        Some(if last { (kept, None) } else { (kept.clone(), Some(kept)) })
    }

    fn is_idempotent(&self, _: &Req) -> bool {
        false
    }
}
