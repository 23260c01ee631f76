use std::fmt;
use std::time::Duration;

use super::set::RegionSet;
use super::standing::Standing;
use crate::classify::Cause;
use crate::scope::TriedRegions;
use crate::time;

/// What happened in one region to a call that [none answered](super::RegionsExhausted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionOutcome {
    /// The call failed there.
    Failed {
        /// What the failure was. In a region that the call left for another it is the region's last
        /// failure, which may be another call's.
        cause: Cause,
    },
    /// Its circuit was open, and nothing was sent.
    TurnedAway,
    /// The call didn't go there.
    NotTried {
        /// For how much longer the region is out, if it is and that is known.
        out_for: Option<Duration>,
        /// Why a call or a check failed there last, if one has.
        last_failure: Option<Cause>,
    },
}

impl RegionSet {
    /// What happened in the regions that a call tried, the last of which failed for the cause `last`,
    /// and in some others.
    pub(super) fn outcomes(
        &self,
        tried: TriedRegions,
        last: Cause,
    ) -> Vec<(&'static str, RegionOutcome)> {
        let now = self.epoch.nanos(time::now());
        let were_tried = tried.iter().enumerate().map(|(nth, region)| {
            let is_last = nth + 1 == tried.len();
            // A call leaves a region for another only if the region was at fault, and the region
            // remembers why.
            let cause = if is_last { Some(last) } else { self.live(region).told().last_failure };
            let outcome = match cause {
                _ if tried.was_turned_away(nth) => RegionOutcome::TurnedAway,
                Some(Cause::CircuitOpen) if is_last => RegionOutcome::TurnedAway,
                // It was the failure of a later call.
                Some(Cause::CircuitOpen) | None => RegionOutcome::Failed { cause: Cause::Unknown },
                Some(cause) => RegionOutcome::Failed { cause },
            };
            (self.name(region), outcome)
        });
        let others = self
            .slots
            .iter()
            .enumerate()
            .filter(|(region, live)| !tried.contains(*region) && !live.is_removed());
        let not_tried = others.take(TriedRegions::MOST).map(|(_, live)| {
            let out_for = match live.standing() {
                Standing::Out { until } if now < until => Some(Duration::from_nanos(until - now)),
                _ => None,
            };
            let last_failure = live.told().last_failure;
            (live.place.name, RegionOutcome::NotTried { out_for, last_failure })
        });
        were_tried.chain(not_tried).collect()
    }
}

impl fmt::Display for RegionOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { cause } => write!(f, "failed ({cause})"),
            Self::TurnedAway => f.write_str("turned away by its circuit"),
            Self::NotTried { out_for, last_failure } => {
                f.write_str("not tried")?;
                if let Some(out_for) = out_for {
                    write!(f, ", out for {out_for:.1?} more")?;
                }
                last_failure.map_or(Ok(()), |cause| write!(f, " ({cause})"))
            }
        }
    }
}
