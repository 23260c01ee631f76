//! How a call finds a region in the set.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::availability::Availability;
use super::region_state::RegionState;
use super::selection::{Candidate, Preference, choose, choose_of_fit};
use super::set::{RegionSet, seconds};
use crate::scope::{self, TriedRegions};
use crate::time::Instant;

/// The time now, read when it is first asked for. While all is well, a selection needs no clock.
#[derive(Debug, Default)]
pub(super) struct LazyNow(Cell<Option<Instant>>);

impl LazyNow {
    pub(super) fn get(&self) -> Instant {
        let now = self.0.get().unwrap_or_else(scope::now);
        self.0.set(Some(now));
        now
    }
}

/// What is known of a call that looks for a region.
#[derive(Clone, Copy, Debug)]
pub(super) struct SelectionCriteria {
    pub(super) tried: TriedRegions,
    /// The call has failed before.
    pub(super) again: bool,
    pub(super) sticky: Option<u64>,
}

impl RegionSet {
    /// The best region now, of those for which `is` says that there is a client.
    pub(super) fn find(
        &self,
        criteria: &SelectionCriteria,
        now: &LazyNow,
        is: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let now = || self.origin.nanos(now.get());
        let by_load = |number: usize| {
            // With checks a latency is never out of date: they measure every region all the time.
            let second = if self.watch.is_some() { 0 } else { seconds(now()) };
            self.region_state(number).load(second)
        };
        let regions = self.slots.iter().enumerate();
        let regions =
            regions.filter(|(number, region_state)| !region_state.is_gone() && is(*number));
        if criteria.tried.len() == 0 && criteria.sticky.is_none() {
            let availabilities = regions.clone().map(|(number, region_state)| {
                (number, region_state.priority(), region_state.is_fit())
            });
            let chosen = choose_of_fit(availabilities, || self.random(), by_load);
            if chosen.is_some() {
                return chosen;
            }
        }
        let candidates = regions.map(|(number, region_state)| {
            let availability = region_state.availability();
            let out = matches!(availability, Availability::Out { .. });
            let asked = out && region_state.is_asked_for(now());
            let probing = out && region_state.is_probing(now());
            Candidate { number, priority: region_state.priority(), availability, asked, probing }
        });
        let preference = Preference {
            tried: criteria.tried,
            again: criteria.again,
            when_all_out: self.settings.when_all_out,
            ramp: self.settings.recovery.ramp,
            sticky: criteria.sticky.is_some(),
        };
        match criteria.sticky {
            None => choose(candidates, &preference, now, || self.random(), by_load),
            Some(key) => {
                let weight = |number: usize| rendezvous(key, self.name(number));
                // With a random number a key would go to and fro while a region comes back.
                choose(candidates, &preference, now, || unit(key), weight)
            }
        }
    }

    /// As [`find`](Self::find), only of the regions that take calls: those that aren't lost, or are on
    /// trial with no other call.
    pub(super) fn find_well(
        &self,
        criteria: &SelectionCriteria,
        now: &LazyNow,
        is: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let at = self.origin.nanos(now.get());
        let takes_calls = |region_state: &RegionState| match region_state.availability() {
            Availability::Out { until } => until <= at && !region_state.is_probing(at),
            availability => !availability.is_out_now(),
        };
        self.find(criteria, now, |region| is(region) && takes_calls(self.region_state(region)))
    }
}

/// The weight of a region for a key, by highest random weight (Thaler and Ravishankar, "Using
/// name-based mappings to increase hit rates"): where one region goes, only its keys move.
fn rendezvous(key: u64, region: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, region).hash(&mut hasher);
    hasher.finish()
}

/// A hash as a number from 0 to 1.
#[allow(clippy::cast_precision_loss)]
fn unit(hash: u64) -> f64 {
    hash as f64 / u64::MAX as f64
}
