//! The HTTP rows of the verdict table.

use http::{HeaderMap, StatusCode};

use super::{Cause, Class, Verdict, grpc};
use crate::hint::Hint;

/// The verdict of a response's head.
pub(super) fn verdict(status: StatusCode, headers: &HeaderMap) -> Verdict {
    if let (StatusCode::OK, Some(code)) = (status, grpc::code(headers)) {
        return grpc::verdict(code, headers);
    }
    let verdict = of_status(status);
    verdict.hint_is(hint(verdict.class(), headers))
}

/// The hint of an answer in this row. A limit that is used up explains a refusal,
/// and no other failure. The headers of a success aren't searched.
pub(crate) fn hint(class: Class, headers: &HeaderMap) -> Hint {
    match class {
        Class::Success => Hint::NONE,
        Class::Throttled | Class::Overloaded => Hint::from_headers(headers),
        _ => Hint::asked(headers),
    }
}

/// The verdict of a status, without headers.
#[allow(clippy::match_same_arms)] // the rows in the order of the table
pub(crate) fn of_status(status: StatusCode) -> Verdict {
    let verdict = match status.as_u16() {
        _ if is_success(status) => Verdict::success(),
        401 => Verdict::credential_rejected(),
        // Too early (425) and conflict (409) may succeed when sent again a little later.
        408 | 409 | 425 => Verdict::transient(),
        429 => Verdict::throttled(),
        501 => Verdict::rejected(),
        // 529 is what Anthropic and others say for "overloaded".
        503 | 529 => Verdict::overloaded(),
        500.. => Verdict::transient(),
        _ => Verdict::rejected(),
    };
    verdict.cause_is(Cause::Status(status))
}

fn is_success(status: StatusCode) -> bool {
    status.as_u16() < 400
}
