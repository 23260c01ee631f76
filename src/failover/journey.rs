//! Where a call has been, and where it is.

use super::live_region::{Begun, Choice, LiveRegion};
use super::search::{Moment, Search};
use super::set::RegionSet;
use crate::scope::{self, CallScope, TriedRegions, Within};
use crate::time::{self, Instant};
use crate::verdict::{Cause, Verdict};

pub(super) struct Journey {
    pub(super) scope: CallScope,
    region: usize,
    begun: Begun,
    /// Whether an attempt is under way in the region.
    under_way: bool,
    /// A retry above makes the attempts.
    retried: bool,
    pub(super) idempotent: bool,
    /// How many regions the call tries at most.
    max_attempts: usize,
    sticky: Option<u64>,
    /// When the attempt was called, if its latency is measured.
    called_at: Option<Instant>,
}

impl Journey {
    /// A call that sets out to the `first` region, if there is one for it.
    #[inline]
    pub(super) fn new(
        scope: CallScope,
        retried: bool,
        idempotent: bool,
        max_attempts: usize,
        sticky: Option<u64>,
        first: Option<Choice<'_>>,
    ) -> Self {
        let under_way = first.is_some();
        let (scope, region, begun) = match first {
            Some((region, live, begun)) => (scope.at_region(live.place.name), region, begun),
            None => (scope, 0, Begun::default()),
        };
        let called_at = None;
        Self {
            scope,
            region,
            begun,
            under_way,
            retried,
            idempotent,
            max_attempts,
            sticky,
            called_at,
        }
    }

    /// The region of the current attempt. Before the first attempt it means nothing.
    pub(super) const fn region(&self) -> usize {
        self.region
    }

    /// The region of the attempt that is under way.
    #[inline]
    pub(super) fn under_way(&self) -> Option<usize> {
        self.under_way.then_some(self.region)
    }

    /// A guard to hold until the attempt has a future, whose drop ends it from then on.
    #[inline]
    pub(super) fn before_future<'a>(&'a mut self, set: &'a RegionSet) -> BeforeFuture<'a> {
        BeforeFuture { set, journey: self }
    }

    pub(super) const fn is_retried(&self) -> bool {
        self.retried
    }

    /// Whether the attempt is the last one.
    #[inline]
    pub(super) fn is_last(&self) -> bool {
        self.scope.tried().len() + 1 >= self.max_attempts
    }

    /// Whether the attempt after it is the last one.
    pub(super) fn next_is_last(&self) -> bool {
        self.scope.tried().len() + 2 >= self.max_attempts
    }

    pub(super) const fn search(&self, tried: TriedRegions, again: bool) -> Search {
        Search { tried, again, sticky: self.sticky }
    }

    /// An attempt begins in this region.
    #[inline]
    pub(super) fn goes_to(&mut self, region: usize, live: &LiveRegion, begun: Begun) {
        self.scope = self.scope.at_region(live.place.name);
        (self.region, self.begun, self.under_way, self.called_at) = (region, begun, true, None);
    }

    /// Moves the attempt to this region, whose client was the first to be ready.
    pub(super) fn moves_to(&mut self, region: usize, set: &RegionSet) {
        let live = set.live(region);
        if region == self.region {
            // Its phase is that of the moment when it is sent, which is now.
            self.begun.phase = live.phase();
        } else {
            self.is_over(set);
            let begun = set.begins(live, &Moment::default());
            let begun = begun.unwrap_or_else(|| live.begins_chosen(None));
            self.goes_to(region, live, begun);
        }
    }

    /// To be held while a client that is ready is called.
    #[inline]
    pub(super) fn calling(&mut self, set: &RegionSet, moment: &Moment) -> Within<'_> {
        if set.is_measured(&self.begun) {
            self.called_at = Some(moment.get());
        }
        self.scope.calling()
    }

    /// The call's future is dropped before its end.
    #[cold]
    pub(super) fn breaks_off(
        &mut self,
        set: &RegionSet,
        was_called: bool,
        can_call: impl Fn(usize) -> bool,
    ) {
        // Before anything else, as an observer of the failure may panic.
        self.is_over(set);
        // A retry above ended it for taking too long; its caller didn't drop it. Time in our own
        // queue isn't the region's.
        if was_called && !self.scope.is_queued() && CallScope::has_expired() {
            let timeout = Verdict::transient().with_cause(Cause::Timeout);
            self.failed(set, &timeout, can_call);
        }
    }

    /// Ends the attempt, whatever its result. Returns its region, or `None` if no attempt was under way.
    #[inline]
    pub(super) fn is_over<'a>(&mut self, set: &'a RegionSet) -> Option<&'a LiveRegion> {
        std::mem::take(&mut self.under_way).then(|| {
            let live = set.live(self.region);
            set.ends(live, &self.begun);
            live
        })
    }

    /// Records that the attempt succeeded.
    #[inline]
    pub(super) fn succeeded(&self, set: &RegionSet, live: &LiveRegion) {
        if let Some(called_at) = self.called_at {
            self.took_from(called_at, set);
        }
        set.succeeded(self.region, live, self.begun.phase);
    }

    #[inline(never)]
    fn took_from(&self, called_at: Instant, set: &RegionSet) {
        // Measured from when it was sent: time in our own queues isn't the region's.
        let (sent_at, now) = (self.scope.sent_at().unwrap_or(called_at), time::now());
        set.measured(self.region, now.saturating_duration_since(sent_at), now);
    }

    /// Records that the attempt failed, and tells a retry above. Returns whether there is another region
    /// that may do better.
    pub(super) fn failed(
        &self,
        set: &RegionSet,
        verdict: &Verdict,
        can_call: impl Fn(usize) -> bool,
    ) -> bool {
        let rules = &set.settings.rules;
        if rules.is_regions_fault(verdict) {
            set.failed(self.region, verdict, self.begun.phase);
        } else if verdict.is_proof_of_life() {
            set.succeeded(self.region, set.live(self.region), self.begun.phase);
        }
        let tried = self.tried();
        let may = rules.may_do_better_elsewhere(verdict) && !self.is_last();
        let search = self.search(tried, true);
        let goes_on = may && set.find(&search, &Moment::default(), can_call).is_some();
        if self.retried {
            let turned_away = verdict.cause() == Cause::CircuitOpen;
            scope::note_region(self.region, turned_away, goes_on);
        }
        goes_on
    }

    /// The regions tried so far, this one included.
    pub(super) fn tried(&self) -> TriedRegions {
        let mut tried = self.scope.tried();
        tried.push(self.region);
        tried
    }
}

/// An attempt that has no future yet. If the client panics instead of returning one, dropping this ends
/// the attempt.
pub(super) struct BeforeFuture<'a> {
    set: &'a RegionSet,
    pub(super) journey: &'a mut Journey,
}

impl BeforeFuture<'_> {
    #[inline]
    pub(super) fn passes(self) {
        std::mem::forget(self);
    }
}

impl Drop for BeforeFuture<'_> {
    fn drop(&mut self) {
        self.journey.is_over(self.set);
    }
}
