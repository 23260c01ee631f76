use std::num::NonZeroU32;
use std::time::Duration;

use governor::state::DirectStateStore;

use super::judge::{Given, Judge, LONGEST};
use crate::rate_limit::Quota;
use crate::time::nanos;

/// One unit an interval, and up to a burst at once after a lull.
#[derive(Debug)]
pub(in crate::rate_limit) struct Paced {
    judge: Judge,
    pace: Pace,
    /// GCRA's theoretical arrival time.
    pub(in crate::rate_limit) arrival: u64,
    /// The sum of all refunds. `arrival + refunded` only grows; it wraps, as only differences
    /// matter.
    pub(in crate::rate_limit) refunded: u64,
    /// When the present pace came into force. Of units that were sent before only the mark says
    /// something about their refund.
    since: u64,
}

/// A paced quota as governor needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) struct Pace {
    /// Nanoseconds for each unit.
    interval: u64,
    pub(in crate::rate_limit) burst: NonZeroU32,
}

impl Pace {
    pub(in crate::rate_limit) fn new(quota: &Quota, burst: u32) -> Self {
        let longest = nanos(LONGEST);
        // Rounded up: never faster than the quota says.
        let interval = nanos(quota.window).div_ceil(u64::from(quota.limit).max(1));
        let interval = interval.clamp(1, longest);
        // A burst that would overflow is lowered, which only makes it stricter.
        let most = u32::try_from(longest / interval).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(burst.min(most)).unwrap_or(NonZeroU32::MIN);
        Self { interval, burst }
    }

    /// The time of one unit.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// A judge that decides by this pace, and has its state in `state`.
    pub(in crate::rate_limit) fn judge<S: DirectStateStore>(&self, state: S) -> Judge<S> {
        Judge::new(self.interval(), self.burst, state)
    }
}

impl Paced {
    /// A quota that comes into force now.
    pub(in crate::rate_limit) fn since(now: u64, pace: Pace) -> Self {
        Self { judge: pace.judge(Given), pace, arrival: 0, refunded: 0, since: now }
    }

    /// Puts another pace in force from now on. As many units as are used, with fractions, stay
    /// used. If units sent before are given back later, all that is used now counts as sent after
    /// them.
    pub(in crate::rate_limit) fn set_pace(&mut self, now: u64, pace: Pace) {
        if pace == self.pace {
            return;
        }
        let used = self.arrival.saturating_sub(now);
        let weight = u128::from(used) * u128::from(pace.interval);
        let weight = weight.div_ceil(self.pace.interval.into());
        let weight = u64::try_from(weight).unwrap_or(u64::MAX).min(nanos(LONGEST));
        self.arrival = now.saturating_add(weight);
        self.refunded = self.refunded.wrapping_add(used);
        (self.judge, self.pace, self.since) = (pace.judge(Given), pace, now);
    }

    pub(in crate::rate_limit) fn pace(&self) -> Pace {
        self.pace
    }

    pub(in crate::rate_limit) fn capacity(&self) -> u32 {
        self.pace.burst.get()
    }

    /// Whether `units`, at most the burst, may be taken while `reserved` are taken and not sent
    /// yet. If not, the error is when they may at the earliest.
    pub(in crate::rate_limit) fn admit(
        &self,
        now: u64,
        reserved: u64,
        units: u32,
    ) -> Result<(), u64> {
        // Decided as if all that is taken were sent now, so that it conforms whenever it is sent
        // later.
        let wanted = reserved.saturating_add(units.into());
        match u32::try_from(wanted).map(NonZeroU32::new) {
            Ok(None) => Ok(()),
            Ok(Some(units)) if units <= self.pace.burst => {
                self.judge.allows(now, self.arrival, units)
            }
            _ => Err(self.available_at(now, reserved, units)),
        }
    }

    /// Notes units that are sent. Returns the mark by which they are [given back](Self::refund).
    pub(in crate::rate_limit) fn send(&mut self, now: u64, units: u64) -> u64 {
        let weight = self.pace.interval.saturating_mul(units);
        // A call may turn out to owe more than was admitted. The debt is capped: it doesn't last
        // for centuries.
        let latest = now.saturating_add(nanos(LONGEST));
        self.arrival = self.arrival.max(now).saturating_add(weight).min(latest);
        self.arrival.wrapping_add(self.refunded)
    }

    /// Gives back units that were sent at `sent`, with this mark if it is known, but never left.
    ///
    /// Without them the arrival time might not be earlier by their full weight: units that were
    /// sent after them may have found the burst replenished. Each of two bounds, by time and by
    /// mark, tells how much of the weight is sure to come back; the larger counts.
    pub(in crate::rate_limit) fn refund(
        &mut self,
        now: u64,
        units: u32,
        sent: u64,
        mark: Option<u64>,
    ) {
        let refund = self.pace.interval.saturating_mul(units.into());
        // No more was replenished than there was time for since they were sent.
        let replenished = if sent < self.since { u64::MAX } else { now.saturating_sub(sent) };
        let by_time = refund.saturating_sub(replenished);
        // Without them the arrival time would be at most what it is if all that came after them
        // were sent now.
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

    /// When `units` that come after `before` others can be taken: at `from` or later.
    pub(in crate::rate_limit) fn available_at(&self, from: u64, before: u64, units: u32) -> u64 {
        let weight = self.pace.interval.saturating_mul(before.saturating_add(units.into()));
        let tolerance = self.pace.interval.saturating_mul(self.pace.burst.get().into());
        let arrival = self.arrival.max(from).saturating_add(weight);
        arrival.saturating_sub(tolerance).max(from)
    }

    /// How many units are sent and not replenished yet.
    pub(in crate::rate_limit) fn used(&self, now: u64) -> u64 {
        self.arrival.saturating_sub(now).div_ceil(self.pace.interval)
    }
}

// Not under loom.
#[cfg(all(test, not(loom)))]
mod tests;
