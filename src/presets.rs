//! Whole policies: what hand-written clients did before this crate, and what official clients do.
//!
//! Two teams lost a morning and a provider's trust with clients written by hand. The presets `.._a` and
//! `.._b` do what those clients did, so that a team can move to this crate
//! first and improve its policy then. For something new start from
//! [`RetryLayer::new`](crate::RetryLayer::new) and
//! [`CircuitBreakerLayer::new`](crate::CircuitBreakerLayer::new), which have a
//! budget, tell what is safe to repeat, and obey hints; or from [`llm`] or [`grpc`], which do what
//! official clients do, and add what those leave out.
//!
//! Where a preset differs from the policy that it follows, it says so.

#[cfg(any(feature = "circuit-breaker", feature = "retry"))]
use std::time::Duration;

#[cfg(any(feature = "circuit-breaker", feature = "retry"))]
use http::StatusCode;

#[cfg(feature = "circuit-breaker")]
use crate::circuit_breaker::{CallResult, CircuitBreakerBuilder, CircuitBreakerLayer};
#[cfg(feature = "retry")]
use crate::classify::{ClassifyFn, Outcome, classify_fn};
#[cfg(feature = "circuit-breaker")]
use crate::key::ByAuthority;
#[cfg(feature = "rate-limit")]
use crate::key::ByCredential;
#[cfg(feature = "rate-limit")]
use crate::rate_limit::{Quota, RateLimitBuilder, RateLimitLayer};
#[cfg(feature = "upstream")]
use crate::replay::HttpReplay;
#[cfg(feature = "retry")]
use crate::retry::{Backoff, HintUse, Jitter, RetryLayer, RetryThrottle};
#[cfg(feature = "upstream")]
use crate::stack::{UpstreamBuilder, UpstreamLayer};
use crate::verdict::GrpcCode;
#[cfg(any(feature = "circuit-breaker", feature = "retry"))]
use crate::verdict::{Cause, Class, Verdict};

/// A classifier made of a plain function.
#[cfg(feature = "retry")]
pub type PlainClassifier = ClassifyFn<fn(Outcome<'_>) -> Verdict>;

/// Retry A: patient, and obedient to a 429.
///
/// - Makes at most 5 attempts, each of at most 30 s.
/// - PendingCall `min(60 s, 1 s · 2^n + U(0, 1 s))`, n from 0, after a status of 500 or more, a timeout, or a
///   broken or refused connection. Hints are ignored.
/// - After a 429 it waits for the `Retry-After`, however long, and without one as above.
/// - A 401 ends the call at once with
///   [`CredentialRejected`](crate::retry::CredentialRejected): the key is invalid or suspended.
/// - Every other answer is returned as it is.
///
/// It repeats a `POST` that may have been processed, and has no budget.
///
/// Differs: when the attempts are used up, the last real answer is returned, where the hand-written
/// client hid it behind an error. If a server says `x-should-retry: false`, the request isn't sent
/// again. A wait in milliseconds (`retry-after-ms`) counts as `Retry-After` does.
#[cfg(feature = "retry")]
pub fn retry_a() -> RetryLayer<PlainClassifier> {
    fn hints_of_a_429_only(outcome: Outcome<'_>) -> Verdict {
        let verdict = outcome.verdict();
        let mut hint = verdict.hint();
        // The hand-written loop didn't read exhausted limits.
        if verdict.class() != Class::Throttled || hint.of_limits {
            hint.retry_after = None;
        }
        verdict.with_hint(hint)
    }
    let classifier: PlainClassifier = classify_fn(hints_of_a_429_only);
    RetryLayer::new()
        .max_attempts(5)
        .attempt_timeout(Duration::from_secs(30))
        .backoff(
            Backoff::exponential(Duration::from_secs(1))
                .max(Duration::from_secs(60))
                .jitter(Jitter::Additive(Duration::from_secs(1))),
        )
        .hint(HintUse::Replace)
        .hint_cap(Duration::MAX)
        .no_budget()
        .retry_non_idempotent()
        .credential_error()
        .retry_if(|verdict| match verdict.cause() {
            Cause::Status(status) => status.as_u16() >= 500 || status == TOO_MANY,
            cause => is_timeout_or_connection(cause),
        })
        .classifier(classifier)
}

/// Retry B: brief, and without regard for hints.
///
/// - Makes at most 3 attempts, and waits 2 s each time (exponential from 1 s, held
///   between 2 s and 10 s), without jitter.
/// - Retries only a timeout, a broken or refused connection, and a 429, whose
///   `Retry-After` it ignores.
///
/// It repeats a `POST` that may have been processed, and has no budget.
///
/// Differs: if a server says `x-should-retry: false`, the request isn't sent again.
#[cfg(feature = "retry")]
pub fn retry_b() -> RetryLayer {
    RetryLayer::new()
        .max_attempts(3)
        .backoff(
            Backoff::exponential(Duration::from_secs(1))
                .min(Duration::from_secs(2))
                .max(Duration::from_secs(10))
                .jitter(Jitter::None),
        )
        .hint(HintUse::Ignore)
        .no_budget()
        .retry_non_idempotent()
        .retry_if(|verdict| match verdict.cause() {
            Cause::Status(status) => status == TOO_MANY,
            cause => is_timeout_or_connection(cause),
        })
}

/// Calls a provider of language models as its official SDK does, with less load on the provider.
///
/// Like OpenAI's SDKs by default, and Anthropic's except that those wait longer:
///
/// - Makes at most 3 attempts, and waits from 0.5 s, doubling up to 8 s.
/// - Retries a 408, a 409, a 429, any 5xx, a timeout, and a broken or refused connection, of a
///   `POST` too. `x-should-retry` overrules the status.
/// - Obeys hints of up to 120 s, and returns the answer if the hint is longer.
///
/// Differs, each for the reason given:
///
/// - An exhausted quota or a refused credential isn't retried, if a
///   [`PeekLayer`](crate::PeekLayer) stands next to the client: the SDK spends all its attempts on it.
/// - Each request has an [idempotency key](RetryLayer::idempotency_key): a server that knows such keys
///   bills once.
/// - The budget allows retries for a fifth of the requests: during an outage the SDK triples the load.
/// - It uses full jitter: the SDK's waits vary by a quarter only, and clients that failed together come
///   back together. For the same reason there is jitter on top of a hint.
/// - A 425 is retried, as it may pass; a 501 isn't, as it won't pass.
/// - It has no timeout of its own: the SDK's 10 minutes is a choice for the caller
///   ([`attempt_timeout`](RetryLayer::attempt_timeout)).
#[cfg(feature = "retry")]
pub fn llm() -> RetryLayer {
    RetryLayer::new()
        .max_attempts(3)
        .backoff(Backoff::exponential(Duration::from_millis(500)).max(Duration::from_secs(8)))
        .hint_cap(Duration::from_secs(120))
        .retry_non_idempotent()
        .idempotency_key()
}

/// gRPC's own retry, as gRFC A6 has it.
///
/// - Makes at most 4 attempts. PendingCall a random time of up to 100 ms, doubled each time, up to 1 s.
/// - Retries `UNAVAILABLE`, and what a gRPC client takes for that: a broken or refused connection, a
///   refused stream, and an HTTP status of 429, 502, 503 or 504 in place of a gRPC status.
/// - The server's pushback replaces the wait; a negative or malformed one ends the call.
/// - A call is committed once its headers arrive: a status in trailers
///   ([`PeekLayer::grpc_unary`](crate::PeekLayer::grpc_unary)) is not retried.
/// - Retries are throttled ([`RetryThrottle`]) by 10 tokens, of which a failure takes one and to which a
///   request adds a tenth: there are no retries while half of them are gone.
///
/// A gRPC service's policy says which codes are safe to retry. This preset takes `UNAVAILABLE`
/// for safe, for all methods.
///
/// Differs: a pushback over 60 s ends the call, as it would outlast most deadlines. After a pushback the
/// waits go on doubling, where A6 starts again. An attempt that never left counts as an attempt, where A6
/// repeats it "transparently": many of those are a load too.
#[cfg(feature = "retry")]
pub fn grpc() -> RetryLayer {
    RetryLayer::new()
        .max_attempts(4)
        .backoff(Backoff::exponential(Duration::from_millis(100)).max(Duration::from_secs(1)))
        .hint(HintUse::Replace)
        .budget(RetryThrottle::new(10, 0.1))
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

/// Breaker A: opens after 5 failures in a row, probes after 30 s.
///
/// - While it is closed, a success sets the count to zero.
/// - 30 s after it opened it is half-open and lets at most 3 calls through. 2 successes
///   close it, one failure opens it again.
/// - A failure is what the hand-written client raised as an exception: a timeout, a broken or refused
///   connection, any other error, a 401, a 429, a status of 500 or more. Every other
///   answer is a success.
/// - There is one circuit per region, set by its host. No credential is latched.
///
/// One team's opened after 3: `circuit_breaker_a().consecutive_failures(3)`.
///
/// Differs: the 3 calls are those that are in flight or have succeeded, and a call that is
/// dropped gives its place back (in the hand-written client the circuit then stayed half-open for
/// ever). A late result of a call that began before the circuit opened changes nothing, so the
/// 30 s count from the failure that opened it.
#[cfg(feature = "circuit-breaker")]
pub fn circuit_breaker_a() -> CircuitBreakerBuilder<crate::classify::HttpClassifier, ByAuthority> {
    CircuitBreakerLayer::builder()
        .consecutive_failures(5)
        .open_for(Duration::from_secs(30))
        .hint_cap(Duration::ZERO)
        .half_open(3, 2)
        .count_fn(|verdict| match (verdict.cause(), verdict.class()) {
            (Cause::Status(status), _) => {
                let raised = status.as_u16() >= 500
                    || status == TOO_MANY
                    || status == StatusCode::UNAUTHORIZED;
                if raised { CallResult::Failure } else { CallResult::Success }
            }
            (_, Class::CircuitOpen | Class::Local) => CallResult::Neutral,
            (_, Class::Success | Class::Rejected) => CallResult::Success,
            _ => CallResult::Failure,
        })
        .by_authority()
        .no_latch()
}

/// Breaker B: a leaky count, and no probes.
///
/// - Counts up by one for a timeout, a broken or refused connection or a 429, and down by one for
///   a 200, never below 0. Any other answer changes nothing.
/// - Opens at 10. 60 s later it closes and starts again from zero.
/// - No credential is latched.
#[cfg(feature = "circuit-breaker")]
pub fn circuit_breaker_b() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder()
        .leaky_failures(10)
        .open_for(Duration::from_secs(60))
        .hint_cap(Duration::ZERO)
        .no_half_open()
        .count_fn(|verdict| match verdict.cause() {
            Cause::Status(StatusCode::OK) => CallResult::Success,
            Cause::Status(TOO_MANY) => CallResult::Failure,
            cause if is_timeout_or_connection(cause) => CallResult::Failure,
            _ => CallResult::Neutral,
        })
        .no_latch()
}

/// The provider's standard tier: 60 requests in any minute for each credential.
#[cfg(feature = "rate-limit")]
pub fn standard_tier() -> RateLimitBuilder<crate::classify::HttpClassifier, ByCredential> {
    RateLimitLayer::builder(STANDARD_TIER).by_credential()
}

#[cfg(feature = "rate-limit")]
const STANDARD_TIER: Quota = Quota::per_minute(60);

/// Team 1's client: [`retry_a`] over [`circuit_breaker_a`], within the [`standard_tier`].
///
/// Give it regions, alerts and a name as any other stack.
///
/// Differs: the breaker stands below the retry, so that it counts each attempt instead of
/// only those that the retry gave up on. The attempt's 30 s apply below the breaker.
#[cfg(feature = "upstream")]
pub fn upstream_a() -> UpstreamBuilder<PlainClassifier, HttpReplay, ByCredential, ByAuthority> {
    UpstreamLayer::builder()
        .deadline(Duration::MAX)
        .retry(|_| retry_a())
        .quota(STANDARD_TIER)
        .rate_limit(|limit| limit.max_pause(Duration::MAX))
        .circuit_breaker(|_| circuit_breaker_a())
}

/// Team 2's client: [`retry_b`] over [`circuit_breaker_b`], 30 s an attempt, within the
/// [`standard_tier`].
///
/// Give it regions, alerts and a name as any other stack.
///
/// Differs: there is a circuit per region or host, in place of one for all. As for [`upstream_a`], the
/// breaker counts each attempt.
#[cfg(feature = "upstream")]
pub fn upstream_b() -> UpstreamBuilder {
    UpstreamLayer::builder()
        .deadline(Duration::MAX)
        .attempt_timeout(Duration::from_secs(30))
        .retry(|_| retry_b())
        .quota(STANDARD_TIER)
        .circuit_breaker(|_| circuit_breaker_b().by_region())
}

#[cfg(any(feature = "circuit-breaker", feature = "retry"))]
const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

#[cfg(any(feature = "circuit-breaker", feature = "retry"))]
fn is_timeout_or_connection(cause: Cause) -> bool {
    matches!(cause, Cause::Timeout | Cause::Connect | Cause::Connection | Cause::RefusedStream)
}
