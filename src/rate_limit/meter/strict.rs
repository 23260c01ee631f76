use std::num::NonZeroU32;
use std::time::Duration;

use super::Rate;
use super::judge::{Given, Judge, LONGEST};
use super::log::Log;
use crate::time::nanos;

/// Never more than the limit in any window.
///
/// governor judges a quota of one unit a window, and is asked about the unit
/// that was sent `limit` units ago.
#[derive(Debug)]
pub(in crate::rate_limit) struct Strict {
    judge: Judge,
    limit: u32,
    window: u64,
    log: Log,
}

impl Strict {
    /// A larger limit's log is coarse: entries as long as the window's part in
    /// so many, so that it takes no more memory than this one's. That makes the
    /// window longer by less than a ten-thousandth.
    const FINEST: u32 = 1 << 14;

    pub(in crate::rate_limit) fn new(limit: u32, window: Duration) -> Self {
        let window = window.clamp(Duration::from_nanos(1), LONGEST);
        let judge = Judge::new(window, NonZeroU32::MIN, Given);
        let window = nanos(window);
        Self { judge, limit, window, log: Log::new(Self::grain(limit, window)) }
    }

    fn grain(limit: u32, window: u64) -> u64 {
        if limit > Self::FINEST { window / u64::from(Self::FINEST) } else { 0 }
    }

    /// Another limit and window from now on. What was sent counts as if they had always
    /// been in force; what a shorter window has forgotten, as if it had all been sent at once, up
    /// to the limit.
    pub(in crate::rate_limit) fn change(&mut self, now: u64, limit: u32, window: Duration) {
        let log = std::mem::replace(&mut self.log, Log::new(0));
        *self = Self { log, ..Self::new(limit, window) };
        self.log.set_grain(Self::grain(self.limit, self.window));
        self.log.recall(now.checked_sub(self.window), limit.into());
    }

    pub(in crate::rate_limit) fn limit(&self) -> u32 {
        self.limit
    }

    pub(in crate::rate_limit) fn window(&self) -> Duration {
        Duration::from_nanos(self.window)
    }

    pub(in crate::rate_limit) fn rate(&self) -> Rate {
        Rate { limit: self.limit, window: self.window() }
    }

    /// Whether units may be taken, no more than the limit, while so many are
    /// taken and not sent yet; else when, at the earliest.
    pub(in crate::rate_limit) fn admit(
        &self,
        now: u64,
        reserved: u64,
        units: u32,
    ) -> Result<(), u64> {
        let wanted = self.log.units() + reserved + u64::from(units);
        // So many of those in the log must be free.
        let over = wanted.saturating_sub(self.limit.into());
        let free_at = match over.checked_sub(1) {
            None => 0,
            Some(last) => match self.log.sent_at(last) {
                Some(sent) => sent.saturating_add(self.window),
                // It takes some that are yet to be sent: now, at the earliest.
                None => return Err(now.saturating_add(self.window)),
            },
        };
        self.judge.allows(now, free_at, NonZeroU32::MIN)
    }

    /// Notes units that are sent.
    pub(in crate::rate_limit) fn send(&mut self, now: u64, units: u64) {
        if let Some(free) = now.checked_sub(self.window) {
            self.log.forget(free);
        }
        if units > 0 {
            self.log.push(units, now);
        }
    }

    /// Units that were sent then never left.
    pub(in crate::rate_limit) fn give_back(&mut self, units: u32, sent: u64) {
        self.log.take_out(units.into(), sent);
    }

    /// When units that come after so many others can be taken, none before `from`.
    pub(in crate::rate_limit) fn available_at(&self, from: u64, before: u64, units: u32) -> u64 {
        let Some(limit) = NonZeroU32::new(self.limit).map(|limit| u64::from(limit.get())) else {
            return u64::MAX;
        };
        let sent = self.log.units();
        // The place of the last unit asked for, were all before it sent. What was
        // sent a limit before it must be free; and what a limit before that, for
        // that to be sent; and so on, back to one that is in the log.
        let wanted = before.saturating_add(units.into());
        let last = sent.saturating_add(wanted.saturating_sub(1));
        let windows = (last - sent) / limit;
        let first = (last - windows * limit).checked_sub(limit);
        let free_at = first.and_then(|place| self.log.sent_at(place));
        let at = free_at.map_or(0, |sent| sent.saturating_add(self.window)).max(from);
        at.saturating_add(windows.saturating_mul(self.window))
    }

    /// How many units are sent and not free yet.
    pub(in crate::rate_limit) fn used(&self, now: u64) -> u64 {
        let free = now.checked_sub(self.window).map_or(0, |free| self.log.sent_by(free));
        self.log.units() - free
    }
}

// Not where models are checked.
#[cfg(all(test, not(loom)))]
mod tests;
