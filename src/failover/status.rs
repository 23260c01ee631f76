use std::sync::Arc;
use std::time::Duration;

use super::set::RegionSet;
use crate::time::Instant;

/// How a region is, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegionStatus {
    /// Its name.
    pub name: &'static str,
    /// Whether calls are sent to it.
    pub healthy: bool,
    /// Until when none are, where that is known.
    pub out_until: Option<Instant>,
    /// Its smoothed latency on the wire, if a call has succeeded there; with
    /// [health checks](super::HealthChecks) the latency of those, and of no calls.
    pub latency: Option<Duration>,
    /// When its last health check was over, if there was one.
    pub last_check: Option<Instant>,
}

/// Looks at a failover's regions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FailoverHandle {
    set: Arc<RegionSet>,
}

impl FailoverHandle {
    pub(super) fn new(set: Arc<RegionSet>) -> Self {
        Self { set }
    }

    /// Takes every region for healthy, until calls or checks find otherwise.
    pub fn reset(&self) {
        self.set.reset();
    }

    /// How every region is, in the order given.
    #[must_use]
    pub fn status(&self) -> Vec<RegionStatus> {
        self.set.status()
    }
}
