//! What makes a request sendable twice.
//!
//! A retry needs a second copy of a request while the first one is being sent, but
//! not every request can be cloned: one with a tonic, an axum or any streamed body
//! can't. So how to repeat a request is a strategy of the layer, not a bound on
//! the request's type:
//!
//! - [`HttpReplay`], the default, knows `http::Request` with the bodies that
//!   implement [`RepeatableBody`] (plain bytes and text; with the feature `hyper-util`
//!   `http_body_util`'s `Full`, `Empty` and boxed bodies; with theirs tonic's and axum's), and
//!   `reqwest::Request`.
//! - [`BodyReplay`] repeats an `http::Request` with any other body, if it is told how to wrap
//!   such a body: see [`RetryLayer::replay_body`](crate::RetryLayer::replay_body).
//! - [`CloneReplay`] clones any request that is `Clone`.
//!
//! Streamed bodies are recorded, up to a bound, while the first attempt sends
//! them ([`ReplayBody`]).

mod body;
mod http;
mod overrides;
#[cfg(feature = "reqwest")]
mod reqwest;

use std::convert::Infallible;

use ::http::HeaderMap;

pub use self::body::RepeatableBody;
pub use self::body::{ReplayBody, Superseded};
pub use self::http::{BodyReplay, HttpReplay, SavedRequest};
pub use self::overrides::{Override, OverrideFn};
#[cfg(feature = "reqwest")]
pub use self::reqwest::SavedReqwestRequest;

/// How a request is sent again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` doesn't know how to send the request `{Req}` twice",
    label = "this request can't be repeated by this strategy",
    note = "the default knows `http::Request<B>` where `B: RepeatableBody`, and, with the feature `reqwest`, the `Request` of reqwest 0.13",
    note = "for another body of `http::Request` add `.replay_body(MyBody::new)`, for a request that is `Clone` add `.replay_clone()`"
)]
pub trait Replay<Req> {
    /// What is saved of a request while it is being sent.
    type SavedRequest;

    /// Returns what is needed to send the request again, or `None` if it can only be sent once. May
    /// replace the request's body by one that is recorded while it is sent.
    fn keep(&self, request: &mut Req) -> Option<Self::SavedRequest>;

    /// Returns the request once more, and what is saved to send it yet again. With `last` it won't be
    /// sent again, and nothing needs to be saved. `None` if it turns out that the request can't be
    /// repeated, for example as its body was longer than what is recorded.
    fn again(
        &self,
        saved: Self::SavedRequest,
        last: bool,
    ) -> Option<(Req, Option<Self::SavedRequest>)>;

    /// Returns whether sending the request twice has the same effect as sending it once. If so, it may
    /// be repeated when it isn't known whether it was processed.
    fn is_idempotent(&self, request: &Req) -> bool;

    /// Returns which of the layer's settings this request overrides. By default none.
    fn overrides(&self, request: &Req) -> Override {
        let _ = request;
        Override::new()
    }

    /// Returns the request's headers, to add one. By default it has none.
    fn headers_mut<'a>(&self, request: &'a mut Req) -> Option<&'a mut HeaderMap> {
        let _ = request;
        None
    }
}

/// Repeats nothing: each request is sent once.
///
/// It is for a [failover](crate::failover) below a retry: the retry keeps the copy of the request, and
/// the failover's futures needn't have room for another. Without a retry, such a failover only sends
/// later calls to another region, not the one that failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReplay;

impl<Req> Replay<Req> for NoReplay {
    type SavedRequest = Infallible;

    fn keep(&self, _: &mut Req) -> Option<Infallible> {
        None
    }

    fn again(&self, saved: Infallible, _: bool) -> Option<(Req, Option<Infallible>)> {
        match saved {}
    }

    fn is_idempotent(&self, _: &Req) -> bool {
        false
    }
}

/// Repeats any request by cloning it.
///
/// It doesn't know what a request does, so none counts as idempotent: a request that may have
/// been processed is only sent again with
/// [`retry_non_idempotent`](crate::RetryLayer::retry_non_idempotent).
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneReplay;

impl<Req: Clone> Replay<Req> for CloneReplay {
    type SavedRequest = Req;

    fn keep(&self, request: &mut Req) -> Option<Req> {
        Some(request.clone())
    }

    fn again(&self, saved: Req, last: bool) -> Option<(Req, Option<Req>)> {
        Some(if last { (saved, None) } else { (saved.clone(), Some(saved)) })
    }

    fn is_idempotent(&self, _: &Req) -> bool {
        false
    }
}
