use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::peek::BodyPrefix;
use crate::verdict::{Cause, Class, GrpcCode, Verdict};

fn verdict_with(status: u16, headers: &HeaderMap, body: &str) -> Option<Verdict> {
    let status = StatusCode::from_u16(status).unwrap();
    super::verdict(&BodyPrefix::new(status, headers, body.as_bytes()))
}

fn verdict(status: u16, body: &str) -> Option<Verdict> {
    verdict_with(status, &HeaderMap::new(), body)
}

fn google(status: &str, details: &str) -> String {
    format!(
        r#"{{"error": {{"code": 429, "message": "m", "status": "{status}", "details": [{details}]}}}}"#
    )
}

const DAY: &str = r#"{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
    {"quotaMetric": "m", "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "20"}]}"#;
const MINUTE: &str = r#"{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
    {"quotaMetric": "m", "quotaId": "GenerateRequestsPerMinutePerProjectPerModel", "quotaValue": "10"}]}"#;
const RETRY_INFO: &str =
    r#"{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}"#;

#[test]
fn json_provider_errors_have_expected_classes() {
    let openai = |kind: &str, code: &str| {
        format!(
            r#"{{"error": {{"message": "m", "type": "{kind}", "param": null, "code": {code}}}}}"#
        )
    };
    let anthropic = |kind: &str| {
        format!(r#"{{"type": "error", "error": {{"type": "{kind}", "message": "m"}}}}"#)
    };
    let reason = |reason: &str| {
        let info = format!(
            r#"{{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "{reason}"}}"#
        );
        google("INVALID_ARGUMENT", &info)
    };
    let rows = [
        // OpenAI; the type alone, where there is no code, is enough.
        (429, openai("insufficient_quota", "\"insufficient_quota\""), Some(Class::QuotaExhausted)),
        (429, openai("insufficient_quota", "null"), Some(Class::QuotaExhausted)),
        (
            400,
            openai("invalid_request_error", "\"billing_hard_limit_reached\""),
            Some(Class::QuotaExhausted),
        ),
        (429, openai("billing_not_active", "\"billing_not_active\""), Some(Class::QuotaExhausted)),
        (403, openai("access_terminated", "null"), Some(Class::CredentialRejected)),
        (
            400,
            openai("invalid_request_error", "\"invalid_api_key\""),
            Some(Class::CredentialRejected),
        ),
        // Same class as the head.
        (401, openai("invalid_request_error", "\"invalid_api_key\""), None),
        (429, openai("requests", "\"rate_limit_exceeded\""), None),
        // Less exact than the head.
        (500, openai("invalid_request_error", "null"), None),
        (503, openai("server_error", "null"), None),
        (400, openai("invalid_request_error", "\"context_length_exceeded\""), None),
        // Anthropic.
        (500, anthropic("overloaded_error"), Some(Class::Overloaded)),
        (529, anthropic("overloaded_error"), None),
        (402, anthropic("billing_error"), Some(Class::QuotaExhausted)),
        (403, anthropic("authentication_error"), Some(Class::CredentialRejected)),
        (403, anthropic("permission_error"), None),
        // Google.
        (429, google("RESOURCE_EXHAUSTED", MINUTE), None),
        (429, google("RESOURCE_EXHAUSTED", DAY), Some(Class::QuotaExhausted)),
        (
            429,
            google("RESOURCE_EXHAUSTED", &format!("{DAY}, {RETRY_INFO}")),
            Some(Class::Throttled),
        ),
        (429, format!("[{}]", google("RESOURCE_EXHAUSTED", DAY)), Some(Class::QuotaExhausted)),
        (400, reason("API_KEY_INVALID"), Some(Class::CredentialRejected)),
        (403, reason("CONSUMER_SUSPENDED"), Some(Class::CredentialRejected)),
        (403, reason("BILLING_DISABLED"), Some(Class::QuotaExhausted)),
        (403, reason("SERVICE_DISABLED"), None),
        // Neither an error nor JSON.
        (429, String::new(), None),
        (429, "<html>insufficient_quota</html>".to_owned(), None),
        (429, "{\"error\": {\"code\": \"insufficient_quota\"".to_owned(), None),
        (429, r#"{"detail": "insufficient_quota"}"#.to_owned(), None),
        (429, r#"{"error": null}"#.to_owned(), None),
        (429, "[]".to_owned(), None),
        (429, "{\"a\":".repeat(10_000), None),
    ];
    for (status, body, expected) in rows {
        let class = verdict(status, &body).map(|verdict| verdict.class());
        assert_eq!(class, expected, "{status} {body:.200}");
    }
}

#[test]
fn json_error_inside_success_is_classified() {
    let status = |code| Cause::Status(StatusCode::from_u16(code).unwrap());
    let rows = [
        (r#"{"error": {"code": 429, "message": "m"}}"#, Class::Throttled, status(429)),
        (r#"{"error": {"code": "502", "message": "m"}}"#, Class::Transient, status(502)),
        (r#"{"error": {"code": 401, "message": "m"}}"#, Class::CredentialRejected, status(401)),
        (
            r#"{"status": "failed", "error": {"code": "server_error"}}"#,
            Class::Transient,
            status(500),
        ),
        (r#"{"error": {"type": "overloaded_error"}}"#, Class::Overloaded, status(529)),
        (r#"{"error": {"type": "permission_error"}}"#, Class::Rejected, status(403)),
        // The number is the status of the upstream, unless the name is more exact.
        (
            r#"{"error": {"code": 401, "type": "invalid_request_error"}}"#,
            Class::CredentialRejected,
            status(401),
        ),
        (r#"{"error": {"code": 503, "type": "server_error"}}"#, Class::Overloaded, status(503)),
        (
            r#"{"error": {"code": 429, "type": "insufficient_quota"}}"#,
            Class::QuotaExhausted,
            status(429),
        ),
        (r#"{"error": {"code": 200, "type": "server_error"}}"#, Class::Transient, status(500)),
        (
            r#"{"error": {"status": "UNAVAILABLE"}}"#,
            Class::Transient,
            Cause::Grpc(GrpcCode::Unavailable),
        ),
        (r#"{"object": "error", "type": "invalid_request_error"}"#, Class::Rejected, status(400)),
        // An unknown error must not be retried, nor count against the upstream.
        (r#"{"error": {"code": "content_filter"}}"#, Class::Rejected, status(200)),
        (r#"{"error": {"code": 200}}"#, Class::Rejected, status(200)),
        (r#"{"error": {"code": 99999999}}"#, Class::Rejected, status(200)),
        (r#"{"error": {"status": "OK"}}"#, Class::Rejected, status(200)),
        (r#"{"error": "no such model"}"#, Class::Rejected, status(200)),
    ];
    for (body, class, cause) in rows {
        let verdict = verdict(200, body).expect(body);
        assert_eq!((verdict.class(), verdict.cause()), (class, cause), "{body}");
    }
    let silent = [
        r#"{"error": null, "output": []}"#,
        r#"{"error": ""}"#,
        r#"{"error": {}}"#,
        "3",
        "[]",
        // One result of a batch.
        r#"[{"error": {"code": 401}}, {"id": 2}]"#,
    ];
    for body in silent {
        assert_eq!(verdict(200, body), None, "{body}");
    }
}

#[test]
fn json_retry_info_longer_than_head_is_the_hint() {
    let hint_of = |headers: &HeaderMap, delay: &str| {
        let info = RETRY_INFO.replace("34.5s", delay);
        let verdict = verdict_with(429, headers, &google("RESOURCE_EXHAUSTED", &info));
        verdict.and_then(|verdict| verdict.hint().retry_after)
    };
    let none = HeaderMap::new();
    let rows = [
        ("34s", Some(Duration::from_secs(34))),
        ("0.250s", Some(Duration::from_millis(250))),
        ("34.074824224s", Some(Duration::new(34, 74_824_224))),
        ("0s", None),
        ("-3s", None),
        ("34", None),
        ("s", None),
        ("infs", None),
        ("NaNs", None),
        ("99999999999999999999s", None),
        // Rounds to zero; not the format of a duration.
        ("0.0005s", None),
        ("1e1s", None),
    ];
    for (delay, expected) in rows {
        assert_eq!(hint_of(&none, delay), expected, "{delay}");
    }
    let mut minute = HeaderMap::new();
    minute.insert("retry-after", HeaderValue::from_static("60"));
    assert_eq!(hint_of(&minute, "61s"), Some(Duration::from_secs(61)));
    assert_eq!(hint_of(&minute, "34s"), None, "the head's verdict stands");
}

/// A `RetryInfo` is a request of the server; the reset of an exhausted daily limit isn't.
#[test]
fn json_retry_info_overrides_exhausted_limits() {
    let mut headers = HeaderMap::new();
    headers.insert("x-ratelimit-remaining-requests", HeaderValue::from_static("0"));
    headers.insert("x-ratelimit-reset-requests", HeaderValue::from_static("10h0m0s"));
    let verdict = verdict_with(429, &headers, &google("RESOURCE_EXHAUSTED", RETRY_INFO)).unwrap();
    assert_eq!(verdict.hint().retry_after, Some(Duration::from_millis(34_500)));
    assert!(!verdict.hint().of_limits);
    let unavailable = google("UNAVAILABLE", RETRY_INFO).replace("429", "503");
    let verdict = verdict_with(503, &headers, &unavailable).unwrap();
    assert!(verdict.is_unprocessed(), "it has a hint");
}

/// A gateway responds 200, with the headers of the server that rejected the request.
#[test]
fn json_error_inside_success_keeps_hints_of_head() {
    let hint_of = |name: &'static str, value, body: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-remaining", HeaderValue::from_static("0"));
        headers.insert(name, HeaderValue::from_static(value));
        verdict_with(200, &headers, body).unwrap().hint()
    };
    let throttled = r#"{"error": {"code": 429}}"#;
    let hint = hint_of("retry-after", "30", throttled);
    assert_eq!(hint.retry_after, Some(Duration::from_secs(30)));
    assert_eq!(hint_of("x-should-retry", "false", throttled).should_retry, Some(false));
    // An exhausted limit explains a throttled request, but no other failure.
    let limit = |body| hint_of("x-ratelimit-reset", "20", body).retry_after;
    assert_eq!(limit(throttled), Some(Duration::from_secs(20)));
    assert_eq!(limit(r#"{"error": {"code": 500}}"#), None);
}

#[test]
fn json_verdict_keeps_status_and_hint_of_head() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("7"));
    let verdict =
        verdict_with(429, &headers, r#"{"error": {"code": "insufficient_quota"}}"#).unwrap();
    assert_eq!(verdict.cause(), Cause::Status(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(verdict.hint().retry_after, Some(Duration::from_secs(7)));
}
