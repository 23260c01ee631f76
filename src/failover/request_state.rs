//! Where a call has been, and where it is.

use super::region_state::{Attempt, RegionState, Selection};
use super::selection::{LazyNow, SelectionCriteria};
use super::set::RegionSet;
use crate::scope::{self, CallScope, TriedRegions, Within};
use crate::time::{self, Instant};
use crate::verdict::{Cause, Verdict};

pub(super) struct RequestState {
    pub(super) scope: CallScope,
    region: usize,
    attempt: Attempt,
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

impl RequestState {
    /// A call that sets out to the `first` region, if there is one for it.
    pub(super) fn new(
        scope: CallScope,
        retried: bool,
        idempotent: bool,
        max_attempts: usize,
        sticky: Option<u64>,
        first: Option<Selection<'_>>,
    ) -> Self {
        let under_way = first.is_some();
        let (scope, region, attempt) = match first {
            Some((region, region_state, attempt)) => {
                (scope.at_region(region_state.place.name), region, attempt)
            }
            None => (scope, 0, Attempt::default()),
        };
        let called_at = None;
        Self {
            scope,
            region,
            attempt,
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
    pub(super) fn under_way(&self) -> Option<usize> {
        self.under_way.then_some(self.region)
    }

    /// A guard to hold until the attempt has a future, whose drop ends it from then on.
    pub(super) fn before_future<'a>(&'a mut self, set: &'a RegionSet) -> BeforeFuture<'a> {
        BeforeFuture { set, request_state: self }
    }

    pub(super) const fn is_retried(&self) -> bool {
        self.retried
    }

    /// Whether the attempt is the last one.
    pub(super) fn is_last(&self) -> bool {
        self.scope.tried().len() + 1 >= self.max_attempts
    }

    /// Whether the attempt after it is the last one.
    pub(super) fn next_is_last(&self) -> bool {
        self.scope.tried().len() + 2 >= self.max_attempts
    }

    pub(super) const fn criteria(&self, tried: TriedRegions, again: bool) -> SelectionCriteria {
        SelectionCriteria { tried, again, sticky: self.sticky }
    }

    /// An attempt begins in this region.
    pub(super) fn goes_to(&mut self, region: usize, region_state: &RegionState, attempt: Attempt) {
        self.scope = self.scope.at_region(region_state.place.name);
        (self.region, self.attempt, self.under_way, self.called_at) = (region, attempt, true, None);
    }

    /// Moves the attempt to this region, whose client was the first to be ready.
    pub(super) fn moves_to(&mut self, region: usize, set: &RegionSet) {
        let region_state = set.region_state(region);
        if region == self.region {
            // Its generation is that of the time when it is sent, which is now.
            self.attempt.generation = region_state.generation();
        } else {
            self.is_over(set);
            let attempt = set.begins(region_state, &LazyNow::default());
            let attempt = attempt.unwrap_or_else(|| region_state.begins_chosen(None));
            self.goes_to(region, region_state, attempt);
        }
    }

    /// To be held while a client that is ready is called.
    #[inline]
    pub(super) fn calling(&mut self, set: &RegionSet, now: &LazyNow) -> Within<'_> {
        if set.is_measured(&self.attempt) {
            self.called_at = Some(now.get());
        }
        self.scope.calling()
    }

    /// The call's future is dropped before its end.
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
    pub(super) fn is_over<'a>(&mut self, set: &'a RegionSet) -> Option<&'a RegionState> {
        std::mem::take(&mut self.under_way).then(|| {
            let region_state = set.region_state(self.region);
            set.ends(region_state, &self.attempt);
            region_state
        })
    }

    /// Records that the attempt succeeded.
    #[inline]
    pub(super) fn succeeded(&self, set: &RegionSet, region_state: &RegionState) {
        if let Some(called_at) = self.called_at {
            self.took_from(called_at, set);
        }
        set.succeeded(self.region, region_state, self.attempt.generation);
    }

    fn took_from(&self, called_at: Instant, set: &RegionSet) {
        // Measured from when it was sent: time in our own queues isn't the region's.
        let (sent_at, now) = (self.scope.sent_at().unwrap_or(called_at), time::now());
        set.measured(self.region, now.saturating_duration_since(sent_at), now);
    }

    /// Records that the attempt failed, and notes it for a retry above. Returns whether there is another region
    /// that may do better.
    pub(super) fn failed(
        &self,
        set: &RegionSet,
        verdict: &Verdict,
        can_call: impl Fn(usize) -> bool,
    ) -> bool {
        let config = &set.settings.config;
        if config.is_regions_fault(verdict) {
            set.failed(self.region, verdict, self.attempt.generation);
        } else if verdict.is_proof_of_life() {
            set.succeeded(self.region, set.region_state(self.region), self.attempt.generation);
        }
        let tried = self.tried();
        let may = config.may_do_better_elsewhere(verdict) && !self.is_last();
        let criteria = self.criteria(tried, true);
        let goes_on = may && set.find(&criteria, &LazyNow::default(), can_call).is_some();
        if self.retried {
            let rejected = verdict.cause() == Cause::CircuitOpen;
            scope::note_region(self.region, rejected, goes_on);
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
    pub(super) request_state: &'a mut RequestState,
}

impl BeforeFuture<'_> {
    pub(super) fn passes(self) {
        std::mem::forget(self);
    }
}

impl Drop for BeforeFuture<'_> {
    fn drop(&mut self) {
        self.request_state.is_over(self.set);
    }
}
