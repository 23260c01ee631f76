use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::choice::WhenAllOut;
use super::health::Recovery;
use super::region::Regions;
use super::route::Target;
use super::set::RegionSet;
use super::{Failover, FailoverBuilder, FailoverHandle, FailoverServices, HealthChecks};
use crate::classify::{Class, HttpClassifier, Verdict};
use crate::event::Listener;
use crate::key::AllCalls;
use crate::replay::HttpReplay;

/// Sends a call to the best region, and to the next one if that fails.
///
/// See the [module](super) for what it does and an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct FailoverLayer<C = HttpClassifier, R = HttpReplay, K = AllCalls> {
    pub(super) set: Arc<RegionSet>,
    pub(super) classifier: C,
    pub(super) replay: R,
    pub(super) key: K,
}

/// What all parts of a layer go by.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) recovery: Recovery,
    pub(super) when_all_out: WhenAllOut,
    pub(super) rules: Rules,
    pub(super) listener: Listener,
    pub(super) checks: Option<HealthChecks>,
    pub(super) seed: Option<u64>,
}

/// When a call goes to another region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) max_attempts: usize,
    pub(super) non_idempotent: bool,
    pub(super) quota_per_region: bool,
    pub(super) hint_threshold: Duration,
}

impl Rules {
    /// Whether what this verdict says is the region's fault, so that calls
    /// should leave it alone for a while.
    pub(super) fn is_regions_fault(&self, verdict: &Verdict) -> bool {
        match verdict.class() {
            Class::CircuitOpen => true,
            Class::Throttled => self.leaves_when_throttled(verdict),
            _ => verdict.is_upstream_failure(),
        }
    }

    /// Whether another region may do better. Never for the request's own fault
    /// or a dead credential: it would be the same everywhere.
    pub(super) fn may_do_better_elsewhere(&self, verdict: &Verdict) -> bool {
        verdict.hint().should_retry != Some(false) && self.is_regions_fault(verdict)
    }

    fn leaves_when_throttled(&self, verdict: &Verdict) -> bool {
        let asked = verdict.hint().retry_after;
        self.quota_per_region || asked.is_some_and(|asked| asked >= self.hint_threshold)
    }
}

impl FailoverLayer {
    /// Over these regions, with the defaults of the [builder](Self::builder).
    #[allow(clippy::missing_panics_doc)] // it doesn't, as each test shows that makes one
    pub fn new(regions: Regions) -> Self {
        Self::builder(regions).build().expect("the defaults are valid")
    }

    /// Everything else.
    pub fn builder(regions: Regions) -> FailoverBuilder {
        FailoverBuilder::new(regions)
    }
}

impl<C, R, K> FailoverLayer<C, R, K> {
    /// A handle to look at the regions, and to change them.
    #[must_use]
    pub fn handle(&self) -> FailoverHandle {
        FailoverHandle::new(Arc::clone(&self.set))
    }

    /// How many regions a call can go to.
    pub(crate) fn reach(&self) -> usize {
        self.set.slots.iter().count().min(self.set.settings.rules.max_attempts)
    }

    /// A service that holds one client a region, in place of one whose requests
    /// are rewritten. `make` is called once for each region there is, and was: one that was removed may
    /// come back.
    pub fn services<S>(
        &self,
        mut make: impl FnMut(&Target<'_>) -> S,
    ) -> FailoverServices<S, C, R, K>
    where
        S: Clone,
        C: Clone,
        R: Clone,
        K: Clone,
    {
        let targets = self.set.slots.iter().map(|state| Target::new(&self.set, &state.place));
        FailoverServices::new(targets.map(|target| make(&target)), self)
    }
}

impl<S, C, R, K> Layer<S> for FailoverLayer<C, R, K>
where
    S: Clone,
    C: Clone,
    R: Clone,
    K: Clone,
{
    type Service = Failover<S, C, R, K>;

    fn layer(&self, inner: S) -> Self::Service {
        Failover::new(inner, self)
    }
}
