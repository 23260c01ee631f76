use std::collections::VecDeque;

/// The units that were sent, oldest first, until they are free again.
///
/// Those that were sent together share an entry, and so do those that were sent
/// within a [grain](Self::new): they are then free when the youngest is.
#[derive(Debug)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// Of all units ever sent, the number of the first in `entries`.
    start: u64,
    grain: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When the oldest of its units would be free by itself …
    oldest: u64,
    /// … and when all of them are.
    free_at: u64,
    /// The number of the unit after its last one.
    end: u64,
}

impl Log {
    pub(super) fn new(grain: u64) -> Self {
        Self { entries: VecDeque::new(), start: 0, grain }
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

    /// When the unit at this place, counted from the oldest, is free.
    pub(super) fn free_at(&self, place: u64) -> Option<u64> {
        let number = self.start.saturating_add(place);
        let entry = self.entries.partition_point(|entry| entry.end <= number);
        self.entries.get(entry).map(|entry| entry.free_at)
    }

    /// How many of its units are free.
    pub(super) fn free(&self, now: u64) -> u64 {
        let taken = self.entries.partition_point(|entry| entry.free_at <= now);
        self.begin(taken) - self.start
    }

    /// Notes units that are sent now.
    pub(super) fn push(&mut self, units: u64, free_at: u64) {
        let end = self.end() + units;
        match self.entries.back_mut() {
            Some(last) if free_at.saturating_sub(last.oldest) <= self.grain => {
                (last.free_at, last.end) = (last.free_at.max(free_at), end);
            }
            _ => self.entries.push_back(Entry { oldest: free_at, free_at, end }),
        }
    }

    /// Takes units out that would have been free at `free_at`, as if they hadn't been sent.
    pub(super) fn take_out(&mut self, units: u64, free_at: u64) {
        let at = self.entries.partition_point(|entry| entry.free_at < free_at);
        let begin = self.begin(at);
        let Some(entry) = self.entries.get(at) else {
            return;
        };
        if entry.oldest > free_at {
            // They are free, and forgotten: these are others.
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

    /// Forgets the units that are free.
    pub(super) fn forget(&mut self, now: u64) {
        while let Some(oldest) = self.entries.front()
            && oldest.free_at <= now
        {
            self.start = oldest.end;
            self.entries.pop_front();
        }
    }

    /// The number of an entry's first unit.
    fn begin(&self, entry: usize) -> u64 {
        let before = entry.checked_sub(1).and_then(|before| self.entries.get(before));
        before.map_or(self.start, |before| before.end)
    }
}
