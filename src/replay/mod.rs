//! Strategies to send a request more than once.
//!
//! A retry needs a second copy of a request while the first one is being sent. Not every request can
//! be cloned: one with a tonic, an axum or any streamed body can't. So the way to repeat a request is a
//! strategy of the layer, not a bound on the request's type:
//!
//! - [`HttpReplay`], the default, repeats `reqwest::Request`, and `http::Request` with the bodies that
//!   implement [`RepeatableBody`]: plain bytes and text; with the feature `hyper-util`,
//!   `http_body_util`'s `Full`, `Empty` and boxed bodies; with `tonic` and `axum`, their bodies.
//! - [`BodyReplay`] repeats an `http::Request` with any other body, given a function that wraps such a
//!   body: see [`RetryBuilder::replay_body`](crate::retry::RetryBuilder::replay_body).
//! - [`CloneReplay`] clones any request that is `Clone`.
//!
//! Streamed bodies are recorded, up to a limit, while the first attempt sends them ([`ReplayBody`]).

mod body;
mod http;
#[cfg(feature = "reqwest")]
mod reqwest;
mod strategy;

pub use self::body::{RepeatableBody, ReplayBody, Superseded};
pub use self::http::{BodyReplay, HttpReplay, SavedRequest};
#[cfg(feature = "reqwest")]
pub use self::reqwest::SavedReqwestRequest;
pub use self::strategy::{CloneReplay, NoReplay, Override, OverrideFn, Replay};
