use std::sync::Arc;

use tower_layer::Layer;

use super::cost::UnitCost;
use super::limiter::Limiter;
use super::{Quota, RateLimit, RateLimitBuilder, RateLimitHandle};
use crate::classify::HttpClassifier;
use crate::key::{AllCalls, Registry};
use crate::sharded::ShardedArc;

/// Stays under a quota: calls wait for their turn, in order, or are turned away.
///
/// See the [module](super) for what it does and an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimitLayer<C = HttpClassifier, K = AllCalls, W = UnitCost> {
    pub(super) classifier: C,
    pub(super) key: K,
    pub(super) cost: W,
    pub(super) limiters: Arc<Registry<ShardedArc<Limiter>>>,
}

impl RateLimitLayer {
    /// A limiter of this quota over all calls, each of which takes one unit and
    /// waits for up to two minutes.
    pub fn new(quota: Quota) -> Self {
        Self::builder(quota).build()
    }

    /// A builder, for all other settings.
    pub fn builder(quota: Quota) -> RateLimitBuilder {
        RateLimitBuilder::new(quota)
    }
}

impl<C, K, W> RateLimitLayer<C, K, W> {
    /// A handle to look at the limiters.
    #[must_use]
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle::new(Arc::clone(&self.limiters))
    }
}

impl<S, C, K, W> Layer<S> for RateLimitLayer<C, K, W>
where
    S: Clone,
    C: Clone,
    K: Clone,
    W: Clone,
{
    type Service = RateLimit<S, C, K, W>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, self)
    }
}
