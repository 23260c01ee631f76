use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;

use super::judge::{Judge, LONGEST};
use super::log::Log;
use crate::rate_limit::Quota;
use crate::rate_limit::clock::TokioClock;
use crate::sync::Mutex;
use crate::time::nanos;

/// Never more than the limit in any window.
///
/// governor judges a quota of one unit a window, and is asked about the unit
/// that was sent `limit` units ago.
#[derive(Debug)]
pub(super) struct Strict {
    judge: Judge,
    clock: TokioClock,
    limit: u32,
    window: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    log: Log,
    /// Units that were taken and aren't sent yet.
    reserved: u64,
}

impl State {
    fn units(&self) -> u64 {
        self.log.units() + self.reserved
    }
}

impl Strict {
    /// A larger limit's log is coarse: entries as long as the window's part in
    /// so many, so that it takes no more memory than this one's. That makes the
    /// window longer by less than a ten-thousandth.
    const FINEST: u32 = 1 << 14;

    pub(super) fn new(quota: &Quota, clock: TokioClock) -> Self {
        let window = quota.kept_window().clamp(Duration::from_nanos(1), LONGEST);
        let judge = Judge::new(window, NonZeroU32::MIN, clock.clone());
        let window = nanos(window);
        let coarse = quota.limit > Self::FINEST;
        let grain = if coarse { window / u64::from(Self::FINEST) } else { 0 };
        let state = Mutex::new(State { log: Log::new(grain), reserved: 0 });
        Self { judge, clock, limit: quota.limit, window, state }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.limit
    }

    pub(super) fn take(&self, units: u32) -> Result<(), u64> {
        let mut state = self.state.lock();
        let wanted = state.units() + u64::from(units);
        // So many of those in the log must be free.
        let over = wanted.saturating_sub(self.limit.into());
        let free_at = match over.checked_sub(1) {
            None => 0,
            Some(last) => match state.log.free_at(last) {
                Some(free_at) => free_at,
                // It takes some that are yet to be sent: now, at the earliest.
                None => return Err(self.now().saturating_add(self.window)),
            },
        };
        self.judge.allows(free_at, NonZeroU32::MIN)?;
        state.reserved += u64::from(units);
        Ok(())
    }

    /// The taken units are sent; when they are free again.
    pub(super) fn send(&self, units: u32) -> u64 {
        let mut state = self.state.lock();
        let now = self.now();
        let free_at = now.saturating_add(self.window);
        state.reserved -= u64::from(units);
        state.log.forget(now);
        state.log.push(units.into(), free_at);
        free_at
    }

    /// The taken units aren't sent.
    pub(super) fn put_back(&self, units: u32) {
        self.state.lock().reserved -= u64::from(units);
    }

    /// Units that were sent never left.
    pub(super) fn give_back(&self, units: u32, free_at: u64) {
        self.state.lock().log.take_out(units.into(), free_at);
    }

    pub(super) fn available_at(&self, from: u64, ahead: u64, units: u32) -> u64 {
        let (state, limit) = (self.state.lock(), u64::from(self.limit));
        let sent = state.log.units();
        // The place of the last unit asked for, were all before it sent. What was
        // sent a limit before it must be free; and what a limit before that, for
        // that to be sent; and so on, back to one that is in the log.
        let wanted = ahead.saturating_add(units.into());
        let last = state.units().saturating_add(wanted.saturating_sub(1));
        let windows = (last - sent) / limit;
        let first = (last - windows * limit).checked_sub(limit);
        let at = first.and_then(|place| state.log.free_at(place)).unwrap_or(0).max(from);
        at.saturating_add(windows.saturating_mul(self.window))
    }

    pub(super) fn remaining(&self, now: u64) -> u32 {
        let state = self.state.lock();
        let used = state.units() - state.log.free(now);
        self.limit.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    fn now(&self) -> u64 {
        self.clock.now().as_u64()
    }
}

#[cfg(test)]
mod tests;
