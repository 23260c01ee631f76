use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::outcome::RegionOutcome;
use crate::classify::{Cause, Class, GrpcCode, Verdict};
use crate::error::{BoxError, LazyStatus};

/// Every region that could be tried failed.
///
/// Its source is the last error. Where the last answer was a response, that is
/// returned instead: a failover invents nothing.
#[derive(Debug)]
pub struct RegionsExhausted {
    regions: Vec<(&'static str, RegionOutcome)>,
    last: BoxError,
}

impl RegionsExhausted {
    pub(super) fn new(regions: Vec<(&'static str, RegionOutcome)>, last: BoxError) -> Self {
        Self { regions, last }
    }

    /// What happened to the call in each region, by the region's name: first those that it went to,
    /// in that order, then some of those that it didn't.
    #[must_use]
    pub fn regions(&self) -> &[(&'static str, RegionOutcome)] {
        &self.regions
    }

    /// The names of the regions that failed, in the order in which they were tried.
    pub fn tried(&self) -> impl Iterator<Item = &'static str> {
        let failed = |outcome: &RegionOutcome| matches!(outcome, RegionOutcome::Failed { .. });
        self.regions.iter().filter(move |(_, outcome)| failed(outcome)).map(|(name, _)| *name)
    }
}

impl fmt::Display for RegionsExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no region answered")?;
        for (nth, (name, outcome)) in self.regions.iter().enumerate() {
            let before = if nth == 0 { ':' } else { ',' };
            write!(f, "{before} {name} {outcome}")?;
        }
        Ok(())
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
    status: LazyStatus,
}

impl AllRegionsOut {
    pub(super) fn new(retry_after: Duration) -> Self {
        Self { retry_after, status: LazyStatus::default() }
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
        self.status.source(GrpcCode::Unavailable, self)
    }
}
