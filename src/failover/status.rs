use std::time::Duration;

use super::availability::Availability;
use super::region_state::{AdminState, RegionData, RegionState};
use super::set::RegionSet;
use crate::time::{self, Instant};
use crate::verdict::Cause;

/// How a region is, at one now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegionStatus {
    /// Its name.
    pub name: &'static str,
    /// Regions of a lower number are preferred.
    pub priority: u32,
    /// Whether calls are sent to it.
    pub healthy: bool,
    /// Why calls are sent to it, or not.
    pub condition: Condition,
    /// Since when its health has been in this generation: fit, out or coming back.
    pub since: Instant,
    /// Until when it is out, where that is known.
    pub out_until: Option<Instant>,
    /// Its smoothed latency on the wire, if a call has succeeded there. While it is the only region of
    /// the best priority, one call of 16 is measured. With [health checks](super::HealthChecks) only
    /// those are measured, and no calls.
    pub latency: Option<Duration>,
    /// Why a call or a check failed there last, if one has.
    pub last_failure: Option<Cause>,
    /// When its last health check was over, if there was one.
    pub last_check: Option<Instant>,
    /// How many attempts were sent to it.
    pub attempts: u64,
    /// How many of them are under way.
    pub under_way: u64,
}

/// Why calls are sent to a region, or not. See the [module](super#a-regions-timeline).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It takes calls.
    Fit,
    /// It failed, and takes none for a while.
    Out,
    /// It takes one call at a time, to show that it is well again.
    Probing,
    /// It is back, and takes a share of its calls that grows.
    Ramping,
    /// It takes calls whatever is found: [`force_in`](super::FailoverHandle::force_in).
    ForcedIn,
    /// It takes none: [`force_out`](super::FailoverHandle::force_out).
    ForcedOut,
    /// It takes none while there is another: [`drain`](super::FailoverHandle::drain).
    Drained,
}

impl RegionSet {
    pub(super) fn status(&self) -> Vec<RegionStatus> {
        let now = time::now();
        let regions = self.slots.iter().filter(|region_state| !region_state.is_removed());
        regions.map(|region_state| self.status_of(region_state, now)).collect()
    }

    fn status_of(&self, region_state: &RegionState, now: Instant) -> RegionStatus {
        // Read under one lock, so that no field is older than a change and another newer.
        let data = region_state.data();
        let RegionData { health, admin_state, last_failure } = data;
        let (attempts, under_way) = region_state.calls();
        let nanos = self.origin.nanos(now);
        let (condition, out_until) = match (admin_state, health.availability(self.origin)) {
            (AdminState::In, _) => (Condition::ForcedIn, None),
            (AdminState::Drained, _) => (Condition::Drained, None),
            (AdminState::Out | AdminState::Removed, _) => (Condition::ForcedOut, None),
            (_, Availability::Out { until }) if nanos < until => {
                (Condition::Out, Some(self.origin.instant(until)))
            }
            (_, Availability::Out { .. }) => (Condition::Probing, None),
            (_, Availability::Ramping { until }) if nanos < until => (Condition::Ramping, None),
            _ => (Condition::Fit, None),
        };
        RegionStatus {
            name: region_state.place.name,
            // It was a `u32` when it was set.
            priority: u32::try_from(region_state.priority()).unwrap_or(u32::MAX),
            healthy: !data.availability(self.origin).is_out(nanos),
            condition,
            since: health.since(),
            out_until,
            latency: region_state.latency().measured(),
            last_failure,
            last_check: health.last_check(),
            attempts,
            under_way,
        }
    }
}
