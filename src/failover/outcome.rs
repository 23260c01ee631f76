use std::time::Duration;

use super::availability::Availability;
use super::set::RegionSet;
use crate::error::RegionOutcome;
use crate::scope::TriedRegions;
use crate::time;
use crate::verdict::Cause;

impl RegionSet {
    /// What happened in the regions that a call tried, the last of which failed for the cause `last`,
    /// and in some others.
    pub(super) fn outcomes(
        &self,
        tried: TriedRegions,
        last: Cause,
    ) -> Vec<(&'static str, RegionOutcome)> {
        let now = self.origin.nanos(time::now());
        let were_tried = tried.iter().enumerate().map(|(nth, region)| {
            let is_last = nth + 1 == tried.len();
            // A call leaves a region for another only if the region was at fault, and the region
            // remembers why.
            let cause =
                if is_last { Some(last) } else { self.region_state(region).data().last_failure };
            let outcome = match cause {
                _ if tried.was_rejected(nth) => RegionOutcome::Rejected,
                Some(Cause::CircuitOpen) if is_last => RegionOutcome::Rejected,
                // It was the failure of a later call.
                Some(Cause::CircuitOpen) | None => RegionOutcome::Failed { cause: Cause::Unknown },
                Some(cause) => RegionOutcome::Failed { cause },
            };
            (self.name(region), outcome)
        });
        let others = self.slots.iter().enumerate().filter(|(region, region_state)| {
            !tried.contains(*region) && !region_state.is_removed()
        });
        let not_tried = others.take(TriedRegions::MOST).map(|(_, region_state)| {
            let out_for = match region_state.availability() {
                Availability::Out { until } if now < until => {
                    Some(Duration::from_nanos(until - now))
                }
                _ => None,
            };
            let last_failure = region_state.data().last_failure;
            (region_state.place.name, RegionOutcome::NotTried { out_for, last_failure })
        });
        were_tried.chain(not_tried).collect()
    }
}
