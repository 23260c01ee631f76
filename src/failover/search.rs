//! How a call finds a region in the set.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::choice::{Candidate, Wish, choose, choose_of_fit};
use super::live_region::LiveRegion;
use super::set::{RegionSet, seconds};
use super::standing::Standing;
use crate::scope::{self, TriedRegions};
use crate::time::Instant;

/// The time now, read when it is first asked for. While all is well, a choice needs no clock.
#[derive(Debug, Default)]
pub(super) struct Moment(Cell<Option<Instant>>);

impl Moment {
    pub(super) fn get(&self) -> Instant {
        let now = self.0.get().unwrap_or_else(scope::now);
        self.0.set(Some(now));
        now
    }
}

/// What is known of a call that looks for a region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub(super) tried: TriedRegions,
    /// The call has failed before.
    pub(super) again: bool,
    pub(super) sticky: Option<u64>,
}

impl RegionSet {
    /// The best region now, of those for which `is` says that there is a client.
    pub(super) fn find(
        &self,
        search: &Search,
        moment: &Moment,
        is: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let now = || self.epoch.nanos(moment.get());
        let by_load = |number: usize| {
            // With checks a latency is never out of date: they measure every region all the time.
            let second = if self.watch.is_some() { 0 } else { seconds(now()) };
            self.live(number).load(second)
        };
        let regions = self.slots.iter().enumerate();
        let regions = regions.filter(|(number, live)| !live.is_gone() && is(*number));
        if search.tried.len() == 0 && search.sticky.is_none() {
            let standings =
                regions.clone().map(|(number, live)| (number, live.priority(), live.is_fit()));
            let chosen = choose_of_fit(standings, || self.random(), by_load);
            if chosen.is_some() {
                return chosen;
            }
        }
        let candidates = regions.map(|(number, live)| {
            let standing = live.standing();
            let out = matches!(standing, Standing::Out { .. });
            let asked = out && live.is_asked_for(now());
            let on_trial = out && live.is_on_trial(now());
            Candidate { number, priority: live.priority(), standing, asked, on_trial }
        });
        let wish = Wish {
            tried: search.tried,
            again: search.again,
            when_all_out: self.settings.when_all_out,
            ramp: self.settings.recovery.ramp,
            sticky: search.sticky.is_some(),
        };
        match search.sticky {
            None => choose(candidates, &wish, now, || self.random(), by_load),
            Some(key) => {
                let weight = |number: usize| rendezvous(key, self.name(number));
                // With a random number a key would go to and fro while a region comes back.
                choose(candidates, &wish, now, || unit(key), weight)
            }
        }
    }

    /// As [`find`](Self::find), only of the regions that take calls: those that aren't lost, or are on
    /// trial with no other call.
    pub(super) fn find_well(
        &self,
        search: &Search,
        moment: &Moment,
        is: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let now = self.epoch.nanos(moment.get());
        let takes_calls = |live: &LiveRegion| match live.standing() {
            Standing::Out { until } => until <= now && !live.is_on_trial(now),
            standing => !standing.is_lost(),
        };
        self.find(search, moment, |region| is(region) && takes_calls(self.live(region)))
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
