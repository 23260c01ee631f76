//! The regions and how they stand, shared by all calls.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::checks::{Check, Finding, WaiterHandle};
use super::config::Settings;
use super::health::{Availability, Change, HealthState};
use super::region::RegionEntry;
use super::region_state::{Attempt, RegionState};
use super::route::Target;
use super::selection::LazyNow;
use crate::error::RegionOutcome;
use crate::event::{AllRegionsOut, FailedOver, RegionChange, RegionChanged};
use crate::random::RandomSource;
use crate::scope::TriedRegions;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::time::{self, Instant, TimeOrigin};
use crate::verdict::{Cause, Class, Verdict};

/// A region's number is its place in `slots`. It stays the same for the layer's lifetime,
/// whatever is added and removed, so that a call can remember where it has been.
#[derive(Debug)]
pub(super) struct RegionSet {
    pub(super) slots: Slots<RegionState>,
    pub(super) settings: Settings,
    /// The now from which all of its times are counted.
    pub(super) origin: TimeOrigin,
    /// The tasks that check the regions, if checks are set.
    pub(super) watch: Option<WaiterHandle>,
    random: RandomSource,
    /// Wakes the calls that wait for a region.
    pub(super) back: Arc<Notify>,
    /// Locked while the set is changed.
    pub(super) changing: Mutex<()>,
    /// Whether two regions have the same host.
    shared_hosts: AtomicBool,
    /// The number of the one region that is preferred to all others, or `NONE`.
    preferred: AtomicUsize,
}

/// No one region is preferred to all others.
const NONE: usize = usize::MAX;

impl RegionSet {
    pub(super) fn new(places: impl IntoIterator<Item = RegionEntry>, settings: Settings) -> Self {
        let now = time::now();
        let origin = TimeOrigin::new(now);
        let watch = settings.checks.clone().map(WaiterHandle::new);
        let random = settings.seed.into();
        let slots =
            Slots::new(places.into_iter().map(|place| RegionState::new(place, origin, now)));
        let (shared_hosts, preferred) = (AtomicBool::new(false), AtomicUsize::new(NONE));
        let changing = Mutex::default();
        let back = Arc::default();
        let set = Self {
            slots,
            settings,
            origin,
            watch,
            random,
            back,
            changing,
            shared_hosts,
            preferred,
        };
        set.look_for_shared_hosts();
        set.look_for_the_preferred();
        set
    }

    /// The region that is preferred to all others, if it is fit. While it is, a selection need not look at
    /// the others.
    #[inline]
    pub(super) fn preferred(&self) -> Option<(usize, &RegionState)> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let region_state =
            self.slots.get(preferred).filter(|region_state| region_state.is_fit())?;
        Some((preferred, region_state))
    }

    /// To be called when a region has been added, taken out or given another priority.
    pub(super) fn look_for_the_preferred(&self) {
        let (mut preferred, mut best) = (NONE, u64::MAX);
        let regions =
            self.slots.iter().enumerate().filter(|(_, region_state)| !region_state.is_gone());
        for (region, priority) in
            regions.map(|(region, region_state)| (region, region_state.priority()))
        {
            match priority {
                _ if priority < best => (preferred, best) = (region, priority),
                _ if priority == best => preferred = NONE,
                _ => {}
            }
        }
        self.preferred.store(preferred, Ordering::Relaxed);
    }

    pub(super) fn hosts_are_shared(&self) -> bool {
        self.shared_hosts.load(Ordering::Relaxed)
    }

    /// To be called when a region has been added.
    pub(super) fn look_for_shared_hosts(&self) {
        let mut hosts = HashSet::new();
        if !self.slots.iter().all(|region_state| hosts.insert(&region_state.place.authority)) {
            self.shared_hosts.store(true, Ordering::Relaxed);
        }
    }

    /// To be called for each call. The first one starts the checks.
    #[inline]
    pub(super) fn called(self: &Arc<Self>) {
        if let Some(watch) = &self.watch {
            watch.start(self);
        }
    }

    /// The region of this number. Numbers come from [`find`](Self::find).
    pub(super) fn region_state(&self, region: usize) -> &RegionState {
        self.slots.get(region).expect("a region's number stays its own")
    }

    pub(super) fn name(&self, region: usize) -> &'static str {
        self.region_state(region).place.name
    }

    /// The number of the region of this name, which isn't one that was removed.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        let is =
            |region_state: &RegionState| region_state.place.name == name && !region_state.is_gone();
        self.slots.iter().position(is)
    }

    #[inline]
    pub(super) fn target(&self, region: usize) -> Target<'_> {
        Target::new(self, &self.region_state(region).place)
    }

    /// Counts a call that chose this region. Returns `None` if another call probes the region.
    pub(super) fn begins(&self, region_state: &RegionState, now: &LazyNow) -> Option<Attempt> {
        let probe_permit = match region_state.availability() {
            Availability::Out { until } if until <= self.origin.nanos(now.get()) => {
                let longest = time::nanos(self.settings.recovery.first);
                Some(region_state.try_on(self.origin.nanos(now.get()), longest)?)
            }
            _ => None,
        };
        Some(region_state.begins_chosen(probe_permit))
    }

    /// Counts that an attempt is over.
    #[inline]
    pub(super) fn ends(&self, region_state: &RegionState, attempt: &Attempt) {
        if region_state.ends(attempt) {
            self.notify_waiters();
        }
    }

    /// Whether the latency of this call counts. With checks only theirs does: a region that serves calls
    /// would look slower than one that is only asked for its health.
    pub(super) fn is_measured(&self, attempt: &Attempt) -> bool {
        self.watch.is_none() && attempt.is_measured()
    }

    pub(super) fn measured(&self, region: usize, latency: Duration, now: Instant) {
        let second = seconds(self.origin.nanos(now));
        self.region_state(region).measured(latency, second);
    }

    /// A check of this region, to be made now. `None` if the region is no longer checked.
    pub(super) fn check(&self, region: usize) -> Option<Check> {
        let checks = self.watch.as_ref()?.checks();
        (!self.region_state(region).is_removed()).then(|| checks.check(&self.target(region)))
    }

    /// Records what the check found that was `started` then. Returns when the next one is due.
    pub(super) fn checked(
        &self,
        region: usize,
        finding: Finding,
        started: Instant,
    ) -> Option<Instant> {
        let (checks, now) = (self.watch.as_ref()?.checks(), time::now());
        let next = time::after(started, checks.next_interval()).max(now);
        let recovery = &self.settings.recovery;
        match finding {
            Ok(latency) => {
                self.region_state(region).measured(latency, 0);
                self.change(region, None, |health| {
                    health.found_well(now);
                    None
                });
                if !self.region_state(region).is_fit() {
                    self.notify_waiters();
                }
            }
            Err(cause) => {
                // The region is out until the next check is over, and not for ever should there be none.
                let known = time::after(next, checks.longest());
                let random = self.random();
                self.change(region, Some(cause), |health| {
                    health.found_wanting(recovery, known, now, random)
                });
            }
        }
        Some(next)
    }

    /// Records that a call to this region succeeded that set out in this generation.
    #[inline]
    pub(super) fn succeeded(&self, region: usize, region_state: &RegionState, generation: u64) {
        if !region_state.is_fit() {
            self.proved(region, region_state, generation);
        }
    }

    fn proved(&self, region: usize, region_state: &RegionState, generation: u64) {
        let (recovery, now) = (&self.settings.recovery, time::now());
        match region_state.availability() {
            // It is back, and while it ramps a success changes nothing.
            Availability::Ramping { until } if self.origin.nanos(now) < until => {}
            // It is called though it is out. Any success between two failures would bring it back.
            Availability::Forced if region_state.data().health.is_out(now) => {}
            _ => self.change(region, None, |health| {
                health.succeeded(recovery, self.origin.instant(generation), now)
            }),
        }
    }

    /// Records that a call to this region failed that set out in this generation.
    pub(super) fn failed(&self, region: usize, verdict: &Verdict, generation: u64) {
        let (recovery, now, random) = (&self.settings.recovery, time::now(), self.random());
        let (set_out, asked) = (self.origin.instant(generation), verdict.hint().retry_after);
        let rejected = asked.map(|asked| asked.min(recovery.hint_cap)).filter(|asked| {
            matches!(verdict.class(), Class::Throttled | Class::CircuitOpen) && !asked.is_zero()
        });
        self.change(region, Some(verdict.cause()), |health| match rejected {
            Some(asked) => health.asked_to_wait(asked, set_out, now),
            None => health.failed(recovery, asked, set_out, now, random),
        });
    }

    pub(super) fn reset(&self) {
        let now = time::now();
        for region in 0..self.slots.iter().count() {
            self.change(region, None, |health| health.reset(now));
        }
    }

    fn change(
        &self,
        region: usize,
        failure: Option<Cause>,
        change: impl FnOnce(&mut HealthState) -> Option<Change>,
    ) {
        let changed = self.region_state(region).change(self.origin, failure, change);
        if changed == Some(Change::Recovered) {
            self.notify_waiters();
        }
        // A region that was removed has no more events.
        match changed.filter(|_| !self.region_state(region).is_removed()) {
            Some(Change::Recovered) => self.region_changed(region, RegionChange::Healthy),
            Some(Change::Out { out_for }) => {
                let cause = failure.unwrap_or(Cause::Unknown);
                self.region_changed(region, RegionChange::Out { cause, out_for });
                if self.slots.iter().all(|region_state| region_state.availability().is_out_now()) {
                    let observers = &self.settings.observers;
                    observers.emit(|| AllRegionsOut::new(&self.settings.name));
                }
            }
            None => {}
        }
    }

    pub(super) fn region_changed(&self, region: usize, change: RegionChange) {
        let upstream = &self.settings.name;
        let event = || RegionChanged::new(upstream, self.name(region), change);
        self.settings.observers.emit(event);
    }

    pub(super) fn failed_over(&self, region: usize, cause: Cause) {
        let event = || FailedOver::new(&self.settings.name, self.name(region), cause);
        self.settings.observers.emit(event);
    }

    pub(super) fn random(&self) -> f64 {
        self.random.draw(fastrand::Rng::f64)
    }
}

pub(super) const fn seconds(nanos: u64) -> u64 {
    nanos / 1_000_000_000
}

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

/// What is there from the start lies in one piece. What is put in later lies in another, which is
/// allocated when it is first needed.
#[derive(Debug)]
pub(super) struct Slots<T> {
    first: Box<[T]>,
    later: OnceLock<Box<[OnceLock<Box<T>>]>>,
}

/// How many can be put in later.
pub(super) const ROOM: usize = 1024;

impl<T> Slots<T> {
    pub(super) fn new(first: impl IntoIterator<Item = T>) -> Self {
        Self { first: first.into_iter().collect(), later: OnceLock::new() }
    }

    pub(super) fn get(&self, number: usize) -> Option<&T> {
        match number.checked_sub(self.first.len()) {
            None => self.first.get(number),
            Some(later) => self.later.get()?.get(later)?.get().map(|slot| &**slot),
        }
    }

    /// All in the order of their numbers. It ends at the first number of the later ones that is empty.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        let later = self.later.get().map_or(&[][..], |later| &**later);
        self.first.iter().chain(later.iter().map_while(|slot| slot.get().map(|slot| &**slot)))
    }

    /// Puts a value in at this number. Returns false if there is one already, or there is no room.
    pub(super) fn put(&self, number: usize, value: T) -> bool {
        let empty = || (0..ROOM).map(|_| OnceLock::new()).collect();
        let later = number.checked_sub(self.first.len());
        later.is_some_and(|later| {
            let slots = self.later.get_or_init(empty);
            slots.get(later).is_some_and(|slot| slot.set(Box::new(value)).is_ok())
        })
    }
}

#[cfg(test)]
mod slots_tests {
    use super::*;

    #[test]
    fn numbers_stay() {
        let slots = Slots::new(["a", "b"]);
        assert_eq!((slots.get(0), slots.get(1), slots.get(2)), (Some(&"a"), Some(&"b"), None));
        assert!(!slots.put(1, "taken"));
        assert!(slots.put(2, "c") && !slots.put(2, "taken"));
        assert!(slots.put(ROOM + 1, "far") && !slots.put(ROOM + 2, "too far"));
        assert!(!slots.put(usize::MAX, "too far"));
        assert_eq!((slots.get(2), slots.get(ROOM + 1)), (Some(&"c"), Some(&"far")));
        assert_eq!(slots.iter().copied().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
