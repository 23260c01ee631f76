//! Reads the error in a response's body or trailers, for the verdict of all layers.
//!
//! A 429 can mean a short wait or an exhausted quota; only the body says which. Some providers report
//! an error inside a `200`, and gRPC reports most errors in trailers. A [`PeekLayer`] next to the client
//! reads such a response up to a limit, attaches its verdict for the layers above
//! ([`ResponseVerdict`](crate::classify::ResponseVerdict)), and passes the whole body on:
//!
//! ```
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_upstream::classify::Class;
//! use tower_upstream::event::{Event, observer_fn};
//! use tower_upstream::{BoxError, PeekLayer, RetryLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! # type Body = http_body_util::Full<bytes::Bytes>;
//! const SPENT: &str = r#"{"error": {"code": "insufficient_quota", "message": "..."}}"#;
//!
//! let client = ServiceBuilder::new()
//!     .layer(RetryLayer::builder().observer(observer_fn(|event: &Event<'_>| {
//!         // Without the peek layer, it would have been sent three times.
//!         assert!(event.to_string().ends_with("not retried: quota exhausted"));
//!     })).build()?)
//!     .layer(PeekLayer::new())
//!     .service(service_fn(|_: http::Request<()>| async {
//!         Ok::<_, BoxError>(http::Response::builder().status(429).body(Body::from(SPENT))?)
//!     }));
//!
//! let response = client.oneshot(http::Request::new(())).await?;
//! assert_eq!(response.status(), 429);
//! # use http_body_util::BodyExt;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), SPENT);
//! # Ok(()) }
//! ```
//!
//! # Which responses are read
//!
//! | response | part that is read | by default |
//! |---|---|---|
//! | a status of 400 or more | its body | yes |
//! | a success in JSON | its body, for an error in it | with [`also_successes`](PeekBuilder::also_successes) |
//! | a gRPC response without a status in its head | up to its trailers | with [`grpc_unary`](PeekBuilder::grpc_unary) |
//! | `text/event-stream`, other successes | never | |
//!
//! It reads at most [`limit`](PeekBuilder::limit) bytes, for at most [`timeout`](PeekBuilder::timeout). For a
//! body that is longer, takes longer, is compressed or isn't JSON, the verdict on the head is used.
//!
//! Reading a body to its end also frees its HTTP/1 connection for the next attempt. If a response is
//! dropped, hyper keeps the connection only if the body arrived together with its head.
//!
//! # Which errors are recognised
//!
//! | provider | error | verdict |
//! |---|---|---|
//! | OpenAI and compatible | `insufficient_quota`, `billing_hard_limit_reached`, `billing_not_active` | quota exhausted |
//! | | `invalid_api_key`, `account_deactivated`, `access_terminated` | credential rejected |
//! | | `rate_limit_exceeded`; `server_error` | throttled; transient |
//! | Anthropic | `rate_limit_error`; `overloaded_error`; `api_error`, `timeout_error` | throttled; overloaded; transient |
//! | | `authentication_error`; `billing_error` | credential rejected; quota exhausted |
//! | | `permission_error`, `invalid_request_error`, `not_found_error` | rejected |
//! | Google, Gemini | `status` as of gRPC; `RetryInfo`'s `retryDelay` | as of gRPC; hint |
//! | | `QuotaFailure` of a daily quota without a `RetryInfo`; `BILLING_DISABLED` | quota exhausted |
//! | | `API_KEY_INVALID`, `CONSUMER_SUSPENDED` | credential rejected |
//! | Aggregators such as `openrouter.ai` | a numeric `code` inside a `200` | as that status |
//!
//! If the head is a failure, the body overrides it only where it is more exact: throttled, overloaded,
//! quota exhausted or credential rejected. An unknown error inside a success counts as a faulty request.
//! For errors of another provider use [`classify_body_fn`](PeekBuilder::classify_body_fn).
//!
//! # Position in the stack
//!
//! Innermost, below the breaker and the attempt timeout, so that all layers receive its verdict. With an
//! `UpstreamLayer` write `upstream.over(PeekLayer::new().layer(client))`.
//!
//! It takes an `http::Response` with any body that is `Unpin` (hyper's `Incoming`, axum's, tonic's) and
//! wraps its body in a [`PeekBody`]. A `reqwest::Response` keeps its type. Below a tonic client it reads
//! the status in the trailers, but not the protobuf details beside it.

mod body;
mod config;
mod json;
mod layer;
mod service;

pub use self::body::{BodyPrefix, PeekBody};
pub use self::layer::{PeekBuilder, PeekLayer};
pub use self::service::{Peek, PeekResponse, ResponseFuture};
