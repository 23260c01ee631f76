//! The gRPC rows of the verdict table.

use ::http::{HeaderMap, HeaderName, HeaderValue};

use super::http;
use crate::hint::Hint;
use crate::verdict::{Cause, GrpcCode, Verdict};

/// Returns the code in a response's head, if there is one.
///
/// A gRPC error without a message arrives as such a head ("Trailers-Only"). After a message, the
/// status is in the trailers.
pub(super) fn code(headers: &HeaderMap) -> Option<GrpcCode> {
    Some(match status(headers)?.as_bytes() {
        [digit @ b'0'..=b'9'] => GrpcCode::from_number(u32::from(digit - b'0')),
        [b'1', digit @ b'0'..=b'9'] => GrpcCode::from_number(10 + u32::from(digit - b'0')),
        _ => GrpcCode::Unknown,
    })
}

/// Returns whether a response's head carries a code.
#[inline]
pub(super) fn has_code(headers: &HeaderMap) -> bool {
    !headers.is_empty() && status(headers).is_some()
}

fn status(headers: &HeaderMap) -> Option<&HeaderValue> {
    static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
    headers.get(&GRPC_STATUS)
}

/// Returns the verdict of trailers, if they have a gRPC status.
pub(crate) fn trailers_verdict(trailers: &HeaderMap) -> Option<Verdict> {
    let code = code(trailers)?;
    Some(verdict(code, trailers).in_trailers())
}

/// Returns the verdict of a gRPC status and the headers beside it.
pub(crate) fn verdict(code: GrpcCode, headers: &HeaderMap) -> Verdict {
    let has_pushback = || Hint::explicit(headers).retry_after.is_some();
    let verdict = match code {
        GrpcCode::Ok => Verdict::success(),
        GrpcCode::ResourceExhausted => Verdict::throttled(),
        GrpcCode::Unauthenticated => Verdict::credential_rejected(),
        GrpcCode::Unavailable if has_pushback() => Verdict::overloaded(),
        GrpcCode::Unavailable
        | GrpcCode::Cancelled
        | GrpcCode::Unknown
        | GrpcCode::DeadlineExceeded
        | GrpcCode::Aborted
        | GrpcCode::Internal
        | GrpcCode::DataLoss => Verdict::transient(),
        GrpcCode::InvalidArgument
        | GrpcCode::NotFound
        | GrpcCode::AlreadyExists
        | GrpcCode::PermissionDenied
        | GrpcCode::FailedPrecondition
        | GrpcCode::OutOfRange
        | GrpcCode::Unimplemented => Verdict::rejected(),
    };
    verdict.with_cause(Cause::Grpc(code)).with_hint(http::hint(verdict.class(), headers))
}
