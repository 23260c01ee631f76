//! `hyper::Error`.

use std::error::Error;
use std::io;

use super::Finding;
use crate::verdict::{Cause, Verdict};

pub(super) fn known(error: &(dyn Error + 'static)) -> Option<Finding> {
    // Certain, as hyper only sees connections that have been made.
    error.downcast_ref::<hyper::Error>().map(|error| Finding::Certain(verdict(error)))
}

fn verdict(error: &hyper::Error) -> Verdict {
    // Asked first: the body's error may be one of hyper's too, and would make
    // `is_timeout` true below.
    if error.is_user() {
        return by_this_side(error);
    }
    // Canceled: the connection ended with the request still in the queue before
    // it, from which hyper hands it back. Closed: it ended before it took one.
    // A body's channel closes too, but only the side that receives sees that.
    if error.is_closed() || (error.is_canceled() && !is_of_an_upgrade(error)) {
        return Verdict::not_sent().with_cause(Cause::Connection);
    }
    if let Some(error) = error.source().and_then(|source| source.downcast_ref()) {
        return super::h2::verdict(error);
    }
    // A timeout is that of the socket, or of an unanswered HTTP/2 ping.
    // Anything else broke the connection, or was malformed.
    let kind = error.source().and_then(|source| source.downcast_ref()).map(io::Error::kind);
    let cause = match kind {
        _ if error.is_timeout() => Cause::Timeout,
        Some(kind) => super::io::broken_by(kind),
        None => Cause::Connection,
    };
    Verdict::transient().with_cause(cause)
}

/// The verdict of what hyper calls the user's fault.
///
/// Mostly the request's body failed, or was shorter than declared: that isn't
/// the upstream's doing, and would be no better when sent again.
///
/// One case is no fault of the request: the task that drives the connection was
/// dropped. Hyper distinguishes it from the others only by its text. Should that change,
/// such a call is no longer repeated.
fn by_this_side(error: &hyper::Error) -> Verdict {
    if error.to_string() == "dispatch task is gone" {
        Verdict::transient().with_cause(Cause::Connection)
    } else {
        Verdict::rejected()
    }
}

/// Whether an upgrade after a response was canceled. Only the text of the
/// error's source says so.
fn is_of_an_upgrade(error: &hyper::Error) -> bool {
    error.source().is_some_and(|source| source.to_string().starts_with("upgrade"))
}
