//! Every status there is, against the table.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use tower_upstream::classify::{Cause, Class, GrpcCode, Verdict};
use tower_upstream::hint::Hint;

use super::verdict_of;

/// First and last status, and the row of the table. Later rows win.
const HTTP: &[(u16, u16, Class)] = &[
    (100, 399, Class::Success),
    (400, 499, Class::Rejected),
    (500, 999, Class::Transient),
    (401, 401, Class::CredentialRejected),
    (408, 409, Class::Transient),
    (425, 425, Class::Transient),
    (429, 429, Class::Throttled),
    (501, 501, Class::Rejected),
    (503, 503, Class::Overloaded),
    (529, 529, Class::Overloaded),
];

fn row(status: u16) -> Class {
    let rows = HTTP.iter().rev();
    rows.clone().find(|(first, last, _)| (*first..=*last).contains(&status)).unwrap().2
}

#[test]
fn every_http_status_is_in_its_row() {
    for number in 100..=999 {
        let status = StatusCode::from_u16(number).unwrap();
        let verdict = verdict_of(status, HeaderMap::new());
        assert_eq!(verdict.class(), row(number), "{number}");
        assert_eq!(verdict.cause(), Cause::Status(status), "{number}");
        assert_eq!(verdict.hint(), Hint::NONE, "{number}");
        assert_eq!(verdict.is_success(), number < 400, "{number}");
    }
}

#[test]
fn every_http_failure_carries_its_hint() {
    let hint = Hint::NONE.with_retry_after(Duration::from_secs(7)).with_should_retry(false);
    for number in 100..=999 {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("7"));
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
        let verdict = verdict_of(StatusCode::from_u16(number).unwrap(), headers);
        assert_eq!(verdict.class(), row(number), "a hint moves no row: {number}");
        assert_eq!(verdict.hint(), if number < 400 { Hint::NONE } else { hint }, "{number}");
    }
}

#[test]
fn what_was_not_processed() {
    let unprocessed = |status: u16, retry_after: Option<u32>| {
        let mut headers = HeaderMap::new();
        retry_after.map(|wait| headers.insert("retry-after", wait.into()));
        let verdict = verdict_of(StatusCode::from_u16(status).unwrap(), headers);
        assert!(!verdict.is_unsent(), "a response is proof that something left");
        verdict.is_unprocessed()
    };
    assert!(unprocessed(429, None));
    assert!(unprocessed(503, Some(1)));
    assert!(!unprocessed(503, None), "it may have failed half way");
    assert!(!unprocessed(500, Some(1)));
    assert!(!unprocessed(401, None));
    assert!(!unprocessed(200, None));
}

/// gRPC's codes by number. `UNAVAILABLE` is without pushback.
const GRPC: [(GrpcCode, &str, Class); 17] = [
    (GrpcCode::Ok, "OK", Class::Success),
    (GrpcCode::Cancelled, "CANCELLED", Class::Transient),
    (GrpcCode::Unknown, "UNKNOWN", Class::Transient),
    (GrpcCode::InvalidArgument, "INVALID_ARGUMENT", Class::Rejected),
    (GrpcCode::DeadlineExceeded, "DEADLINE_EXCEEDED", Class::Transient),
    (GrpcCode::NotFound, "NOT_FOUND", Class::Rejected),
    (GrpcCode::AlreadyExists, "ALREADY_EXISTS", Class::Rejected),
    (GrpcCode::PermissionDenied, "PERMISSION_DENIED", Class::Rejected),
    (GrpcCode::ResourceExhausted, "RESOURCE_EXHAUSTED", Class::Throttled),
    (GrpcCode::FailedPrecondition, "FAILED_PRECONDITION", Class::Rejected),
    (GrpcCode::Aborted, "ABORTED", Class::Transient),
    (GrpcCode::OutOfRange, "OUT_OF_RANGE", Class::Rejected),
    (GrpcCode::Unimplemented, "UNIMPLEMENTED", Class::Rejected),
    (GrpcCode::Internal, "INTERNAL", Class::Transient),
    (GrpcCode::Unavailable, "UNAVAILABLE", Class::Transient),
    (GrpcCode::DataLoss, "DATA_LOSS", Class::Transient),
    (GrpcCode::Unauthenticated, "UNAUTHENTICATED", Class::CredentialRejected),
];

fn grpc(status: &[u8], pushback: Option<&'static str>) -> Verdict {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_bytes(status).unwrap());
    if let Some(millis) = pushback {
        headers.insert("grpc-retry-pushback-ms", HeaderValue::from_static(millis));
    }
    verdict_of(StatusCode::OK, headers)
}

#[test]
fn every_grpc_code_is_in_its_row() {
    for (number, (code, name, class)) in (0..).zip(GRPC) {
        assert_eq!(GrpcCode::from_number(number), code);
        assert_eq!(code.name(), name);
        let verdict = grpc(number.to_string().as_bytes(), None);
        assert_eq!(verdict.class(), class, "{name}");
        assert_eq!(verdict.cause(), Cause::Grpc(code), "{name}");
    }
}

#[test]
fn a_conflict_speaks_against_no_upstream_in_whichever_protocol() {
    let conflict = |verdict: Verdict| !verdict.is_upstream_failure();
    assert!(conflict(grpc(b"10", None)), "an aborted transaction");
    assert!(conflict(verdict_of(StatusCode::CONFLICT, HeaderMap::new())));
    assert!(conflict(verdict_of(StatusCode::TOO_EARLY, HeaderMap::new())));
    assert!(!conflict(grpc(b"13", None)));
    assert!(!conflict(verdict_of(StatusCode::BAD_GATEWAY, HeaderMap::new())));
}

#[test]
fn an_unknown_grpc_code_is_unknown() {
    for number in (17..300).chain([u32::MAX]) {
        assert_eq!(GrpcCode::from_number(number), GrpcCode::Unknown);
    }
    let garbage: &[&[u8]] = &[
        b"17",
        b"99",
        b"4294967295",
        b"4294967296",
        b"-1",
        b"",
        b" ",
        b"OK",
        b"0x0",
        b"1.0",
        b"\xff",
        b"0, 0",
    ];
    for status in garbage {
        let verdict = grpc(status, None);
        let shown = status.escape_ascii();
        assert_eq!(verdict.class(), Class::Transient, "{shown}");
        assert_eq!(verdict.cause(), Cause::Grpc(GrpcCode::Unknown), "{shown}");
    }
}

#[test]
fn unavailable_with_pushback_is_overloaded() {
    let seen = |pushback| {
        let verdict = grpc(b"14", pushback);
        let hint = verdict.hint();
        (verdict.class(), hint.retry_after.map(|wait| wait.as_millis()), hint.should_retry)
    };
    assert_eq!(seen(None), (Class::Transient, None, None));
    assert_eq!(seen(Some("250")), (Class::Overloaded, Some(250), None));
    assert_eq!(seen(Some("0")), (Class::Overloaded, Some(0), None));
    assert_eq!(seen(Some("-1")), (Class::Transient, None, Some(false)));
    assert_eq!(seen(Some("soon")), (Class::Transient, None, Some(false)));
}

#[test]
fn pushback_moves_no_other_grpc_code() {
    for (number, (code, name, class)) in (0..).zip(GRPC) {
        if code == GrpcCode::Unavailable {
            continue;
        }
        let verdict = grpc(u32::to_string(&number).as_bytes(), Some("250"));
        assert_eq!(verdict.class(), class, "{name}");
        let wait = verdict.hint().retry_after;
        let said = (code != GrpcCode::Ok).then_some(Duration::from_millis(250));
        assert_eq!(wait, said, "{name}");
    }
}

#[test]
fn under_another_http_status_grpc_has_no_say() {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from_static("0"));
    assert_eq!(verdict_of(StatusCode::BAD_GATEWAY, headers).class(), Class::Transient);
}
