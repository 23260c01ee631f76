use std::num::NonZeroU32;
use std::time::Duration;

use super::judge::{Judge, LONGEST};
use crate::rate_limit::Quota;
use crate::time::nanos;

/// One unit an interval, and up to a burst at once after a lull.
#[derive(Debug)]
pub(in crate::rate_limit) struct Paced {
    judge: Judge,
    /// Nanoseconds a unit.
    interval: u64,
    burst: u32,
    /// GCRA's theoretical arrival time.
    arrival: u64,
    last_sent: u64,
}

impl Paced {
    pub(in crate::rate_limit) fn new(quota: &Quota, burst: u32) -> Self {
        let longest = nanos(LONGEST);
        // Rounded up: never faster than the quota says.
        let interval = nanos(quota.window).div_ceil(u64::from(quota.limit).max(1));
        let interval = interval.clamp(1, longest);
        // A burst that would overflow is lowered, which only makes it stricter.
        let most = u32::try_from(longest / interval).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(burst.min(most)).unwrap_or(NonZeroU32::MIN);
        let judge = Judge::new(Duration::from_nanos(interval), burst);
        Self { judge, interval, burst: burst.get(), arrival: 0, last_sent: 0 }
    }

    pub(in crate::rate_limit) fn capacity(&self) -> u32 {
        self.burst
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
            Ok(Some(units)) if units.get() <= self.burst => {
                self.judge.allows(now, self.arrival, units)
            }
            _ => Err(self.available_at(now, reserved, units)),
        }
    }

    /// Notes units that are sent.
    pub(in crate::rate_limit) fn send(&mut self, now: u64, units: u64) {
        let weight = self.interval.saturating_mul(units);
        // More than was admitted may be owed: not for centuries.
        let latest = now.saturating_add(nanos(LONGEST));
        self.arrival = self.arrival.max(now).saturating_add(weight).min(latest);
        self.last_sent = now;
    }

    /// Units that were sent never left; so many were sent after them.
    pub(in crate::rate_limit) fn give_back(&mut self, units: u32, after: u64) {
        let refund = self.interval.saturating_mul(units.into());
        // Without them the arrival time might not be earlier by all of it: those
        // that were sent after them may have found the burst replenished. It is at
        // most what it would be had they all been sent at the last moment.
        let floor = match after {
            0 => 0,
            after => self.last_sent.saturating_add(self.interval.saturating_mul(after)),
        };
        self.arrival = self.arrival.min(self.arrival.saturating_sub(refund).max(floor));
    }

    /// When units that come after so many others can be taken, none before `from`.
    pub(in crate::rate_limit) fn available_at(&self, from: u64, before: u64, units: u32) -> u64 {
        let weight = self.interval.saturating_mul(before.saturating_add(units.into()));
        let tolerance = self.interval.saturating_mul(self.burst.into());
        let arrival = self.arrival.max(from).saturating_add(weight);
        arrival.saturating_sub(tolerance).max(from)
    }

    /// How many units are sent and not replenished yet.
    pub(in crate::rate_limit) fn used(&self, now: u64) -> u64 {
        self.arrival.saturating_sub(now).div_ceil(self.interval)
    }
}

#[cfg(test)]
mod tests;
