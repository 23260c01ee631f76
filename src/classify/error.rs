//! What an error's chain of sources says.

use std::error::Error;
use std::io;

use super::{Cause, Class, Verdict};
use crate::error::chain;

/// The verdict of an error: of the first thing known in its chain.
///
/// Two exceptions to "the first": a decision of this side is final whatever it
/// wraps, and proof that nothing was sent counts wherever it stands, as outer
/// errors ("request failed", "timed out") don't know it.
pub(super) fn verdict(error: &(dyn Error + 'static)) -> Verdict {
    let mut first = None;
    for error in chain(error) {
        let Some(verdict) = known(error) else { continue };
        match verdict.class() {
            Class::NotSent => return verdict,
            Class::CircuitOpen | Class::Local if first.is_none() => return verdict,
            _ => _ = first.get_or_insert(verdict),
        }
    }
    first.unwrap_or(Verdict::transient())
}

/// What this one error means, its sources apart.
fn known(error: &(dyn Error + 'static)) -> Option<Verdict> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return io(error);
    }
    None
}

fn io(error: &io::Error) -> Option<Verdict> {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Some(Verdict::not_sent().cause_is(Cause::Connect)),
        _ => None,
    }
}
