//! Closures as classifiers, over whatever is below, without a type annotation.

use std::io;

use http::Response;
use tower_upstream::classify::{
    Cause, Class, Classify, ErrorClassifier, HttpClassifier, Verdict, classify_fn, result_fn,
};

fn refused() -> io::Error {
    io::ErrorKind::ConnectionRefused.into()
}

fn response(status: u16) -> Response<&'static str> {
    Response::builder().status(status).header("x-plan", "spent").body("").unwrap()
}

/// What a layer does, which knows the response's type from the service below.
fn judge<Res, C: Classify<Res>>(classifier: &C, seen: Result<Res, io::Error>) -> Class {
    match seen {
        Ok(response) => classifier.classify(Ok(&response)).class(),
        Err(error) => classifier.classify(Err(&error)).class(),
    }
}

#[test]
fn by_status() {
    let classifier = classify_fn(|outcome| match outcome.status() {
        Some(status) if status == 402 => Verdict::quota_exhausted(),
        _ => outcome.verdict(),
    });
    assert_eq!(judge(&classifier, Ok(response(402))), Class::QuotaExhausted);
    assert_eq!(judge(&classifier, Ok(response(503))), Class::Overloaded);
    assert_eq!(judge(&classifier, Ok(Response::new(vec![1, 2, 3]))), Class::Success);
    assert_eq!(judge::<Response<()>, _>(&classifier, Err(refused())), Class::NotSent);
}

#[test]
fn by_header() {
    let classifier = classify_fn(|outcome| {
        if outcome.header("x-plan") == Some("spent") {
            return Verdict::quota_exhausted();
        }
        outcome.verdict()
    });
    assert_eq!(judge(&classifier, Ok(response(200))), Class::QuotaExhausted);
    assert_eq!(judge(&classifier, Ok(Response::new(()))), Class::Success);
}

#[test]
fn by_error() {
    let classifier = classify_fn(|outcome| match outcome.cause::<io::Error>() {
        Some(error) if error.kind() == io::ErrorKind::PermissionDenied => Verdict::rejected(),
        _ => outcome.verdict(),
    });
    let denied = io::ErrorKind::PermissionDenied.into();
    assert_eq!(judge::<Response<()>, _>(&classifier, Err(denied)), Class::Rejected);
    assert_eq!(judge::<Response<()>, _>(&classifier, Err(refused())), Class::NotSent);
    assert_eq!(judge(&classifier, Ok(response(500))), Class::Transient);
}

#[test]
fn by_any_error_at_all() {
    let classifier = classify_fn(|outcome| match outcome.as_error() {
        Some(_) => Verdict::throttled(),
        None => Verdict::success(),
    });
    assert_eq!(judge::<Response<()>, _>(&classifier, Err(refused())), Class::Throttled);
    assert_eq!(judge(&classifier, Ok(response(500))), Class::Success);
}

struct Reply {
    busy: bool,
}

#[test]
fn of_responses_that_are_not_http() {
    let classifier = result_fn(|seen: Result<&Reply, _>| match seen {
        Ok(reply) if reply.busy => Verdict::overloaded(),
        Ok(_) => Verdict::success(),
        Err(_) => Verdict::transient().with_cause(Cause::Connection),
    });
    assert_eq!(judge(&classifier, Ok(Reply { busy: true })), Class::Overloaded);
    assert_eq!(judge(&classifier, Ok(Reply { busy: false })), Class::Success);
    assert_eq!(judge(&classifier, Err(refused())), Class::Transient);
}

#[test]
fn the_default_is_notified_separately_from_errors_alone() {
    assert_eq!(judge(&HttpClassifier::new(), Ok(response(500))), Class::Transient);
    assert_eq!(judge(&ErrorClassifier::new(), Ok(response(500))), Class::Success);
    assert_eq!(judge(&ErrorClassifier::new(), Ok(Reply { busy: true })), Class::Success);
    assert_eq!(judge::<Reply, _>(&ErrorClassifier::new(), Err(refused())), Class::NotSent);
}
