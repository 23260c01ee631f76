//! One region, as all calls share it.

use std::num::NonZeroU64;
use std::time::Duration;

use super::checks::Task;
use super::health::{Availability, Change, HealthState};
use super::region::RegionEntry;
use crate::sharded::Sharded;
use crate::sync::{AtomicU64, CachePadded, Mutex, Ordering};
use crate::time::{self, Instant, TimeOrigin};
use crate::verdict::Cause;

/// What a call must know of a region is in atomics. Only failures take the lock, and successes that
/// change how the region stands.
#[derive(Debug)]
pub(super) struct RegionState {
    pub(super) place: RegionEntry,
    priority: AtomicU64,
    /// Its [`Availability`], as a word.
    availability: AtomicU64,
    /// When this generation of its timeline began, in nanoseconds of the origin.
    since: AtomicU64,
    /// Until when its server asked to be left alone while it is out, in nanoseconds of the origin.
    asked_until: AtomicU64,
    /// Until when the one probe blocks other probes, in nanoseconds of the origin. A
    /// call that hangs must not do so for ever. 0: there is no such call.
    trial: AtomicU64,
    data: Mutex<RegionData>,
    /// A [`Latency`], as a word. On cache lines of its own, since calls write it.
    latency: CachePadded<AtomicU64>,
    traffic: TrafficShare,
    pub(super) task: Task,
}

/// What is known of a region, of which its availability is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct RegionData {
    pub(super) health: HealthState,
    pub(super) admin_state: AdminState,
    /// The cause of the last failure, of a call or a check.
    pub(super) last_failure: Option<Cause>,
}

impl RegionData {
    pub(super) fn availability(&self, origin: TimeOrigin) -> Availability {
        match self.admin_state {
            AdminState::ByHealth => self.health.availability(origin),
            AdminState::In => match self.health.availability(origin) {
                Availability::Fit => Availability::Fit,
                _ => Availability::Forced,
            },
            AdminState::Drained => Availability::Drained,
            AdminState::Out | AdminState::Removed => Availability::Gone,
        }
    }
}

/// What a region was data by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminState {
    /// Nothing; it goes by its health.
    ByHealth,
    In,
    Drained,
    Out,
    Removed,
}

/// A call's permit to probe, as the time at which it expires, in nanoseconds of the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProbePermit(NonZeroU64);

/// What a call releases when it ends, and what its result is compared with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempt {
    /// The call's permit to probe, if it has one.
    probe_permit: Option<ProbePermit>,
    /// When the generation began in which the call was sent to the region, in nanoseconds of the origin. If
    /// the region is in another generation by the end of the call, the result comes too late to count.
    pub(super) generation: u64,
    /// Whether the region was chosen from several.
    chosen: bool,
    /// Whether it is the first of every 16 calls.
    is_sample: bool,
}

/// The region that a call goes to: its number, its state, and what the call releases there.
pub(super) type Selection<'a> = (usize, &'a RegionState, Attempt);

impl Attempt {
    /// Whether its latency counts. While one region is preferred, latency doesn't choose among regions,
    /// and a sample of the calls is enough to know it.
    pub(super) const fn is_measured(&self) -> bool {
        self.chosen || self.is_sample
    }
}

impl RegionState {
    /// A region that is added now to a set of this origin.
    pub(super) fn new(place: RegionEntry, origin: TimeOrigin, now: Instant) -> Self {
        Self {
            priority: AtomicU64::new(place.priority.into()),
            place,
            availability: AtomicU64::new(Availability::Fit.word()),
            since: AtomicU64::new(origin.nanos(now)),
            asked_until: AtomicU64::new(0),
            trial: AtomicU64::new(0),
            data: Mutex::new(RegionData {
                health: HealthState::new(now),
                admin_state: AdminState::ByHealth,
                last_failure: None,
            }),
            latency: CachePadded::default(),
            traffic: TrafficShare::default(),
            task: Task::default(),
        }
    }

    pub(super) fn availability(&self) -> Availability {
        Availability::from_word(self.availability.load(Ordering::Acquire))
    }

    /// Whether it stands as [`Availability::Fit`], found out without decoding the word.
    pub(super) fn is_fit(&self) -> bool {
        self.availability.load(Ordering::Acquire) == Availability::FIT
    }

    pub(super) fn is_gone(&self) -> bool {
        self.availability.load(Ordering::Acquire) == Availability::GONE
    }

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

    pub(super) fn is_probing(&self, now: u64) -> bool {
        self.trial.load(Ordering::Acquire) > now
    }

    /// Returns how much longer the probe takes, in nanoseconds: an estimate by the region's latency, and
    /// the longest that it keeps others away. Both are 0 if there is no such call.
    pub(super) fn trial_takes(&self, now: u64) -> (u64, u64) {
        let most = self.trial.load(Ordering::Acquire).saturating_sub(now);
        (self.latency().measured().map_or(most, |latency| most.min(time::nanos(latency))), most)
    }

    /// Acquires the permit to probe, for `probe_permit` nanoseconds. Returns `None` if another call
    /// has it.
    pub(super) fn try_on(&self, now: u64, probe_permit: u64) -> Option<ProbePermit> {
        let before = self.trial.load(Ordering::Acquire);
        let until = NonZeroU64::new(now.saturating_add(probe_permit)).unwrap_or(NonZeroU64::MIN);
        let take = || {
            self.trial.compare_exchange(before, until.get(), Ordering::AcqRel, Ordering::Relaxed)
        };
        (before <= now && take().is_ok()).then_some(ProbePermit(until))
    }

    /// Counts a call that goes to it as the preferred region.
    #[inline]
    pub(super) fn begins(&self) -> Attempt {
        self.begins_with(None, false)
    }

    /// Counts a call that chose it, or found nothing else, with its probe permit if it is a probe.
    pub(super) fn begins_chosen(&self, probe_permit: Option<ProbePermit>) -> Attempt {
        self.begins_with(probe_permit, true)
    }

    #[inline]
    fn begins_with(&self, probe_permit: Option<ProbePermit>, chosen: bool) -> Attempt {
        let is_sample = self.traffic.begins(chosen).is_multiple_of(16);
        Attempt { probe_permit, generation: self.generation(), chosen, is_sample }
    }

    /// When this generation of its timeline began, in nanoseconds of the origin.
    pub(super) fn generation(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// Counts that a call ended. Returns whether that releases the probe permit.
    #[inline]
    pub(super) fn ends(&self, attempt: &Attempt) -> bool {
        self.traffic.ends(attempt.chosen);
        // If the probe permit has run out, the place may be another call's.
        attempt.probe_permit.is_some_and(|ProbePermit(until)| {
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

    pub(super) fn data(&self) -> RegionData {
        *self.data.lock()
    }

    /// Changes its health. `failure` is the cause, if a failure changes it.
    pub(super) fn change(
        &self,
        origin: TimeOrigin,
        failure: Option<Cause>,
        change: impl FnOnce(&mut HealthState) -> Option<Change>,
    ) -> Option<Change> {
        let mut data = self.data.lock();
        let changed = change(&mut data.health);
        data.last_failure = failure.or(data.last_failure);
        self.show(&data, origin);
        changed
    }

    pub(super) fn is_removed(&self) -> bool {
        self.data().admin_state == AdminState::Removed
    }

    pub(super) fn set_admin_state(&self, admin_state: AdminState, origin: TimeOrigin) {
        let mut data = self.data.lock();
        data.admin_state = admin_state;
        self.show(&data, origin);
    }

    /// Shows in the atomics what was data. Called under the lock, so that an older state never
    /// overwrites a newer one.
    fn show(&self, data: &RegionData, origin: TimeOrigin) {
        let nanos = |at| origin.nanos(at);
        // Stored first: a thread that sees the availability sees its generation too, or a later one.
        self.since.store(nanos(data.health.since()), Ordering::Relaxed);
        let asked_until = data.health.asked_until().map_or(0, nanos);
        self.asked_until.store(asked_until, Ordering::Relaxed);
        self.availability.store(data.availability(origin).word(), Ordering::Release);
    }
}

/// A smoothed latency and when it was last measured, in one word that threads share.
///
/// The upper half is the latency in microseconds. The lower half is when it was measured, in seconds
/// since the layer was made. 0: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Latency(u64);

impl Latency {
    /// After this many seconds without a measurement the latency counts half, so that a region
    /// that was slow is tried again, and measured.
    pub(super) const HALF_TIME: u64 = 10;

    pub(super) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) const fn word(self) -> u64 {
        self.0
    }

    const fn micros(self) -> u64 {
        self.0 >> 32
    }

    fn second(self) -> u64 {
        self.0 & u64::from(u32::MAX)
    }

    fn new(micros: u64, second: u64) -> Self {
        let most = u64::from(u32::MAX);
        Self(micros.clamp(1, most) << 32 | second.min(most))
    }

    /// As it was when last measured.
    pub(super) fn measured(self) -> Option<Duration> {
        (self.0 != 0).then(|| Duration::from_micros(self.micros()))
    }

    /// What it counts in this second, in microseconds; 0 where nothing is known.
    pub(super) fn counts(self, second: u64) -> u64 {
        let idle = second.saturating_sub(self.second());
        let halvings = u32::try_from(idle / Self::HALF_TIME).unwrap_or(u32::MAX);
        self.micros().checked_shr(halvings).unwrap_or(0)
    }

    /// With one more measurement, smoothed as TCP smooths its round trips (RFC 6298): an eighth of the
    /// new one and seven eighths of what the old one counts now.
    ///
    /// `None` if it hardly differs from what was written in this same second: without the write, threads
    /// don't contend for it.
    pub(super) fn with(self, new: Duration, second: u64) -> Option<Self> {
        let new = u64::try_from(new.as_micros()).unwrap_or(u64::MAX);
        let old = self.counts(second);
        let smoothed = if self.0 == 0 { new } else { old - old / 8 + new / 8 };
        let next = Self::new(smoothed, second);
        let moved = next.micros().abs_diff(old) > old / 64;
        (moved || next.second() != self.second()).then_some(next)
    }
}

#[derive(Debug, Default)]
pub(super) struct TrafficShare {
    /// The calls that chose the region from several. Choices go by how many of these are under way, so
    /// they are counted in one place.
    chosen: CachePadded<Calls>,
    /// The calls that went to it as the preferred region. No selection goes by their number, so each thread
    /// counts its own.
    preferred: Box<Sharded<Calls>>,
}

#[derive(Debug, Default)]
struct Calls {
    attempt: AtomicU64,
    ended: AtomicU64,
}

impl TrafficShare {
    fn calls(&self, chosen: bool) -> &Calls {
        if chosen { &self.chosen.0 } else { self.preferred.local() }
    }

    /// Counts a call. Returns how many had attempt before, of those in the same place.
    #[inline]
    pub(super) fn begins(&self, chosen: bool) -> u64 {
        self.calls(chosen).attempt.fetch_add(1, Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn ends(&self, chosen: bool) {
        self.calls(chosen).ended.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls are under way that chose it.
    pub(super) fn load(&self) -> u64 {
        let (attempt, ended) = self.chosen.0.read();
        attempt.saturating_sub(ended)
    }

    /// How many calls there were, and how many of them are under way.
    pub(super) fn total(&self) -> (u64, u64) {
        let all = self.preferred.iter().chain([&self.chosen.0]).map(Calls::read);
        let (attempt, ended) = all.fold((0, 0), |sum, calls| (sum.0 + calls.0, sum.1 + calls.1));
        (attempt, attempt.saturating_sub(ended))
    }
}

impl Calls {
    /// How many began, and how many ended. A call that begins or ends meanwhile may be counted in only
    /// one of the two.
    fn read(&self) -> (u64, u64) {
        let ended = self.ended.load(Ordering::Relaxed);
        (self.attempt.load(Ordering::Relaxed), ended)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Region, Regions};
    use super::*;

    #[test]
    fn of_calls_that_find_its_place_probing_free_at_once_one_gets_it() {
        let regions = Regions::new([Region::new("one", "https://one.test")]).unwrap();
        let now = time::now();
        let region_state = RegionState::new(regions.0[0].clone(), TimeOrigin::new(now), now);
        let first = region_state.try_on(100, 10);
        assert_eq!(first, NonZeroU64::new(110).map(ProbePermit));
        assert_eq!((region_state.try_on(100, 10), region_state.try_on(109, 10)), (None, None));
        // It has hung for longer than its probe permit, and what it frees then isn't its own.
        let next = region_state.try_on(110, 10);
        assert!(!region_state.ends(&region_state.begins_chosen(first)));
        assert_eq!(region_state.try_on(111, 10), None);
        assert!(region_state.ends(&region_state.begins_chosen(next)));
        assert!(region_state.try_on(111, 10).is_some());
    }
}

#[cfg(test)]
mod latency_tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn follows_what_is_measured() {
        let mut latency = Latency::default();
        assert_eq!((latency.measured(), latency.counts(9)), (None, 0));
        latency = latency.with(millis(80), 3).unwrap();
        assert_eq!(latency.measured(), Some(millis(80)));
        latency = latency.with(millis(160), 3).unwrap();
        assert_eq!(latency.measured(), Some(millis(90)));
        assert_eq!(latency.with(millis(90), 3), None);
        // Nothing is a measurement too.
        assert_eq!(Latency::default().with(Duration::ZERO, 0).unwrap().counts(0), 1);
    }

    #[test]
    fn counts_half_with_each_ten_seconds_of_silence() {
        let latency = Latency::default().with(millis(80), 5).unwrap();
        for (second, counts) in [(0, 80_000), (14, 80_000), (15, 40_000), (25, 20_000), (999, 0)] {
            assert_eq!(latency.counts(second), counts, "{second}");
        }
        // Not where it is measured again and again.
        let measured = (5..65).try_fold(latency, |latency, second| {
            Some(latency.with(millis(80), second).unwrap_or(latency))
                .filter(|l| l.counts(second) == 80_000)
        });
        assert!(measured.is_some());
        // Old samples have little weight against the new one.
        assert_eq!(latency.with(millis(8), 45).unwrap().counts(45), 5_375);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let latency = Latency::default().with(Duration::MAX, u64::MAX).unwrap();
        assert_eq!(latency.counts(u64::MAX) >> 32, 0);
        assert!(
            latency.with(Duration::MAX, 0).is_none_or(|next| next.measured() > Some(millis(1)))
        );
    }
}
