use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::Rate;
use super::judge::{Given, Judge, LONGEST};
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
    /// The largest limit with an exact log. For a larger one the window is cut into this many
    /// parts, and units that are sent within the length of a part share an entry: so the log takes
    /// no more memory. That makes the window longer by less than a ten-thousandth.
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

    /// Puts another limit and window in force from now on. What was sent counts as if they had
    /// always been in force. Units that a shorter window has evicted count as all sent at once,
    /// up to the limit.
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

    /// Whether `units`, at most the limit, may be taken while `reserved` are taken and not sent
    /// yet. If not, the error is when they may at the earliest.
    pub(in crate::rate_limit) fn admit(
        &self,
        now: u64,
        reserved: u64,
        units: u32,
    ) -> Result<(), u64> {
        let wanted = self.log.units() + reserved + u64::from(units);
        // How many of the units in the log must be free.
        let over = wanted.saturating_sub(self.limit.into());
        let free_at = match over.checked_sub(1) {
            None => 0,
            Some(last) => match self.log.sent_at(last) {
                Some(sent) => sent.saturating_add(self.window),
                // Units that are yet to be sent must be free too. They are sent now at the
                // earliest.
                None => return Err(now.saturating_add(self.window)),
            },
        };
        self.judge.allows(now, free_at, NonZeroU32::MIN)
    }

    /// Notes units that are sent.
    pub(in crate::rate_limit) fn send(&mut self, now: u64, units: u64) {
        if let Some(free) = now.checked_sub(self.window) {
            self.log.clear(free);
        }
        if units > 0 {
            self.log.push(units, now);
        }
    }

    /// Gives back units that were sent at `sent` but never left.
    pub(in crate::rate_limit) fn refund(&mut self, units: u32, sent: u64) {
        self.log.take_out(units.into(), sent);
    }

    /// When `units` that come after `before` others can be taken: at `from` or later.
    pub(in crate::rate_limit) fn available_at(&self, from: u64, before: u64, units: u32) -> u64 {
        let Some(limit) = NonZeroU32::new(self.limit).map(|limit| u64::from(limit.get())) else {
            return u64::MAX;
        };
        let sent = self.log.units();
        // `last` is the entry that the last unit asked for would have in the log, were all before
        // it sent. The unit `limit` places before it must be free then. For that one to be sent,
        // the unit `limit` places before that must be free, and so on, back to a unit that is in
        // the log.
        let wanted = before.saturating_add(units.into());
        let last = sent.saturating_add(wanted.saturating_sub(1));
        let windows = (last - sent) / limit;
        let first = (last - windows * limit).checked_sub(limit);
        let free_at = first.and_then(|entry| self.log.sent_at(entry));
        let at = free_at.map_or(0, |sent| sent.saturating_add(self.window)).max(from);
        at.saturating_add(windows.saturating_mul(self.window))
    }

    /// How many units are sent and not free yet.
    pub(in crate::rate_limit) fn used(&self, now: u64) -> u64 {
        let free = now.checked_sub(self.window).map_or(0, |free| self.log.sent_by(free));
        self.log.units() - free
    }
}

// Not under loom.

/// The units that were sent, oldest first.
///
/// Those that were sent together share an entry, and so do those that were sent
/// within a [grain](Self::new): they then count as sent when the youngest was.
#[derive(Debug)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The number, among all units, of the first one in `entries`. It is also how many are
    /// evicted.
    start: u64,
    grain: u64,
    /// When the youngest of the evicted units was sent.
    evicted: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When the oldest of its units was sent …
    oldest: u64,
    /// … and when the youngest was, which counts for all of them.
    sent: u64,
    /// The number of the unit after its last one.
    end: u64,
}

impl Log {
    pub(super) fn new(grain: u64) -> Self {
        Self { entries: VecDeque::new(), start: 0, grain, evicted: None }
    }

    pub(super) fn set_grain(&mut self, grain: u64) {
        self.grain = grain;
    }

    /// How many units are in it.
    pub(super) fn units(&self) -> u64 {
        self.end() - self.start
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn end(&self) -> u64 {
        self.entries.back().map_or(self.start, |last| last.end)
    }

    /// When the unit at this entry, counted from the oldest, was sent.
    pub(super) fn sent_at(&self, entry: u64) -> Option<u64> {
        let number = self.start.saturating_add(entry);
        let entry = self.entries.partition_point(|entry| entry.end <= number);
        self.entries.get(entry).map(|entry| entry.sent)
    }

    /// How many of its units were sent at `moment` or before.
    pub(super) fn sent_by(&self, moment: u64) -> u64 {
        let sent = self.entries.partition_point(|entry| entry.sent <= moment);
        self.begin(sent) - self.start
    }

    /// Notes units that are sent now, which is no earlier than any before.
    pub(super) fn push(&mut self, units: u64, now: u64) {
        let end = self.end() + units;
        match self.entries.back_mut() {
            Some(last) if now.saturating_sub(last.oldest) <= self.grain => {
                (last.sent, last.end) = (now, end);
            }
            _ => self.entries.push_back(Entry { oldest: now, sent: now, end }),
        }
    }

    /// Takes out units that were sent at `sent`, as if they hadn't been.
    pub(super) fn take_out(&mut self, units: u64, sent: u64) {
        let at = self.entries.partition_point(|entry| entry.sent < sent);
        let begin = self.begin(at);
        let Some(entry) = self.entries.get(at) else {
            return;
        };
        if entry.oldest > sent {
            // The units are free and evicted already: those of this entry are others.
            return;
        }
        let units = units.min(entry.end - begin);
        let emptied = entry.end - units == begin;
        for later in self.entries.range_mut(at..) {
            later.end -= units;
        }
        if emptied {
            self.entries.remove(at);
        }
    }

    /// Forgets the units that were sent at `moment` or before.
    pub(super) fn clear(&mut self, moment: u64) {
        while let Some(oldest) = self.entries.front()
            && oldest.sent <= moment
        {
            self.start = oldest.end;
            self.evicted = Some(oldest.sent);
            self.entries.pop_front();
        }
    }

    /// If evicted units were sent after `moment` (`None`: at any time), counts up to `most` of
    /// them again, all at the time of the last.
    pub(super) fn recall(&mut self, moment: Option<u64>, most: u64) {
        let units = most.min(self.start);
        if let Some(sent) = self.evicted.take_if(|sent| Some(*sent) > moment)
            && units > 0
        {
            self.entries.push_front(Entry { oldest: sent, sent, end: self.start });
            self.start -= units;
        }
    }

    /// The number of an entry's first unit.
    fn begin(&self, entry: usize) -> u64 {
        let before = entry.checked_sub(1).and_then(|before| self.entries.get(before));
        before.map_or(self.start, |before| before.end)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
