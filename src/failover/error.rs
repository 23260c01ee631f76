use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::outcome::RegionOutcome;
use crate::classify::{Cause, Class, GrpcCode, Verdict};
use crate::error::{BoxError, LazyStatus};

/// Every region that could be tried failed.
///
/// Its source is the last error. Where the last answer was a response, the caller gets that response
/// and not this error.
#[derive(Debug)]
pub struct RegionsExhausted {
    regions: Vec<(&'static str, RegionOutcome)>,
    last: BoxError,
}

impl RegionsExhausted {
    pub(super) fn new(regions: Vec<(&'static str, RegionOutcome)>, last: BoxError) -> Self {
        Self { regions, last }
    }

    /// What happened to the call in each region, by the region's name: first the regions that it went
    /// to, in that order, then some of those where it didn't go.
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

/// No region is fit, and nothing was sent, as [`WhenAllOut`](super::WhenAllOut) says that calls then
/// fail or wait.
///
/// Over tonic, with the feature `tonic`, a client sees it as `UNAVAILABLE`. A
/// [retry](crate::retry) above waits for [`retry_after`](Self::retry_after), if the deadline allows.
#[derive(Debug)]
pub struct AllRegionsOut {
    retry_after: Duration,
    status: LazyStatus,
}

impl AllRegionsOut {
    pub(super) fn new(retry_after: Duration) -> Self {
        Self { retry_after, status: LazyStatus::default() }
    }

    /// How long it is until the first of the regions takes calls again.
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
