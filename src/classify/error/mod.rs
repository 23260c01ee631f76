//! What an error's chain of sources says.
//!
//! The chain is read from the outside in. Most errors on the way say nothing
//! ("request failed") or less than they wrap ("timed out", over "connection
//! refused"), so what stands deeper is believed over what stands further out,
//! until an error is certain. Certain is
//!
//! - a decision of this side, whatever it wraps;
//! - proof that nothing was sent, as the errors around it can't know that;
//! - an error of a request that was under way: what it wraps may look like
//!   such proof, but isn't. A connection that breaks can end in "host
//!   unreachable", and the request's own body can fail for the reason that
//!   *its* upstream refused a connection.

#[cfg(any(feature = "hyper-util", feature = "tonic"))]
mod h2;
#[cfg(any(feature = "hyper-util", feature = "tonic"))]
mod hyper;
#[cfg(feature = "hyper-util")]
mod hyper_util;
mod io;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(test)]
mod tests;
#[cfg(feature = "tonic")]
mod tonic;
mod tower;

use std::error::Error;

use crate::error::{
    AttemptTimedOut, CircuitOpen, CostAboveQuota, CredentialRejected, DeadlineExceeded,
    NoRegionAvailable, RateLimited, chain,
};
use crate::verdict::Verdict;

/// What one error of a chain says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// What the error wraps doesn't matter.
    Certain(Verdict),
    /// What the error wraps may know better.
    Provisional(Verdict),
}

/// The verdict of an error: of the first in its chain that is certain, or else
/// of the innermost that is known.
///
/// An error of which nothing is known may have been processed, and may pass.
pub(super) fn verdict(error: &(dyn Error + 'static)) -> Verdict {
    let mut so_far = None;
    for error in chain(error) {
        match known(error) {
            Some(Finding::Certain(verdict)) => return verdict,
            Some(Finding::Provisional(verdict)) => so_far = Some(verdict),
            None => {}
        }
    }
    so_far.unwrap_or(Verdict::transient())
}

/// What this one error means, without its sources.
fn known(error: &(dyn Error + 'static)) -> Option<Finding> {
    let known = ours(error).map(Finding::Certain);
    let known = known.or_else(|| tower::known(error)).or_else(|| io::known(error));
    #[cfg(any(feature = "hyper-util", feature = "tonic"))]
    let known = known.or_else(|| hyper::known(error)).or_else(|| h2::known(error));
    #[cfg(feature = "hyper-util")]
    let known = known.or_else(|| hyper_util::known(error));
    #[cfg(feature = "reqwest")]
    let known = known.or_else(|| reqwest::known(error));
    #[cfg(feature = "tonic")]
    let known = known.or_else(|| tonic::known(error));
    known
}

/// The verdict of a rejection by this crate's own layers.
fn ours(error: &(dyn Error + 'static)) -> Option<Verdict> {
    type Known = fn(&(dyn Error + 'static)) -> Option<Verdict>;
    const OURS: &[Known] = &[
        |error| error.downcast_ref().map(CircuitOpen::verdict),
        |error| error.downcast_ref().map(NoRegionAvailable::verdict),
        |error| error.downcast_ref().map(RateLimited::verdict),
        |error| error.downcast_ref().map(CostAboveQuota::verdict),
        |error| error.downcast_ref().map(DeadlineExceeded::verdict),
        |error| error.downcast_ref().map(AttemptTimedOut::verdict),
        |error| error.downcast_ref().map(CredentialRejected::verdict),
    ];
    OURS.iter().find_map(|known| known(error))
}
