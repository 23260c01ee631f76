//! The gRPC rows of the verdict table.

use std::fmt;

use ::http::{HeaderMap, HeaderName, HeaderValue};

use super::{Cause, Verdict, http};
use crate::hint::Hint;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// A gRPC status code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // their meaning is gRPC's
        pub enum GrpcCode {
            $($name = $number,)*
        }

        impl GrpcCode {
            /// The code of a number; an unknown number is `UNKNOWN`, as gRPC has it.
            #[must_use]
            pub const fn from_number(number: u32) -> Self {
                match number {
                    $($number => Self::$name,)*
                    _ => Self::Unknown,
                }
            }

            /// The code of a name as the gRPC specification writes it.
            pub(crate) fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The code's name as the gRPC specification writes it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    Ok = 0, "OK";
    Cancelled = 1, "CANCELLED";
    Unknown = 2, "UNKNOWN";
    InvalidArgument = 3, "INVALID_ARGUMENT";
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED";
    NotFound = 5, "NOT_FOUND";
    AlreadyExists = 6, "ALREADY_EXISTS";
    PermissionDenied = 7, "PERMISSION_DENIED";
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED";
    FailedPrecondition = 9, "FAILED_PRECONDITION";
    Aborted = 10, "ABORTED";
    OutOfRange = 11, "OUT_OF_RANGE";
    Unimplemented = 12, "UNIMPLEMENTED";
    Internal = 13, "INTERNAL";
    Unavailable = 14, "UNAVAILABLE";
    DataLoss = 15, "DATA_LOSS";
    Unauthenticated = 16, "UNAUTHENTICATED";
}

impl fmt::Display for GrpcCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The code that a response's head carries, if it carries one.
///
/// A gRPC error without a message comes as such a head ("Trailers-Only"); after
/// a message the status is in the trailers, which a head doesn't show.
pub(super) fn code(headers: &HeaderMap) -> Option<GrpcCode> {
    Some(match status(headers)?.as_bytes() {
        [digit @ b'0'..=b'9'] => GrpcCode::from_number(u32::from(digit - b'0')),
        [b'1', digit @ b'0'..=b'9'] => GrpcCode::from_number(10 + u32::from(digit - b'0')),
        _ => GrpcCode::Unknown,
    })
}

/// Whether a response's head carries a code.
#[inline]
pub(super) fn has_code(headers: &HeaderMap) -> bool {
    !headers.is_empty() && status(headers).is_some()
}

fn status(headers: &HeaderMap) -> Option<&HeaderValue> {
    static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
    headers.get(&GRPC_STATUS)
}

/// The verdict of trailers, if they have a gRPC status.
pub(crate) fn of_trailers(trailers: &HeaderMap) -> Option<Verdict> {
    let code = code(trailers)?;
    Some(verdict(code, trailers).in_trailers())
}

/// The verdict of a gRPC status, with what the headers beside it ask for.
pub(crate) fn verdict(code: GrpcCode, headers: &HeaderMap) -> Verdict {
    let pushed_back = || Hint::asked(headers).retry_after.is_some();
    let verdict = match code {
        GrpcCode::Ok => Verdict::success(),
        GrpcCode::ResourceExhausted => Verdict::throttled(),
        GrpcCode::Unauthenticated => Verdict::credential_rejected(),
        GrpcCode::Unavailable if pushed_back() => Verdict::overloaded(),
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
    verdict.cause_is(Cause::Grpc(code)).hint_is(http::hint(verdict.class(), headers))
}
