//! Paced quotas, by governor's GCRA (the generic cell rate algorithm, ITU-T I.371).

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{DirectStateStore, NotKeyed, StateStore};

use crate::time::nanos;

/// The longest duration with which none of governor's sums overflows.
pub(super) const MAX_DURATION: Duration = Duration::from_nanos(1 << 61);

thread_local! {
    /// The clock that this thread's next decision reads, in nanoseconds since the limiter's start.
    static NOW: Cell<u64> = const { Cell::new(0) };
    /// The theoretical arrival time before this thread's decision, and after it.
    static ARRIVAL: Cell<u64> = const { Cell::new(0) };
}

/// governor's decision on a time and a state that the caller keeps.
///
/// The caller reads the clock once a call, and can refund what isn't sent.
#[derive(Debug)]
pub(in crate::rate_limit) struct Gcra<S: DirectStateStore = CallerState> {
    governor: RateLimiter<NotKeyed, S, ThreadClock, NoOpMiddleware<Nanos>>,
}

/// The clock that governor reads. governor counts from its first reading, which is zero.
#[derive(Debug)]
struct ThreadClock;

impl Clock for ThreadClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(NOW.get())
    }
}

/// The state store of a caller that passes the theoretical arrival time to each decision.
#[derive(Debug)]
pub(in crate::rate_limit) struct CallerState;

impl StateStore for CallerState {
    type Key = NotKeyed;

    #[inline]
    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (decision, after) = decide(Some(Nanos::new(ARRIVAL.get())))?;
        set_arrival(after);
        Ok(decision)
    }
}

/// Passes the theoretical arrival time after a decision from a state store to [`Gcra::decide`].
pub(in crate::rate_limit) fn set_arrival(arrival: Nanos) {
    ARRIVAL.set(arrival.as_u64());
}

impl Gcra {
    /// Returns whether `units`, at most the burst, may pass now, at this theoretical arrival time.
    /// The error is when they may.
    pub(super) fn admit(&self, now: u64, arrival: u64, units: NonZeroU32) -> Result<(), u64> {
        ARRIVAL.set(arrival);
        self.decide(now, units).map(|_after| ())
    }
}

impl<S: DirectStateStore> Gcra<S> {
    pub(in crate::rate_limit) fn new(pace: Pace, state: S) -> Self {
        let quota = governor::Quota::with_period(pace.interval())
            .unwrap_or(governor::Quota::per_second(NonZeroU32::MIN))
            .allow_burst(pace.burst);
        NOW.set(0);
        Self { governor: RateLimiter::new(quota, state, ThreadClock) }
    }

    /// Decides whether `units`, at most the burst, pass now. Returns the theoretical arrival time
    /// that includes them or, as the error, when they may pass.
    #[inline]
    pub(in crate::rate_limit) fn decide(&self, now: u64, units: NonZeroU32) -> Result<u64, u64> {
        NOW.set(now);
        match units {
            NonZeroU32::MIN => self.governor.check(),
            units => self.governor.check_n(units).unwrap_or(Ok(())),
        }
        .map(|()| ARRIVAL.get())
        .map_err(|not_until| not_until.earliest_possible().as_u64())
    }
}

/// A long-term rate: units per window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) struct Rate {
    pub(in crate::rate_limit) limit: u32,
    pub(in crate::rate_limit) window: Duration,
}

/// The interval of one unit, and the burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) struct Pace {
    /// Nanoseconds for each unit.
    interval: u64,
    pub(in crate::rate_limit) burst: NonZeroU32,
}

impl Pace {
    pub(in crate::rate_limit) fn new(limit: u32, window: Duration, burst: u32) -> Self {
        let longest = nanos(MAX_DURATION);
        // Rounded up, so that it is never faster than the quota.
        let interval = nanos(window).div_ceil(u64::from(limit).max(1));
        let interval = interval.clamp(1, longest);
        // A burst that would overflow is lowered, which only makes it stricter.
        let max_burst = u32::try_from(longest / interval).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(burst.min(max_burst)).unwrap_or(NonZeroU32::MIN);
        Self { interval, burst }
    }

    pub(super) fn interval(self) -> Duration {
        Duration::from_nanos(self.interval)
    }
}

/// The meter of a paced quota: one unit an interval, and up to a burst at once.
#[derive(Debug)]
pub(in crate::rate_limit) struct PacedMeter {
    gcra: Gcra,
    pace: Pace,
    /// GCRA's theoretical arrival time.
    pub(in crate::rate_limit) arrival: u64,
    /// The sum of all refunds, in nanoseconds. `arrival + refunded` never decreases. It wraps: only
    /// differences are used.
    pub(in crate::rate_limit) refunded: u64,
    /// When the present pace came into force. The refund of units that were sent before relies on
    /// the mark alone.
    since: u64,
}

impl PacedMeter {
    /// Creates a meter whose pace is in force from `now` on.
    pub(in crate::rate_limit) fn new(now: u64, pace: Pace) -> Self {
        Self { gcra: Gcra::new(pace, CallerState), pace, arrival: 0, refunded: 0, since: now }
    }

    /// Replaces the pace from `now` on. The same number of units stays used, fractions included.
    /// For later refunds of units that were sent before, all that is used now counts as sent after
    /// them.
    pub(in crate::rate_limit) fn set_pace(&mut self, now: u64, pace: Pace) {
        if pace == self.pace {
            return;
        }
        let used = self.arrival.saturating_sub(now);
        let weight = u128::from(used) * u128::from(pace.interval);
        let weight = weight.div_ceil(self.pace.interval.into());
        let weight = u64::try_from(weight).unwrap_or(u64::MAX).min(nanos(MAX_DURATION));
        self.arrival = now.saturating_add(weight);
        self.refunded = self.refunded.wrapping_add(used);
        (self.gcra, self.pace, self.since) = (Gcra::new(pace, CallerState), pace, now);
    }

    pub(in crate::rate_limit) fn pace(&self) -> Pace {
        self.pace
    }

    pub(super) fn capacity(&self) -> u32 {
        self.pace.burst.get()
    }

    /// Returns whether `units`, at most the burst, may be taken while `reserved` units are taken and
    /// not sent yet. The error is the earliest time at which they may.
    pub(in crate::rate_limit) fn admit(
        &self,
        now: u64,
        reserved: u64,
        units: u32,
    ) -> Result<(), u64> {
        // Decided as if all reserved units were sent now. Sent later, they conform as well.
        let wanted = reserved.saturating_add(units.into());
        match u32::try_from(wanted).map(NonZeroU32::new) {
            Ok(None) => Ok(()),
            Ok(Some(units)) if units <= self.pace.burst => {
                self.gcra.admit(now, self.arrival, units)
            }
            _ => Err(self.available_at(now, reserved, units)),
        }
    }

    /// Records units that are sent. Returns the mark that their [refund](Self::refund) needs.
    pub(in crate::rate_limit) fn send(&mut self, now: u64, units: u64) -> u64 {
        let weight = self.pace.interval.saturating_mul(units);
        // A settled call may owe more than was admitted. The cap keeps the debt finite.
        let latest = now.saturating_add(nanos(MAX_DURATION));
        self.arrival = self.arrival.max(now).saturating_add(weight).min(latest);
        self.arrival.wrapping_add(self.refunded)
    }

    /// Refunds units that were sent at `sent_at`, with this mark if it is known.
    ///
    /// Without these units, the arrival time might not be earlier by their full weight: units that
    /// were sent after them may have found the burst replenished. Time and mark each give a lower
    /// bound for the weight that can be refunded. The larger bound is used.
    pub(in crate::rate_limit) fn refund(
        &mut self,
        now: u64,
        units: u32,
        sent_at: u64,
        mark: Option<u64>,
    ) {
        let refund = self.pace.interval.saturating_mul(units.into());
        // At most the time since they were sent has been replenished.
        let replenished = if sent_at < self.since { u64::MAX } else { now.saturating_sub(sent_at) };
        let by_time = refund.saturating_sub(replenished);
        // Without them, the arrival time would be at most what it is if all units after them were
        // sent now.
        let by_mark = mark.map_or(0, |mark| {
            let floor = match self.arrival.wrapping_add(self.refunded).wrapping_sub(mark) {
                0 => 0,
                after => now.saturating_add(after),
            };
            refund.min(self.arrival.saturating_sub(floor))
        });
        let refund = by_time.max(by_mark).min(self.arrival);
        self.arrival -= refund;
        self.refunded = self.refunded.wrapping_add(refund);
    }

    /// Returns when `units` that come after `ahead` other units can be taken: `from` or later.
    pub(in crate::rate_limit) fn available_at(&self, from: u64, ahead: u64, units: u32) -> u64 {
        let weight = self.pace.interval.saturating_mul(ahead.saturating_add(units.into()));
        let tolerance = self.pace.interval.saturating_mul(self.pace.burst.get().into());
        let arrival = self.arrival.max(from).saturating_add(weight);
        arrival.saturating_sub(tolerance).max(from)
    }

    /// Returns the number of units that are sent and not replenished yet.
    pub(in crate::rate_limit) fn used(&self, now: u64) -> u64 {
        self.arrival.saturating_sub(now).div_ceil(self.pace.interval)
    }
}

// Not under loom.
#[cfg(all(test, not(loom)))]
mod tests;
