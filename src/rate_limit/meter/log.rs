use std::collections::VecDeque;

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
