use std::sync::Arc;

use tower_layer::Layer;

use super::region::Regions;
use super::route::Target;
use super::set::RegionSet;
use super::{Failover, FailoverBuilder, FailoverHandle, FailoverServices};
use crate::classify::HttpClassifier;
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

impl FailoverLayer {
    /// A layer over these regions, with the defaults of the [builder](Self::builder).
    #[allow(clippy::missing_panics_doc)] // it doesn't: every test that makes one shows it
    pub fn new(regions: Regions) -> Self {
        Self::builder(regions).build().expect("the defaults are valid")
    }

    /// A builder, for other settings.
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
        self.set.slots.iter().count().min(self.set.settings.config.max_attempts)
    }

    /// A service that holds one client per region, instead of one client whose requests are rewritten.
    /// `make` is called once for each region, removed ones included, as those may come back.
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
        let targets =
            self.set.slots.iter().map(|region_state| Target::new(&self.set, &region_state.place));
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
