//! The HTTP rows of the verdict table.

use http::{HeaderMap, StatusCode};

use super::grpc;
use crate::hint::Hint;
use crate::verdict::{Cause, Class, Verdict};

/// Returns the verdict of a response's head.
pub(super) fn verdict(status: StatusCode, headers: &HeaderMap) -> Verdict {
    if let (StatusCode::OK, Some(code)) = (status, grpc::code(headers)) {
        return grpc::verdict(code, headers);
    }
    let verdict = status_verdict(status);
    verdict.with_hint(hint(verdict.class(), headers))
}

/// Returns the hint in the headers of a result of this class. Exhausted limits explain a throttled
/// or overloaded response, and no other failure. The headers of a success aren't searched.
pub(crate) fn hint(class: Class, headers: &HeaderMap) -> Hint {
    match class {
        Class::Success => Hint::NONE,
        Class::Throttled | Class::Overloaded => Hint::from_headers(headers),
        _ => Hint::explicit(headers),
    }
}

/// Returns the verdict of a status without headers.
#[allow(clippy::match_same_arms)] // the rows in the order of the table
pub(crate) fn status_verdict(status: StatusCode) -> Verdict {
    let verdict = match status.as_u16() {
        ..=399 => Verdict::success(),
        401 => Verdict::credential_rejected(),
        // A request that is too early (425) or in conflict (409) may succeed a little later.
        408 | 409 | 425 => Verdict::transient(),
        429 => Verdict::throttled(),
        501 => Verdict::rejected(),
        // Anthropic and others send 529 for "overloaded".
        503 | 529 => Verdict::overloaded(),
        500.. => Verdict::transient(),
        _ => Verdict::rejected(),
    };
    verdict.with_cause(Cause::Status(status))
}
