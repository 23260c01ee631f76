//! How many calls a region has.

use crate::sharded::Sharded;
use crate::sync::{AtomicU64, CachePadded, Ordering};

#[derive(Debug, Default)]
pub(super) struct TrafficShare {
    /// The calls that chose the region from several. Choices go by how many of these are under way, so
    /// they are counted in one place.
    chosen: CachePadded<Calls>,
    /// The calls that went to it as the preferred region. No selection goes by their number, so each thread
    /// counts its own.
    preferred: Box<Sharded<Calls>>,
}

#[derive(Debug, Default)]
struct Calls {
    attempt: AtomicU64,
    ended: AtomicU64,
}

impl TrafficShare {
    #[inline]
    fn calls(&self, chosen: bool) -> &Calls {
        if chosen { &self.chosen.0 } else { self.preferred.local() }
    }

    /// Counts a call. Returns how many had attempt before, of those in the same place.
    #[inline]
    pub(super) fn begins(&self, chosen: bool) -> u64 {
        self.calls(chosen).attempt.fetch_add(1, Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn ends(&self, chosen: bool) {
        self.calls(chosen).ended.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls are under way that chose it.
    pub(super) fn load(&self) -> u64 {
        let (attempt, ended) = self.chosen.0.read();
        attempt.saturating_sub(ended)
    }

    /// How many calls there were, and how many of them are under way.
    pub(super) fn total(&self) -> (u64, u64) {
        let all = self.preferred.iter().chain([&self.chosen.0]).map(Calls::read);
        let (attempt, ended) = all.fold((0, 0), |sum, calls| (sum.0 + calls.0, sum.1 + calls.1));
        (attempt, attempt.saturating_sub(ended))
    }
}

impl Calls {
    /// How many began, and how many ended. A call that begins or ends meanwhile may be counted in only
    /// one of the two.
    fn read(&self) -> (u64, u64) {
        let ended = self.ended.load(Ordering::Relaxed);
        (self.attempt.load(Ordering::Relaxed), ended)
    }
}
