//! What a reply or an error means, observed through the public API alone.
//!
//! The tables here are written by hand from the crate's documentation, not made
//! from its code; the errors are real ones, of real sockets on the loopback.

#![allow(clippy::unwrap_used)] // what isn't a test itself is a test's

use std::error::Error;

use http::{HeaderMap, Response, StatusCode};
use tower_upstream::classify::{
    Cause, Class, Classify, ErrorClassifier, HttpClassifier, Outcome, Verdict,
};

#[cfg(all(feature = "hyper-util", feature = "reqwest", feature = "tonic"))]
#[path = "classify/clients/mod.rs"]
mod clients;
#[path = "classify/closures.rs"]
mod closures;
#[path = "classify/tables.rs"]
mod tables;

/// The verdict of an error, on which every way to get one must agree.
fn verdict(error: &(dyn Error + 'static)) -> Verdict {
    let verdict = Outcome::error(error).verdict();
    let http: Verdict = HttpClassifier::new().classify(Err::<&Response<()>, _>(error));
    assert_eq!(http, verdict);
    assert_eq!(ErrorClassifier::new().classify(Err::<&(), _>(error)), verdict);
    verdict
}

/// The verdict of a response, on which every way to get one must agree.
fn verdict_of(status: StatusCode, headers: HeaderMap) -> Verdict {
    let verdict = Outcome::head(status, &headers).verdict();
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    assert_eq!(HttpClassifier::new().classify(Ok(&response)), verdict);
    verdict
}

/// Asserts what became of a call that failed.
#[track_caller]
#[allow(dead_code)] // without clients there are no errors
fn assert_means(error: &(dyn Error + 'static), class: Class, cause: Cause) {
    let verdict = verdict(error);
    assert_eq!((verdict.class(), verdict.cause()), (class, cause), "{error:?}");
}
