use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;

use super::judge::{Judge, LONGEST};
use crate::rate_limit::Quota;
use crate::rate_limit::clock::TokioClock;
use crate::sync::Mutex;
use crate::time::nanos;

/// One unit an interval, and up to a burst at once after a lull.
#[derive(Debug)]
pub(super) struct Paced {
    judge: Judge,
    clock: TokioClock,
    /// Nanoseconds a unit.
    interval: u64,
    burst: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// GCRA's theoretical arrival time.
    arrival: u64,
    /// Units that were taken and aren't sent yet.
    reserved: u32,
    /// How many units were ever sent, and when the last ones.
    sent: u64,
    last_sent: u64,
}

impl Paced {
    pub(super) fn new(quota: &Quota, burst: u32, clock: TokioClock) -> Self {
        let longest = nanos(LONGEST);
        // Rounded up: never faster than the quota says.
        let interval = nanos(quota.window).div_ceil(u64::from(quota.limit).max(1));
        let interval = interval.clamp(1, longest);
        // A burst that would overflow is lowered, which only makes it stricter.
        let most = u32::try_from(longest / interval).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(burst.min(most)).unwrap_or(NonZeroU32::MIN);
        let judge = Judge::new(Duration::from_nanos(interval), burst, clock.clone());
        Self { judge, clock, interval, burst: burst.get(), state: Mutex::default() }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.burst
    }

    pub(super) fn take(&self, units: u32) -> Result<(), u64> {
        let mut state = self.state.lock();
        // As if all that is taken were sent now: so whatever is sent later conforms.
        let wanted = state.reserved.saturating_add(units);
        if wanted > self.burst {
            let now = self.clock.now().as_u64();
            return Err(self.conforms_at(&state, now, wanted.into()));
        }
        if let Some(units) = NonZeroU32::new(wanted) {
            self.judge.allows(state.arrival, units)?;
        }
        state.reserved = wanted;
        Ok(())
    }

    /// The taken units are sent; their number, for giving them back.
    pub(super) fn send(&self, units: u32) -> u64 {
        let mut state = self.state.lock();
        let now = self.clock.now().as_u64();
        state.reserved -= units;
        let weight = self.interval.saturating_mul(units.into());
        state.arrival = state.arrival.max(now).saturating_add(weight);
        state.sent += u64::from(units);
        state.last_sent = now;
        state.sent
    }

    /// The taken units aren't sent.
    pub(super) fn put_back(&self, units: u32) {
        self.state.lock().reserved -= units;
    }

    /// Units that were sent never left.
    pub(super) fn give_back(&self, units: u32, number: u64) {
        let mut state = self.state.lock();
        let refund = self.interval.saturating_mul(units.into());
        let since = state.sent - number;
        // Without them the arrival time might not be earlier by all of it: those
        // that were sent after them may have found the burst replenished. It is at
        // most what it would be had they all been sent at the last moment.
        let floor = match since {
            0 => 0,
            since => state.last_sent.saturating_add(self.interval.saturating_mul(since)),
        };
        state.arrival = state.arrival.min(state.arrival.saturating_sub(refund).max(floor));
    }

    pub(super) fn available_at(&self, from: u64, ahead: u64, units: u32) -> u64 {
        let state = self.state.lock();
        let wanted = u64::from(state.reserved).saturating_add(ahead);
        self.conforms_at(&state, from, wanted.saturating_add(units.into()))
    }

    /// From when so many units conform that aren't sent before `from`.
    fn conforms_at(&self, state: &State, from: u64, units: u64) -> u64 {
        let weight = self.interval.saturating_mul(units);
        let tolerance = self.interval.saturating_mul(self.burst.into());
        let arrival = state.arrival.max(from).saturating_add(weight);
        arrival.saturating_sub(tolerance).max(from)
    }

    pub(super) fn remaining(&self, now: u64) -> u32 {
        let state = self.state.lock();
        let used = state.arrival.saturating_sub(now).div_ceil(self.interval);
        let used = used.saturating_add(state.reserved.into());
        self.burst.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests;
