//! Team 1's retry.
//!
//! - It makes at most 5 attempts, each of at most 30 s.
//! - It waits `min(60 s, 1 s · 2^n + U(0, 1 s))`, n from 0, after a status of 500 or more, a timeout,
//!   or a broken or refused connection. Hints are ignored then.
//! - After a 429 it waits for the `Retry-After`, however long, or as above without one.
//! - A 401 ends the call at once with `CredentialRejected`.
//! - Every other response is returned as it is.
//!
//! It repeats a `POST` that may have been processed, and has no budget.
//!
//! Differences from the hand-written loop: when the attempts are used up, the last real result is
//! returned instead of an error that hides it. After `x-should-retry: false`, the request isn't sent
//! again. A wait in milliseconds (`retry-after-ms`) counts like `Retry-After`.

use std::time::Duration;

use http::StatusCode;
use tower_upstream::RetryLayer;
use tower_upstream::classify::{Cause, Class, ClassifyFn, Outcome, Verdict, classify_fn};
use tower_upstream::retry::{Backoff, HintUse, Jitter, RetryBuilder};

/// A classifier that is a plain function, so that its type has a name.
pub(crate) type Classifier = ClassifyFn<fn(Outcome<'_>) -> Verdict>;

pub(crate) fn retry() -> RetryBuilder<Classifier> {
    let classifier: Classifier = classify_fn(without_other_hints);
    RetryLayer::builder()
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
            Cause::Status(status) => {
                status.as_u16() >= 500 || status == StatusCode::TOO_MANY_REQUESTS
            }
            Cause::Timeout | Cause::Connect | Cause::Connection | Cause::RefusedStream => true,
            _ => false,
        })
        .classifier(classifier)
}

/// The hand-written loop read the `Retry-After` of a 429, and no exhausted limits.
fn without_other_hints(outcome: Outcome<'_>) -> Verdict {
    let verdict = outcome.verdict();
    let mut hint = verdict.hint();
    if verdict.class() != Class::Throttled || hint.of_limits {
        hint.retry_after = None;
    }
    verdict.with_hint(hint)
}
