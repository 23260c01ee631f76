//! `tonic::Status` and what a tonic channel fails with.

use std::error::Error;
use std::io;

use super::Finding;
use crate::classify::{Cause, GrpcCode, Verdict, grpc};

pub(super) fn known(error: &(dyn Error + 'static)) -> Option<Finding> {
    if error.is::<tonic::ConnectError>() || is_connect_timeout(error) {
        // DNS, TCP, TLS, or the time for them was up.
        return Some(Finding::Certain(Verdict::not_sent().cause_is(Cause::Connect)));
    }
    if error.is::<tonic::TimeoutExpired>() {
        return Some(Finding::Certain(Verdict::transient().cause_is(Cause::Timeout)));
    }
    error.downcast_ref().map(status)
}

/// Whether a channel had no connection in time.
///
/// That it doesn't call a `ConnectError`, but it is the one `io::Error` that
/// stands directly under the channel's own error: of connections that have been
/// made it is hyper that tells. The channel's error is known by what `Debug`
/// calls it, as its type is not to be had without all of tonic's transport.
fn is_connect_timeout(error: &(dyn Error + 'static)) -> bool {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == io::ErrorKind::TimedOut)
        && format!("{error:?}").starts_with("tonic::transport::Error(")
}

fn status(status: &tonic::Status) -> Finding {
    let code = GrpcCode::from_number(status.code() as u32);
    let verdict = grpc::verdict(code, status.metadata().as_ref());
    match status.source() {
        // Tonic made it of an error on this side, in codes too coarse: a
        // timeout, for one, is `CANCELLED`.
        Some(_) => Finding::Provisional(verdict),
        None => Finding::Certain(verdict),
    }
}
