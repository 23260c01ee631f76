//! Which region takes an attempt: a plain function.

use std::cell::{Cell, OnceCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::health::Availability;
use super::region_state::RegionState;
use super::set::{RegionSet, seconds};
use crate::scope::{self, TriedRegions};
use crate::time::Instant;

/// What a call does when no region is available: all are out, or probed by another call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenAllOut {
    /// It goes to the primary all the same, and on to those that are back the soonest. The default.
    #[default]
    Primary,
    /// It goes to the one that is back the soonest, and on to the next of these.
    LeastBad,
    /// It fails at once with [`NoRegionAvailable`](super::NoRegionAvailable), which says when to come back.
    FailFast,
    /// It waits for the one that is back the soonest, if its deadline allows; otherwise it fails at once,
    /// with [`NoRegionAvailable`](super::NoRegionAvailable). The first of the calls that wait goes there on
    /// trial. If that succeeds, and one good call is enough, all the others follow.
    Wait,
}

impl WhenAllOut {
    const fn calls_anyway(self) -> bool {
        matches!(self, Self::Primary | Self::LeastBad)
    }
}

/// What is known of a region when one is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) number: usize,
    pub(super) priority: u64,
    pub(super) availability: Availability,
    /// Its server asked to be left alone for now.
    pub(super) asked: bool,
    /// A call is under way that shows whether it is well again.
    pub(super) probing: bool,
}

/// What is known of the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preference {
    /// The regions where it has been, and doesn't go again.
    pub(super) tried: TriedRegions,
    /// It has been to all of them, and begins anew.
    pub(super) again: bool,
    pub(super) when_all_out: WhenAllOut,
    pub(super) ramp: Duration,
    /// Among equals it takes the one of the smallest weight, and not of two drawn by random.
    pub(super) sticky: bool,
}

/// How good a selection a region is: the smaller, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It takes calls: it is healthy, or ramping up and this call is within its share, or probing with no
    /// other call there.
    Open {
        priority: u64,
    },
    /// It is coming back, and takes no more calls for now.
    InFlight {
        priority: u64,
    },
    Drained {
        priority: u64,
    },
    /// Out; better than none.
    LastResort {
        asked: bool,
        order: u64,
        number: usize,
    },
}

/// The best region that the call hasn't tried. Among equals two are drawn by random, and the one of
/// smaller weight is taken: if the best of all were, every caller would go to the same one.
///
/// `now` and `random` (from 0 to 1) are called only when they are needed.
pub(super) fn choose(
    candidates: impl Iterator<Item = Candidate> + Clone,
    preference: &Preference,
    now: impl Fn() -> u64,
    random: impl Fn() -> f64,
    weight: impl Fn(usize) -> u64,
) -> Option<usize> {
    // Drawn once, so that the second pass over the candidates ranks them as the first did.
    let drawn = OnceCell::new();
    let draw = || *drawn.get_or_init(&random);
    let mut best = None;
    let mut equals = 0;
    for candidate in candidates.clone() {
        let Some(rank) = preference.rank(candidate, &now, draw) else { continue };
        match best {
            Some((least, _)) if rank > least => {}
            Some((least, _)) if rank == least => equals += 1,
            _ => (best, equals) = (Some((rank, candidate.number)), 1),
        }
    }
    let (rank, first) = best?;
    let among = || {
        let equal = |candidate: &Candidate| preference.rank(*candidate, &now, draw) == Some(rank);
        candidates.filter(equal).map(|candidate| candidate.number)
    };
    match equals {
        1 => Some(first),
        _ if preference.sticky => among().min_by_key(|number| weight(*number)),
        _ => better_of_two(among(), equals, random(), weight),
    }
}

/// What [`choose`] returns if every region is fit and the call has tried none, found with less work.
/// `regions` gives each one's number, its priority, and whether it is fit. Returns `None` if one isn't.
pub(super) fn choose_of_fit(
    regions: impl Iterator<Item = (usize, u64, bool)> + Clone,
    random: impl Fn() -> f64,
    weight: impl Fn(usize) -> u64,
) -> Option<usize> {
    let (mut best, mut first, mut equals) = (u64::MAX, 0, 0);
    let all_fit = regions.clone().all(|(number, priority, fit)| {
        if priority < best {
            (best, first, equals) = (priority, number, 1);
        } else if priority == best {
            equals += 1;
        }
        fit
    });
    if !all_fit {
        return None;
    }
    match equals {
        0 => None,
        1 => Some(first),
        _ => {
            let among = regions.filter(|(_, priority, _)| *priority == best);
            better_of_two(among.map(|(number, ..)| number), equals, random(), weight)
        }
    }
}

/// Draws two by random of the `many` that there are, and returns the one of smaller weight.
fn better_of_two(
    mut among: impl Iterator<Item = usize>,
    many: usize,
    random: f64,
    weight: impl Fn(usize) -> u64,
) -> Option<usize> {
    let (one, other) = two_of(many, random);
    let lower = among.nth(one)?;
    let higher = among.nth(other - one - 1)?;
    Some(if weight(higher) < weight(lower) { higher } else { lower })
}

/// Two different numbers below `many`, the lower first, as `random` goes from 0 to 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn two_of(many: usize, random: f64) -> (usize, usize) {
    let pairs = many * (many - 1);
    let pair = ((random * pairs as f64) as usize).min(pairs - 1);
    let (one, other) = (pair / (many - 1), pair % (many - 1));
    if other < one { (other, one) } else { (one, other + 1) }
}

impl Preference {
    fn rank(
        &self,
        candidate: Candidate,
        now: impl Fn() -> u64,
        draw: impl FnOnce() -> f64,
    ) -> Option<Rank> {
        let Candidate { number, priority, availability, asked, probing } = candidate;
        if self.tried.contains(number) {
            return None;
        }
        Some(match availability {
            Availability::Fit | Availability::Forced => Rank::Open { priority },
            Availability::Ramping { until }
                if draw() < Availability::share(until, now(), self.ramp) =>
            {
                Rank::Open { priority }
            }
            Availability::Out { until } if until <= now() && !probing => Rank::Open { priority },
            Availability::Out { until } if now() < until => {
                let first = self.tried.len() == 0;
                if !self.when_all_out.calls_anyway() || (asked && !first) {
                    return None;
                }
                let primary = first && !self.again && self.when_all_out == WhenAllOut::Primary;
                let order = if primary { priority } else { until };
                Rank::LastResort { asked, order, number }
            }
            // A call that would rather fail or wait than go to a region that is out doesn't join another
            // one that is probed, unless it has failed already.
            Availability::Out { .. }
                if !self.when_all_out.calls_anyway() && self.tried.len() == 0 =>
            {
                return None;
            }
            Availability::Ramping { .. } | Availability::Out { .. } => Rank::InFlight { priority },
            Availability::Drained => Rank::Drained { priority },
            Availability::Gone => return None,
        })
    }
}

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

#[cfg(test)]
mod tests;
