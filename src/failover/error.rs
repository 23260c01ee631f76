use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::classify::{Cause, Class, Verdict};
use crate::error::BoxError;
#[cfg(feature = "tonic")]
use crate::error::LazyStatus;

/// Every region that could be tried failed.
///
/// Its source is the last error. Where the last answer was a response, that is
/// returned instead: a failover invents nothing.
#[derive(Debug)]
pub struct RegionsExhausted {
    tried: Vec<&'static str>,
    last: BoxError,
}

impl RegionsExhausted {
    pub(super) fn new(tried: Vec<&'static str>, last: BoxError) -> Self {
        Self { tried, last }
    }

    /// The names of the regions that were tried, in that order.
    #[must_use]
    pub fn tried(&self) -> &[&'static str] {
        &self.tried
    }
}

impl fmt::Display for RegionsExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no region answered; tried {}", self.tried.join(", "))
    }
}

impl Error for RegionsExhausted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.last)
    }
}

/// No region is fit, and the layer is told [not to call one all the same](super::WhenAllOut):
/// nothing was sent.
///
/// Over tonic, with the feature `tonic`, a client sees it as `UNAVAILABLE`. A
/// [retry](crate::retry) above waits as long as it says, if the deadline allows.
#[derive(Debug)]
pub struct AllRegionsOut {
    retry_after: Duration,
    #[cfg(feature = "tonic")]
    status: LazyStatus,
}

impl AllRegionsOut {
    pub(super) fn new(retry_after: Duration) -> Self {
        Self {
            retry_after,
            #[cfg(feature = "tonic")]
            status: LazyStatus::default(),
        }
    }

    /// When a region takes calls again, the one that does so the soonest.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let verdict = Verdict::new(Class::CircuitOpen).cause_is(Cause::CircuitOpen);
        verdict.retry_after(self.retry_after)
    }
}

impl fmt::Display for AllRegionsOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no region is fit; try again in {:.1?}", self.retry_after)
    }
}

impl Error for AllRegionsOut {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        #[cfg(feature = "tonic")]
        return Some(self.status.get(tonic::Code::Unavailable, self));
        #[cfg(not(feature = "tonic"))]
        None
    }
}
