//! Verdicts on the errors that APIs report in JSON.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::body::BodyPrefix;
use crate::classify::grpc;
use crate::classify::http::{hint as of_headers, status_verdict};
use crate::hint::{Hint, protobuf_duration};
use crate::verdict::{Cause, Class, GrpcCode, Verdict};

/// Returns the verdict on the body, if it differs from the verdict on the head.
pub(super) fn verdict(body_prefix: &BodyPrefix<'_>) -> Option<Verdict> {
    let root: Value = serde_json::from_slice(body_prefix.body()).ok()?;
    let error = error(&root)?;
    let head = body_prefix.verdict();
    let named = named(error);
    // A name takes precedence over a status if it is more exact.
    let exact = named.filter(|named| is_more_exact(named.class()));
    let verdict = if head.is_success() {
        let verdict = exact.or_else(|| numbered(error)).or(named);
        verdict.unwrap_or(Verdict::rejected().with_cause(head.cause()))
    } else {
        exact.map_or(head, |exact| exact.with_cause(head.cause()))
    };
    // The verdict on a success has no hint yet.
    let of_head = of_headers(verdict.class(), body_prefix.headers());
    let verdict = verdict.with_hint(hint(error, of_head));
    (verdict != head).then_some(verdict)
}

/// Returns the object or string that describes the error.
fn error(root: &Value) -> Option<&Value> {
    // Gemini wraps the error of a streamed response in an array. In an array of several items, as for a
    // batch, an error belongs to one item, not to the call.
    let root = match root.as_array().map(Vec::as_slice) {
        Some([only]) => only,
        _ => root,
    };
    match root.get("error") {
        Some(error @ Value::Object(fields)) if !fields.is_empty() => Some(error),
        Some(error @ Value::String(text)) if !text.is_empty() => Some(error),
        _ => Some(root).filter(|root| root.get("object").is_some_and(|object| object == "error")),
    }
}

fn is_more_exact(class: Class) -> bool {
    use Class::{CredentialRejected, Overloaded, QuotaExhausted, Throttled};
    matches!(class, Throttled | Overloaded | QuotaExhausted | CredentialRejected)
}

/// Returns the verdict on the error's names, of which the most specific is tried first.
fn named(error: &Value) -> Option<Verdict> {
    if retry_delay(error).is_none() && is_daily_quota(error) {
        return Some(Verdict::quota_exhausted().with_cause(status(429)));
    }
    let reason = details(error, "ErrorInfo").find_map(|info| info.get("reason"));
    let names = [reason, error.get("code"), error.get("type"), error.get("status")];
    names.into_iter().flatten().filter_map(Value::as_str).find_map(of_name)
}

/// Returns the verdict on a name, with the corresponding status as its cause.
fn of_name(name: &str) -> Option<Verdict> {
    let (verdict, code) = match name {
        "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" => {
            (Verdict::quota_exhausted(), 429)
        }
        "billing_error" | "BILLING_DISABLED" => (Verdict::quota_exhausted(), 402),
        "invalid_api_key" | "authentication_error" | "account_deactivated" | "API_KEY_INVALID" => {
            (Verdict::credential_rejected(), 401)
        }
        "access_terminated" | "CONSUMER_SUSPENDED" => (Verdict::credential_rejected(), 403),
        "rate_limit_error" | "rate_limit_exceeded" => (Verdict::throttled(), 429),
        "overloaded_error" => (Verdict::overloaded(), 529),
        "api_error" | "server_error" => (Verdict::transient(), 500),
        "timeout_error" => (Verdict::transient(), 504),
        "invalid_request_error" => (Verdict::rejected(), 400),
        "permission_error" => (Verdict::rejected(), 403),
        "not_found_error" => (Verdict::rejected(), 404),
        "request_too_large" => (Verdict::rejected(), 413),
        _ => {
            let verdict = grpc::verdict(GrpcCode::from_name(name)?, &HeaderMap::new());
            return Some(verdict).filter(|verdict| !verdict.is_success());
        }
    };
    Some(verdict.with_cause(status(code)))
}

/// Returns the verdict on an error's number, if that is the status of a failure.
fn numbered(error: &Value) -> Option<Verdict> {
    let code = error.get("code")?;
    let number = code.as_u64().or_else(|| code.as_str()?.parse().ok())?;
    let status = StatusCode::from_u16(number.try_into().ok()?).ok()?;
    Some(status_verdict(status)).filter(|verdict| !verdict.is_success())
}

fn status(code: u16) -> Cause {
    StatusCode::from_u16(code).map_or(Cause::Unknown, Cause::Status)
}

/// Returns the details of this `google.rpc` type.
fn details<'a>(error: &'a Value, name: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = error.get("details").and_then(Value::as_array).into_iter().flatten();
    all.filter(move |detail| {
        let full =
            detail.get("@type").and_then(Value::as_str).and_then(|full| full.rsplit_once('.'));
        full.is_some_and(|(_, own)| own == name)
    })
}

/// Returns whether the error names a daily quota. Google also does so for limits that reset within a
/// minute, but then adds a `RetryInfo`, which takes precedence.
fn is_daily_quota(error: &Value) -> bool {
    let violations = details(error, "QuotaFailure").filter_map(|failure| failure.get("violations"));
    let mut ids =
        violations.filter_map(Value::as_array).flatten().filter_map(|one| one.get("quotaId"));
    ids.any(|id| id.as_str().is_some_and(|id| id.contains("PerDay")))
}

/// Returns the head's hint, or that of `RetryInfo` if it is longer. A `RetryInfo` also takes precedence
/// over a wait derived from exhausted limits, which the server didn't request.
fn hint(error: &Value, head: Hint) -> Hint {
    match (retry_delay(error), head.retry_after.filter(|_| !head.of_limits)) {
        (Some(delay), of_head) if of_head.is_none_or(|of_head| of_head < delay) => {
            head.with_retry_after(delay)
        }
        _ => head,
    }
}

fn retry_delay(error: &Value) -> Option<Duration> {
    let delays = details(error, "RetryInfo").filter_map(|info| info.get("retryDelay")?.as_str());
    delays.filter_map(protobuf_duration).max()
}

#[cfg(test)]
mod tests;
