//! Where a call has been, and where it is.

use super::layer::Rules;
use super::search::{Moment, Search};
use super::set::RegionSet;
use crate::classify::{Class, Verdict};
use crate::scope::{self, CallScope, Tried};
use crate::time::{self, Instant};

pub(super) struct Journey {
    pub(super) scope: CallScope,
    region: usize,
    /// What the attempt under way in the region has to give back; `None`: none is.
    lease: Option<u64>,
    /// A retry above makes the attempts.
    retried: bool,
    pub(super) idempotent: bool,
    /// How many regions it tries at most.
    max_attempts: usize,
    sticky: Option<u64>,
    pub(super) called_at: Option<Instant>,
}

impl Journey {
    pub(super) fn new(
        scope: CallScope,
        retried: bool,
        idempotent: bool,
        max_attempts: usize,
        sticky: Option<u64>,
    ) -> Self {
        let (region, lease, called_at) = (0, None, None);
        Self { scope, region, lease, retried, idempotent, max_attempts, sticky, called_at }
    }

    /// The region of the attempt; before the first one, any.
    pub(super) const fn region(&self) -> usize {
        self.region
    }

    pub(super) const fn is_under_way(&self) -> bool {
        self.lease.is_some()
    }

    pub(super) const fn is_retried(&self) -> bool {
        self.retried
    }

    /// Whether the attempt, or the one after it, is the last one.
    pub(super) fn is_last(&self) -> bool {
        self.tried().len() >= self.max_attempts
    }

    pub(super) fn next_is_last(&self) -> bool {
        self.tried().len() + 1 >= self.max_attempts
    }

    pub(super) const fn search(&self, tried: Tried, again: bool) -> Search {
        Search { tried, again, sticky: self.sticky }
    }

    /// An attempt begins in this region.
    pub(super) fn goes_to(&mut self, region: usize, lease: u64, set: &RegionSet) {
        self.scope = self.scope.at_region(set.name(region));
        (self.region, self.lease, self.called_at) = (region, Some(lease), None);
    }

    /// The attempt goes to this region after all, whose client is ready first.
    pub(super) fn moves_to(&mut self, region: usize, set: &RegionSet) {
        if region != self.region {
            self.is_over(set);
            let lease = set.begins(region, &Moment::default());
            self.goes_to(region, lease.unwrap_or_default(), set);
        }
    }

    /// Calls a client that is ready.
    pub(super) fn call<T>(&mut self, now: Instant, call: impl FnOnce() -> T) -> T {
        self.called_at = Some(now);
        self.scope.call(call)
    }

    /// The attempt is over, however it ended.
    pub(super) fn is_over(&mut self, set: &RegionSet) {
        if let Some(lease) = self.lease.take() {
            set.ends(self.region, lease);
        }
    }

    /// Takes in that the attempt succeeded.
    pub(super) fn succeeded(&self, set: &RegionSet) {
        let now = set.latency_is_by_calls().then(time::now);
        set.succeeded(self.region, self.sent_at(), now);
    }

    /// Takes in that the attempt in this region failed. Whether there is another one that
    /// may do better; a retry above hears of it.
    pub(super) fn failed(
        &self,
        set: &RegionSet,
        verdict: &Verdict,
        can_call: impl Fn(usize) -> bool,
    ) -> bool {
        let rules: &Rules = &set.settings.rules;
        if rules.is_regions_fault(verdict) {
            set.failed(self.region, verdict, self.sent_at());
        } else if verdict.class() == Class::Rejected {
            // The request was at fault, and the region is alive.
            set.succeeded(self.region, self.sent_at(), None);
        }
        let tried = self.tried();
        let may = rules.may_do_better_elsewhere(verdict) && !self.is_last();
        let search = self.search(tried, true);
        let goes_on = may && set.find(&search, &Moment::default(), can_call).is_some();
        if self.retried {
            scope::note_region(self.region, goes_on);
        }
        goes_on
    }

    /// The regions tried so far, this one included.
    pub(super) fn tried(&self) -> Tried {
        let mut tried = self.scope.tried();
        tried.push(self.region);
        tried
    }

    /// When the attempt in this region was sent, time in our own queues apart. One that
    /// wasn't is as good as sent now.
    fn sent_at(&self) -> Instant {
        self.scope.sent_at().or(self.called_at).unwrap_or_else(time::now)
    }
}
