use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{BoxError, GrpcStatus};
use crate::verdict::{Cause, Class, GrpcCode, Verdict};

/// The error of a call that failed in every region that it tried.
///
/// Its source is the last error. If the last result was a response, the caller receives that
/// response instead of this error.
#[derive(Debug)]
pub struct RegionsExhausted {
    regions: Vec<(Arc<str>, RegionOutcome)>,
    last: BoxError,
}

impl RegionsExhausted {
    /// Creates the error from the outcome in each region, by name, and the last error.
    pub fn new<N: Into<Arc<str>>>(
        regions: impl IntoIterator<Item = (N, RegionOutcome)>,
        last: impl Into<BoxError>,
    ) -> Self {
        let regions = regions.into_iter().map(|(name, outcome)| (name.into(), outcome));
        Self { regions: regions.collect(), last: last.into() }
    }

    /// Returns the outcome of the call in each region, by the region's name: first the tried
    /// regions, in order, then regions that were not tried.
    pub fn regions(&self) -> impl Iterator<Item = (&str, &RegionOutcome)> {
        self.regions.iter().map(|(name, outcome)| (&**name, outcome))
    }

    /// Returns the names of the regions in which the call failed, in order.
    pub fn tried(&self) -> impl Iterator<Item = &str> {
        let failed = |outcome: &RegionOutcome| matches!(outcome, RegionOutcome::Failed { .. });
        self.regions().filter(move |(_, outcome)| failed(outcome)).map(|(name, _)| name)
    }
}

impl fmt::Display for RegionsExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all regions failed")?;
        for (index, (name, outcome)) in self.regions.iter().enumerate() {
            let separator = if index == 0 { ':' } else { ',' };
            write!(f, "{separator} {name} {outcome}")?;
        }
        Ok(())
    }
}

impl Error for RegionsExhausted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.last)
    }
}

/// The outcome of a call in one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionOutcome {
    /// The call failed there.
    Failed {
        /// The cause of the failure. For a region that the call left for another one, it is the
        /// region's last failure, which may be another call's.
        cause: Cause,
    },
    /// The region's circuit rejected the call. Nothing was sent.
    Rejected,
    /// The call did not try this region.
    NotTried {
        /// The time for which the region is still out, if it is out and that is known.
        out_for: Option<Duration>,
        /// The cause of the region's last failed call or health check.
        last_failure: Option<Cause>,
    },
}

impl fmt::Display for RegionOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { cause } => write!(f, "failed ({cause})"),
            Self::Rejected => f.write_str("rejected by its circuit"),
            Self::NotTried { out_for, last_failure } => {
                f.write_str("not tried")?;
                if let Some(out_for) = out_for {
                    write!(f, ", out for another {out_for:.1?}")?;
                }
                last_failure.map_or(Ok(()), |cause| write!(f, " ({cause})"))
            }
        }
    }
}

/// The error of a call for which no region is available. Nothing was sent.
///
/// Returned where [`WhenAllOut`](crate::failover::WhenAllOut) says so. To a tonic client (feature
/// `tonic`) it is `UNAVAILABLE`. A retry layer above waits for [`retry_after`](Self::retry_after)
/// if the deadline allows.
#[derive(Debug)]
pub struct NoRegionAvailable {
    retry_after: Duration,
    status: GrpcStatus,
}

impl NoRegionAvailable {
    /// Creates the error. `retry_after` is the time until the first region accepts calls again.
    #[must_use]
    pub fn new(retry_after: Duration) -> Self {
        Self { retry_after, status: GrpcStatus::default() }
    }

    /// Returns the time until the first region accepts calls again.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let verdict = Verdict::new(Class::CircuitOpen).with_cause(Cause::CircuitOpen);
        verdict.with_retry_after(self.retry_after)
    }
}

impl fmt::Display for NoRegionAvailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no region is available; retry in {:.1?}", self.retry_after)
    }
}

impl Error for NoRegionAvailable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.status.source(GrpcCode::Unavailable, self)
    }
}
