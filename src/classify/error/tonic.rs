//! `tonic::Status` and what a tonic channel fails with.

use std::error::Error;
use std::io;

use super::Finding;
use crate::classify::grpc;
use crate::verdict::{Cause, GrpcCode, Verdict};

pub(super) fn known(error: &(dyn Error + 'static)) -> Option<Finding> {
    if error.is::<tonic::ConnectError>() || is_connect_timeout(error) {
        // DNS, TCP or TLS failed, or took too long.
        return Some(Finding::Certain(Verdict::not_sent().with_cause(Cause::Connect)));
    }
    if error.is::<tonic::TimeoutExpired>() {
        return Some(Finding::Certain(Verdict::transient().with_cause(Cause::Timeout)));
    }
    error.downcast_ref().map(status)
}

/// Whether a channel got no connection in time.
///
/// Tonic makes no `ConnectError` of that. But it is the only `io::Error` directly
/// under the channel's own error: once a connection is made, hyper's error stands
/// between. The channel's error is recognised by its `Debug` text, as its type
/// needs all of tonic's transport.
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
        // Tonic made the status of an error on this side. Its codes are too
        // coarse for that: a timeout, for example, is `CANCELLED`.
        Some(_) => Finding::Provisional(verdict),
        None => Finding::Certain(verdict),
    }
}
