//! `std::io::Error`.

use std::error::Error;
use std::io::{self, ErrorKind as Kind};

use super::Finding;
use crate::verdict::{Cause, Verdict};

pub(super) fn known(error: &(dyn Error + 'static)) -> Option<Finding> {
    let error = error.downcast_ref::<io::Error>()?;
    let verdict = of_kind(error.kind())?;
    Some(match error.get_ref() {
        // It wraps another error, from which its kind may have been guessed.
        Some(_) => Finding::Provisional(verdict),
        None => Finding::Certain(verdict),
    })
}

fn of_kind(kind: Kind) -> Option<Verdict> {
    let verdict = match kind {
        // The kinds that `connect` fails with. If the connection was made, the
        // client's error further out is certain of that, and this isn't reached.
        Kind::ConnectionRefused
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::NetworkDown
        | Kind::AddrNotAvailable
        | Kind::AddrInUse => Verdict::not_sent().with_cause(Cause::Connect),
        Kind::TimedOut
        | Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof => Verdict::transient().with_cause(broken_by(kind)),
        _ => return None,
    };
    Some(verdict)
}

/// The cause of an error that ended a connection after it had been made.
pub(super) fn broken_by(kind: Kind) -> Cause {
    match kind {
        Kind::TimedOut => Cause::Timeout,
        _ => Cause::Connection,
    }
}
