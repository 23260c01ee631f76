//! `h2::Error`.

use std::error::Error;

use h2::Reason;

use super::Finding;
use crate::verdict::{Cause, Verdict};

pub(super) fn known(error: &(dyn Error + 'static)) -> Option<Finding> {
    error.downcast_ref::<h2::Error>().map(|error| Finding::Certain(verdict(error)))
}

pub(super) fn verdict(error: &h2::Error) -> Verdict {
    if is_refused(error) {
        return Verdict::not_sent().with_cause(Cause::RefusedStream);
    }
    let is_ours = error.is_reset() && !error.is_remote() && !error.is_library();
    match error.reason() {
        // Headers or a target that HTTP/2 doesn't allow.
        None if !error.is_io() => Verdict::rejected(),
        // This side reset the stream, as it does if the request's body fails.
        Some(_) if is_ours => Verdict::rejected(),
        _ => Verdict::transient().with_cause(
            error.get_io().map_or(Cause::Connection, |error| super::io::broken_by(error.kind())),
        ),
    }
}

/// Whether the peer said that it hasn't processed the stream.
///
/// It must come from the peer: when a request's body fails, h2 itself resets the
/// stream for the reason in the body's error, which may be a stream that another
/// peer refused.
///
/// On a `GOAWAY` h2 ends only the streams above the last one that the peer names,
/// and those that would have come after. The others go on, and end with an
/// `io::Error` if the peer hangs up on them. RFC 9113 6.8 makes no difference
/// between reasons, but a peer that goes away because of an error isn't believed.
fn is_refused(error: &h2::Error) -> bool {
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => error.is_reset() && error.is_remote(),
        Some(Reason::NO_ERROR) => error.is_go_away() && error.is_remote(),
        _ => false,
    }
}
