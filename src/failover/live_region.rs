//! One region, as all calls share it.

use std::num::NonZeroU64;
use std::time::Duration;

use super::health::{Change, Health};
use super::latency::Latency;
use super::region::Place;
use super::standing::Standing;
use super::traffic::Traffic;
use super::watch::Task;
use crate::sync::{AtomicU64, CachePadded, Mutex, Ordering};
use crate::time::{self, Instant, TimeOrigin};
use crate::verdict::Cause;

/// What a call must know of a region is in atomics. Only failures take the lock, and successes that
/// change how the region stands.
#[derive(Debug)]
pub(super) struct LiveRegion {
    pub(super) place: Place,
    priority: AtomicU64,
    /// Its [`Standing`], as a word.
    standing: AtomicU64,
    /// When this phase of its life began, in nanoseconds of the epoch.
    since: AtomicU64,
    /// Until when its server asked to be left alone while it is out, in nanoseconds of the epoch.
    asked_until: AtomicU64,
    /// Until when the one call that it takes on trial keeps others away, in nanoseconds of the epoch. A
    /// call that hangs must not do so for ever. 0: there is no such call.
    trial: AtomicU64,
    told: Mutex<Told>,
    /// A [`Latency`], as a word. On cache lines of its own, since calls write it.
    latency: CachePadded<AtomicU64>,
    traffic: Traffic,
    pub(super) task: Task,
}

/// What is known of a region, of which its standing is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) health: Health,
    pub(super) duty: Duty,
    /// The cause of the last failure, of a call or a check.
    pub(super) last_failure: Option<Cause>,
}

impl Told {
    pub(super) fn standing(&self, epoch: TimeOrigin) -> Standing {
        match self.duty {
            Duty::ByHealth => self.health.standing(epoch),
            Duty::In => match self.health.standing(epoch) {
                Standing::Fit => Standing::Fit,
                _ => Standing::Forced,
            },
            Duty::Drained => Standing::Drained,
            Duty::Out | Duty::Removed => Standing::Gone,
        }
    }
}

/// What a region was told by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Nothing; it goes by its health.
    ByHealth,
    In,
    Drained,
    Out,
    Removed,
}

/// A call's hold on the place on trial, as the moment when that ends, in nanoseconds of the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease(NonZeroU64);

/// What a call gives back when it is over, and what its result is judged by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Begun {
    /// The call's hold on the place on trial, if it took that.
    lease: Option<Lease>,
    /// When the phase began in which the call was sent to the region, in nanoseconds of the epoch. If
    /// the region is in another phase by the end of the call, the result comes too late to count.
    pub(super) phase: u64,
    /// Whether the region was chosen from several.
    chosen: bool,
    /// Whether it is the first of every 16 calls.
    is_sample: bool,
}

/// The region that a call goes to: its number, its state, and what the call gives back there.
pub(super) type Choice<'a> = (usize, &'a LiveRegion, Begun);

impl Begun {
    /// Whether its latency counts. While one region is preferred, latency doesn't choose among regions,
    /// and a sample of the calls is enough to know it.
    #[inline]
    pub(super) const fn is_measured(&self) -> bool {
        self.chosen || self.is_sample
    }
}

impl LiveRegion {
    /// A region that is added now to a set of this epoch.
    pub(super) fn new(place: Place, epoch: TimeOrigin, now: Instant) -> Self {
        Self {
            priority: AtomicU64::new(place.priority.into()),
            place,
            standing: AtomicU64::new(Standing::Fit.word()),
            since: AtomicU64::new(epoch.nanos(now)),
            asked_until: AtomicU64::new(0),
            trial: AtomicU64::new(0),
            told: Mutex::new(Told {
                health: Health::new(now),
                duty: Duty::ByHealth,
                last_failure: None,
            }),
            latency: CachePadded::default(),
            traffic: Traffic::default(),
            task: Task::default(),
        }
    }

    #[inline]
    pub(super) fn standing(&self) -> Standing {
        Standing::from_word(self.standing.load(Ordering::Acquire))
    }

    /// Whether it stands as [`Standing::Fit`], found out without decoding the word.
    #[inline]
    pub(super) fn is_fit(&self) -> bool {
        self.standing.load(Ordering::Acquire) == Standing::FIT
    }

    #[inline]
    pub(super) fn is_gone(&self) -> bool {
        self.standing.load(Ordering::Acquire) == Standing::GONE
    }

    #[inline]
    pub(super) fn priority(&self) -> u64 {
        self.priority.load(Ordering::Relaxed)
    }

    pub(super) fn prioritise(&self, priority: u32) {
        self.priority.store(priority.into(), Ordering::Relaxed);
    }

    /// Whether its server asked to be left alone, and the time is not over.
    pub(super) fn is_asked_for(&self, now: u64) -> bool {
        self.asked_until.load(Ordering::Relaxed) > now
    }

    pub(super) fn is_on_trial(&self, now: u64) -> bool {
        self.trial.load(Ordering::Acquire) > now
    }

    /// How much longer the call on trial takes, in nanoseconds: an estimate by the region's latency, and
    /// the longest that it keeps others away. Both are 0 if there is no such call.
    pub(super) fn trial_takes(&self, now: u64) -> (u64, u64) {
        let most = self.trial.load(Ordering::Acquire).saturating_sub(now);
        (self.latency().measured().map_or(most, |latency| most.min(time::nanos(latency))), most)
    }

    /// Takes the place of the one call on trial, for `lease` nanoseconds. Returns `None` if another call
    /// has it.
    pub(super) fn try_on(&self, now: u64, lease: u64) -> Option<Lease> {
        let before = self.trial.load(Ordering::Acquire);
        let until = NonZeroU64::new(now.saturating_add(lease)).unwrap_or(NonZeroU64::MIN);
        let take = || {
            self.trial.compare_exchange(before, until.get(), Ordering::AcqRel, Ordering::Relaxed)
        };
        (before <= now && take().is_ok()).then_some(Lease(until))
    }

    /// Counts a call that goes to it as the preferred region.
    #[inline]
    pub(super) fn begins(&self) -> Begun {
        self.begins_with(None, false)
    }

    /// Counts a call that chose it, or found nothing else, with its lease if it is on trial.
    pub(super) fn begins_chosen(&self, lease: Option<Lease>) -> Begun {
        self.begins_with(lease, true)
    }

    #[inline]
    fn begins_with(&self, lease: Option<Lease>, chosen: bool) -> Begun {
        let is_sample = self.traffic.begins(chosen).is_multiple_of(16);
        Begun { lease, phase: self.phase(), chosen, is_sample }
    }

    /// When this phase of its life began, in nanoseconds of the epoch.
    #[inline]
    pub(super) fn phase(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// Counts that a call is over. Returns whether that frees the place on trial.
    #[inline]
    pub(super) fn ends(&self, begun: &Begun) -> bool {
        self.traffic.ends(begun.chosen);
        // If the lease has run out, the place may be another call's.
        begun.lease.is_some_and(|Lease(until)| {
            self.trial.compare_exchange(until.get(), 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// How many calls it has got, and how many of them are under way.
    pub(super) fn calls(&self) -> (u64, u64) {
        self.traffic.total()
    }

    pub(super) fn latency(&self) -> Latency {
        Latency::from_word(self.latency.0.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn measured(&self, latency: Duration, second: u64) {
        if let Some(next) = self.latency().with(latency, second) {
            self.latency.0.store(next.word(), Ordering::Relaxed);
        }
    }

    /// An estimate of how long one more call would take here, by the latency and the calls under way.
    ///
    /// Where no latency is known, one call is sent to find out. Until it is over the region counts as
    /// worse than any other, since it may hang.
    pub(super) fn load(&self, second: u64) -> u64 {
        const UNKNOWN: u64 = 1 << 63;
        match (self.latency().counts(second), self.traffic.load()) {
            (0, under_way @ 1..) => UNKNOWN.saturating_add(under_way),
            (latency, under_way) => (latency + 1).saturating_mul(under_way + 1).min(UNKNOWN),
        }
    }

    pub(super) fn told(&self) -> Told {
        *self.told.lock()
    }

    /// Changes its health. `failure` is the cause, if a failure changes it.
    pub(super) fn change(
        &self,
        epoch: TimeOrigin,
        failure: Option<Cause>,
        change: impl FnOnce(&mut Health) -> Option<Change>,
    ) -> Option<Change> {
        let mut told = self.told.lock();
        let changed = change(&mut told.health);
        told.last_failure = failure.or(told.last_failure);
        self.show(&told, epoch);
        changed
    }

    pub(super) fn is_removed(&self) -> bool {
        self.told().duty == Duty::Removed
    }

    pub(super) fn give_duty(&self, duty: Duty, epoch: TimeOrigin) {
        let mut told = self.told.lock();
        told.duty = duty;
        self.show(&told, epoch);
    }

    /// Shows in the atomics what was told. Called under the lock, so that an older state never
    /// overwrites a newer one.
    fn show(&self, told: &Told, epoch: TimeOrigin) {
        let nanos = |at| epoch.nanos(at);
        // Stored first: a thread that sees the standing sees its phase too, or a later one.
        self.since.store(nanos(told.health.since()), Ordering::Relaxed);
        let asked_until = told.health.asked_until().map_or(0, nanos);
        self.asked_until.store(asked_until, Ordering::Relaxed);
        self.standing.store(told.standing(epoch).word(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Region, Regions};
    use super::*;

    #[test]
    fn of_calls_that_find_its_place_on_trial_free_at_once_one_gets_it() {
        let regions = Regions::new([Region::new("one", "https://one.test")]).unwrap();
        let now = time::now();
        let live = LiveRegion::new(regions.0[0].clone(), TimeOrigin::new(now), now);
        let first = live.try_on(100, 10);
        assert_eq!(first, NonZeroU64::new(110).map(Lease));
        assert_eq!((live.try_on(100, 10), live.try_on(109, 10)), (None, None));
        // It has hung for longer than its lease, and what it frees then isn't its own.
        let next = live.try_on(110, 10);
        assert!(!live.ends(&live.begins_chosen(first)));
        assert_eq!(live.try_on(111, 10), None);
        assert!(live.ends(&live.begins_chosen(next)));
        assert!(live.try_on(111, 10).is_some());
    }
}
