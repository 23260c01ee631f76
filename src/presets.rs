//! Presets for common kinds of upstreams.
//!
//! Each preset is an [`UpstreamBuilder`]: set regions, quota, alerts and a name as for any other
//! stack. The retry layer of each preset is available alone.
//!
//! | setting | [`llm`] | [`grpc`] | [`rest`] |
//! |---|---|---|---|
//! | attempts | 3 | 4 | 3 |
//! | backoff, full jitter | 0.5 s doubling to 8 s | 0.1 s doubling to 1 s | 0.25 s doubling to 10 s |
//! | hint | floor of the wait, up to 120 s | replaces the wait, up to 60 s | floor of the wait, up to 60 s |
//! | budget | a fifth of the requests | 10 tokens, 0.1 a request (gRFC A6) | a fifth of the requests |
//! | `POST` without an idempotency key | repeated, with a generated key | repeated | repeated only if certainly not processed |
//! | retried | 408, 409, 425, 429, 5xx except 501, timeouts, connection errors | `UNAVAILABLE`, connection errors; 429, 502, 503, 504 without a gRPC status | as `llm` |
//! | attempt timeout | 10 minutes | 30 s | 30 s |
//! | deadline | 30 minutes | 2 minutes | 2 minutes |
//! | limiter's longest pause | 120 s | default | default |
//!
//! The policies of two hand-written clients are in `examples/scenario`.

use std::time::Duration;

use crate::retry::{Backoff, HintUse, RetryBuilder, RetryLayer, RetryThrottle};
use crate::stack::{UpstreamBuilder, UpstreamLayer};
use crate::verdict::{Cause, GrpcCode};

const MINUTE: Duration = Duration::from_secs(60);

/// Returns a stack for a provider of language models.
///
/// A completion may take minutes, so the attempt timeout is 10 minutes, as in OpenAI's SDK, and the
/// deadline 30 minutes. [`llm_retry`] describes the retry.
pub fn llm() -> UpstreamBuilder {
    UpstreamLayer::builder()
        .attempt_timeout(10 * MINUTE)
        .deadline(30 * MINUTE)
        .retry(|_| llm_retry())
        .rate_limit(|limit| limit.max_pause(2 * MINUTE))
}

/// Returns the retry of [`llm`], which follows the official SDKs with less load on the provider.
///
/// Like OpenAI's SDK, and Anthropic's except for longer waits there:
///
/// - It makes at most 3 attempts, and waits from 0.5 s, doubling up to 8 s.
/// - It retries a 408, a 409, a 429, any 5xx, a timeout, and a broken or refused connection, of a
///   `POST` too. `x-should-retry` overrides the status.
/// - It obeys hints of up to 120 s, and returns the result if the hint is longer.
///
/// Differences from the SDKs:
///
/// - An exhausted quota or a rejected credential isn't retried if a [`PeekLayer`](crate::PeekLayer) is
///   next to the client. The SDK spends all its attempts on them.
/// - Each request has an [idempotency key](RetryBuilder::idempotency_key), so that a server which
///   supports keys charges once.
/// - The budget allows retries for a fifth of the requests. During an outage, the SDK triples the
///   load.
/// - It uses full jitter, also on top of a hint, so that clients that failed together don't return
///   together. The SDK's waits vary by a quarter.
/// - A 425 is retried, since it may pass. A 501 isn't, since it won't.
pub fn llm_retry() -> RetryBuilder {
    RetryLayer::builder()
        .max_attempts(3)
        .backoff(Backoff::exponential(Duration::from_millis(500)).max(Duration::from_secs(8)))
        .hint_cap(2 * MINUTE)
        .retry_non_idempotent()
        .idempotency_key()
}

/// Returns a stack for a gRPC service. [`grpc_retry`] describes the retry.
pub fn grpc() -> UpstreamBuilder {
    UpstreamLayer::builder().retry(|_| grpc_retry())
}

/// Returns the retry of [`grpc`], which follows gRFC A6.
///
/// - It makes at most 4 attempts, and waits a random time of up to 100 ms, doubling up to 1 s.
/// - It retries `UNAVAILABLE`, and what a gRPC client maps to it: a broken or refused connection, a
///   refused stream, and an HTTP status of 429, 502, 503 or 504 without a gRPC status.
/// - The server's pushback replaces the wait. A negative or malformed one ends the call.
/// - A call is committed once its headers arrive: a status in trailers
///   ([`PeekBuilder::grpc_unary`](crate::peek::PeekBuilder::grpc_unary)) is not retried.
/// - Retries are throttled by 10 tokens ([`RetryThrottle`]). A failure takes one, a request adds a
///   tenth, and nothing is retried while half of them are gone.
///
/// A service's own policy says which codes are safe to retry. This preset takes `UNAVAILABLE` as safe
/// for all methods.
///
/// Differences from A6: a pushback over 60 s ends the call. After a pushback, the backoff continues
/// to double, where A6 starts again. An attempt that was never sent counts as an attempt.
pub fn grpc_retry() -> RetryBuilder {
    RetryLayer::builder()
        .max_attempts(4)
        .backoff(Backoff::exponential(Duration::from_millis(100)).max(Duration::from_secs(1)))
        .hint(HintUse::Replace)
        .budget(RetryThrottle::new().max_tokens(10).token_ratio(0.1))
        .retry_non_idempotent()
        .retry_if(|verdict| {
            let unavailable = match verdict.cause() {
                Cause::Grpc(code) => code == GrpcCode::Unavailable,
                Cause::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
                Cause::Connect | Cause::Connection | Cause::RefusedStream => true,
                _ => verdict.is_unsent(),
            };
            unavailable && !verdict.is_in_trailers()
        })
}

/// Returns a stack for a third-party REST API, such as a payment provider.
///
/// It is [`UpstreamLayer::builder`] with [`rest_retry`]: a request that may have been processed is
/// repeated only if its method or its `Idempotency-Key` makes that safe.
pub fn rest() -> UpstreamBuilder {
    UpstreamLayer::builder().retry(|_| rest_retry())
}

/// Returns the retry of [`rest`]: the defaults of [`RetryLayer::new`].
pub fn rest_retry() -> RetryBuilder {
    RetryLayer::builder()
}
