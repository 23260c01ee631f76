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
    /// By how much all refunds together have made it earlier: with it, it never goes back. Only
    /// differences of such sums matter, so they may wrap: long intervals add up to centuries.
    pub(in crate::rate_limit) refunded: u64,
    /// From when on units weigh what they do now. Of what was sent before only its mark is known.
    since: u64,
}

/// What a paced quota comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rate_limit) struct Pace {
    /// Nanoseconds a unit.
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

    /// Who decides by it, with its state there.
    pub(in crate::rate_limit) fn judge<S: DirectStateStore>(&self, state: S) -> Judge<S> {
        Judge::new(self.interval(), self.burst, state)
    }
}

impl Paced {
    /// One that comes into force now.
    pub(in crate::rate_limit) fn since(now: u64, pace: Pace) -> Self {
        Self { judge: pace.judge(Given), pace, arrival: 0, refunded: 0, since: now }
    }

    /// Another pace from now on. So many units, and parts of one, as are used are used still. For
    /// those that are given back later, they count as sent now.
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

    /// Whether units may be taken, no more than the burst, while so many are taken
    /// and not sent yet; else when, at the earliest.
    pub(in crate::rate_limit) fn admit(
        &self,
        now: u64,
        reserved: u64,
        units: u32,
    ) -> Result<(), u64> {
        // As if all that is taken were sent now: so whatever is sent later conforms.
        let wanted = reserved.saturating_add(units.into());
        match u32::try_from(wanted).map(NonZeroU32::new) {
            Ok(None) => Ok(()),
            Ok(Some(units)) if units <= self.pace.burst => {
                self.judge.allows(now, self.arrival, units)
            }
            _ => Err(self.available_at(now, reserved, units)),
        }
    }

    /// Notes units that are sent; the mark by which they are [given back](Self::give_back).
    pub(in crate::rate_limit) fn send(&mut self, now: u64, units: u64) -> u64 {
        let weight = self.pace.interval.saturating_mul(units);
        // More than was admitted may be owed: not for centuries.
        let latest = now.saturating_add(nanos(LONGEST));
        self.arrival = self.arrival.max(now).saturating_add(weight).min(latest);
        self.arrival.wrapping_add(self.refunded)
    }

    /// Units that were sent then, with this mark if it is known, never left.
    ///
    /// Without them the arrival time might not be earlier by all of it: those that were sent
    /// after them may have found the burst replenished. Each of two bounds tells how much of it
    /// is sure.
    pub(in crate::rate_limit) fn give_back(
        &mut self,
        now: u64,
        units: u32,
        sent: u64,
        mark: Option<u64>,
    ) {
        let refund = self.pace.interval.saturating_mul(units.into());
        // No more was replenished than there was time for since then.
        let replenished = if sent < self.since { u64::MAX } else { now.saturating_sub(sent) };
        let by_time = refund.saturating_sub(replenished);
        // It would be at most what it is had all that came after them been sent now.
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

    /// When units that come after so many others can be taken, none before `from`.
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

// Not where models are checked.
#[cfg(all(test, not(loom)))]
mod tests;
