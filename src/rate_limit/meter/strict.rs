//! Strict quotas: a log of when units were sent.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::paced::{CallerState, Gcra, MAX_DURATION, Pace, Rate};
use crate::time::nanos;

/// The meter of a strict quota: at most the limit in any window.
///
/// governor decides on a quota of one unit a window, for the unit that was sent `limit` units ago.
#[derive(Debug)]
pub(in crate::rate_limit) struct StrictMeter {
    gcra: Gcra,
    limit: u32,
    window: u64,
    log: SendLog,
}

impl StrictMeter {
    /// The largest limit with an exact log, which bounds the log's memory. For a larger limit the
    /// window is divided into this many parts, and units that are sent within the length of a part
    /// share an entry. This makes the window longer by less than 0.01 %.
    const MAX_ENTRIES: u32 = 1 << 14;

    pub(in crate::rate_limit) fn new(limit: u32, window: Duration) -> Self {
        let window = window.clamp(Duration::from_nanos(1), MAX_DURATION);
        let gcra = Gcra::new(Pace::new(1, window, 1), CallerState);
        let window = nanos(window);
        Self { gcra, limit, window, log: SendLog::new(Self::grain(limit, window)) }
    }

    fn grain(limit: u32, window: u64) -> u64 {
        if limit > Self::MAX_ENTRIES { window / u64::from(Self::MAX_ENTRIES) } else { 0 }
    }

    /// Replaces limit and window from `now` on. Units in the log count as if the new rate had always
    /// been in force. Units that a shorter window has evicted count as all sent at once, up to the
    /// limit.
    pub(in crate::rate_limit) fn set_rate(&mut self, now: u64, rate: Rate) {
        let log = std::mem::replace(&mut self.log, SendLog::new(0));
        *self = Self { log, ..Self::new(rate.limit, rate.window) };
        self.log.grain = Self::grain(self.limit, self.window);
        self.log.restore_evicted(now.checked_sub(self.window), self.limit.into());
    }

    pub(in crate::rate_limit) fn limit(&self) -> u32 {
        self.limit
    }

    pub(in crate::rate_limit) fn rate(&self) -> Rate {
        Rate { limit: self.limit, window: Duration::from_nanos(self.window) }
    }

    /// Returns whether `units`, at most the limit, may be taken while `reserved` units are taken and
    /// not sent yet. The error is the earliest time at which they may.
    pub(in crate::rate_limit) fn admit(
        &self,
        now: u64,
        reserved: u64,
        units: u32,
    ) -> Result<(), u64> {
        let wanted = self.log.units() + reserved + u64::from(units);
        // The number of units in the log that must be available again.
        let excess = wanted.saturating_sub(self.limit.into());
        let available_at = match excess.checked_sub(1) {
            None => 0,
            Some(last) => match self.log.sent_at(last) {
                Some(sent_at) => sent_at.saturating_add(self.window),
                // Reserved units must be available again too. They are sent now at the earliest.
                None => return Err(now.saturating_add(self.window)),
            },
        };
        self.gcra.admit(now, available_at, NonZeroU32::MIN)
    }

    /// Records units that are sent.
    pub(in crate::rate_limit) fn send(&mut self, now: u64, units: u64) {
        if let Some(window_start) = now.checked_sub(self.window) {
            self.log.evict(window_start);
        }
        if units > 0 {
            self.log.push(units, now);
        }
    }

    /// Refunds units that were sent at `sent_at`.
    pub(in crate::rate_limit) fn refund(&mut self, units: u32, sent_at: u64) {
        self.log.remove(units.into(), sent_at);
    }

    /// Returns when `units` that come after `ahead` other units can be taken: `from` or later.
    pub(in crate::rate_limit) fn available_at(&self, from: u64, ahead: u64, units: u32) -> u64 {
        if self.limit == 0 {
            return u64::MAX;
        }
        let (limit, sent) = (u64::from(self.limit), self.log.units());
        // `last` is the position that the last unit would have in the log, were all units before it
        // sent. The unit `limit` positions before it must be available again then. That unit in
        // turn waits for the unit `limit` positions before itself, and so on, back to a unit that is
        // in the log.
        let wanted = ahead.saturating_add(units.into());
        let last = sent.saturating_add(wanted.saturating_sub(1));
        let windows = (last - sent) / limit;
        let first = (last - windows * limit).checked_sub(limit);
        let sent_at = first.and_then(|position| self.log.sent_at(position));
        let at = sent_at.map_or(0, |sent_at| sent_at.saturating_add(self.window)).max(from);
        at.saturating_add(windows.saturating_mul(self.window))
    }

    /// Returns the number of units that were sent within the window.
    pub(in crate::rate_limit) fn used(&self, now: u64) -> u64 {
        let window_start = now.checked_sub(self.window);
        self.log.units() - window_start.map_or(0, |start| self.log.units_until(start))
    }
}

/// The units that were sent, oldest first.
///
/// Units that were sent together share an entry, and so do units that were sent within a
/// [grain](StrictMeter::grain). These count as sent when the youngest was.
#[derive(Debug)]
struct SendLog {
    entries: VecDeque<Entry>,
    /// The number of evicted units, which is also the index of the first unit in `entries`.
    start: u64,
    grain: u64,
    /// When the youngest evicted unit was sent.
    evicted_at: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When the oldest of its units was sent.
    oldest: u64,
    /// When the youngest of its units was sent, which counts for all of them.
    sent_at: u64,
    /// The index of the unit after its last unit.
    end: u64,
}

impl SendLog {
    fn new(grain: u64) -> Self {
        Self { entries: VecDeque::new(), start: 0, grain, evicted_at: None }
    }

    /// Returns the number of units in the log.
    fn units(&self) -> u64 {
        self.end() - self.start
    }

    fn end(&self) -> u64 {
        self.first_unit(self.entries.len())
    }

    /// Returns the index of the first unit of an entry.
    fn first_unit(&self, entry: usize) -> u64 {
        let before = entry.checked_sub(1).and_then(|before| self.entries.get(before));
        before.map_or(self.start, |before| before.end)
    }

    /// Returns when the unit at this position, counted from the oldest unit, was sent.
    fn sent_at(&self, position: u64) -> Option<u64> {
        let unit = self.start.saturating_add(position);
        let entry = self.entries.partition_point(|entry| entry.end <= unit);
        self.entries.get(entry).map(|entry| entry.sent_at)
    }

    /// Returns the number of units in the log that were sent at `time` or before.
    fn units_until(&self, time: u64) -> u64 {
        let entry = self.entries.partition_point(|entry| entry.sent_at <= time);
        self.first_unit(entry) - self.start
    }

    /// Records units that are sent now, which is no earlier than any unit before.
    fn push(&mut self, units: u64, now: u64) {
        let end = self.end() + units;
        match self.entries.back_mut() {
            Some(last) if now.saturating_sub(last.oldest) <= self.grain => {
                (last.sent_at, last.end) = (now, end);
            }
            _ => self.entries.push_back(Entry { oldest: now, sent_at: now, end }),
        }
    }

    /// Removes units that were sent at `sent_at`.
    fn remove(&mut self, units: u64, sent_at: u64) {
        let index = self.entries.partition_point(|entry| entry.sent_at < sent_at);
        let first = self.first_unit(index);
        // If the entry is younger, the units are evicted already.
        let Some(entry) = self.entries.get(index).filter(|entry| entry.oldest <= sent_at) else {
            return;
        };
        let units = units.min(entry.end - first);
        let is_emptied = entry.end - units == first;
        for later in self.entries.range_mut(index..) {
            later.end -= units;
        }
        if is_emptied {
            self.entries.remove(index);
        }
    }

    /// Evicts the units that were sent at `time` or before.
    fn evict(&mut self, time: u64) {
        while let Some(oldest) = self.entries.front()
            && oldest.sent_at <= time
        {
            self.start = oldest.end;
            self.evicted_at = Some(oldest.sent_at);
            self.entries.pop_front();
        }
    }

    /// If evicted units were sent after `time` (`None`: at any time), restores up to `max` of them,
    /// all at the time of the last.
    fn restore_evicted(&mut self, time: Option<u64>, max: u64) {
        let units = max.min(self.start);
        if let Some(sent_at) = self.evicted_at.take_if(|sent_at| Some(*sent_at) > time)
            && units > 0
        {
            self.entries.push_front(Entry { oldest: sent_at, sent_at, end: self.start });
            self.start -= units;
        }
    }
}

// Not under loom.
#[cfg(all(test, not(loom)))]
mod tests;
