use std::sync::Arc;
use std::time::Duration;

use super::Quota;
use super::limiter::Limiter;
use crate::error::InvalidConfig;
use crate::key::{KeyRef, Registry};
use crate::sharded::ShardedArc;
use crate::time::Instant;

/// The status of one limiter at one time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RateLimitStatus {
    /// The layer's name, followed by the key where limits are kept by key.
    pub name: Arc<str>,
    /// The number of units of the first quota that could be taken now, regardless of a pause that the
    /// server requested.
    pub remaining: u32,
    /// The limits, in the order of the quotas.
    pub limits: Vec<LimitStatus>,
    /// The number of waiting calls.
    pub waiting: usize,
    /// How long the waiting call that was admitted last had waited. `None` before the first one.
    pub last_wait: Option<Duration>,
    /// The end of a pause that the server requested, if there is one.
    pub paused_until: Option<Instant>,
}

/// The status of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitStatus {
    /// The quota's name, or the resource that it counts.
    pub name: Arc<str>,
    /// The number of units that could be taken now, regardless of a pause that the server requested and
    /// from the pace of a [learned limit](super#learned-limits).
    pub remaining: u32,
    /// The largest number of units that can be taken at once: the configured limit or the learned
    /// one, whichever is lower. A call that costs more than the learned limit passes alone.
    pub limit: u32,
}

impl RateLimitStatus {
    fn new(limiter: &Limiter) -> Self {
        let now = limiter.now();
        let state = limiter.state.lock();
        let quotas = state.quotas.iter().zip(&limiter.config.names);
        let limits: Vec<_> = quotas
            .map(|(quota, name)| LimitStatus {
                name: Arc::clone(name),
                remaining: quota.remaining(now),
                limit: quota.limit(),
            })
            .collect();
        Self {
            name: Arc::clone(&limiter.name),
            remaining: limits[0].remaining,
            limits,
            waiting: state.waiting,
            last_wait: state.last_wait,
            paused_until: state.gate.closed_until(now).map(|until| limiter.instant(until)),
        }
    }
}

/// Shows the status of a layer's limiters, and changes their quotas. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimitHandle {
    limiters: Arc<Registry<ShardedArc<Limiter>>>,
}

impl RateLimitHandle {
    pub(super) fn new(limiters: Arc<Registry<ShardedArc<Limiter>>>) -> Self {
        Self { limiters }
    }

    /// Returns the status of the limiter of calls without a key. It is the only one, unless limits
    /// are kept by key.
    #[must_use]
    pub fn status(&self) -> RateLimitStatus {
        RateLimitStatus::new(self.limiters.common())
    }

    /// Returns the status of this key's limiter, if it has one.
    #[must_use]
    pub fn status_of(&self, key: &KeyRef<'_>) -> Option<RateLimitStatus> {
        self.limiters.find(key).map(|limiter| RateLimitStatus::new(&limiter))
    }

    /// Returns the status of every limiter, first of all that of calls without a key.
    #[must_use]
    pub fn all(&self) -> Vec<RateLimitStatus> {
        self.limiters.all().iter().map(|limiter| RateLimitStatus::new(limiter)).collect()
    }

    /// Ends every pause that the server requested, and discards the learned limits. Spent units stay
    /// spent.
    pub fn resume(&self) {
        for limiter in self.limiters.all() {
            limiter.resume();
        }
    }

    /// Replaces the quota of the same [name](Quota::named) or [resource](Quota::of), for every key
    /// and for waiting calls. A quota with neither replaces the only quota, or else the one of
    /// requests.
    ///
    /// Spent units stay spent. Units of a strict quota count as if the new quota had always been in
    /// force. Units of a paced quota that aren't replenished yet stay used at another pace. Where it
    /// isn't known when units were sent (a strict quota becomes paced or the reverse, the quota was
    /// learned, or its window becomes longer), they count as sent at the latest possible time.
    ///
    /// ```
    /// use tower_upstream::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::new(Quota::per_minute(60));
    /// limit.handle().set_quota(Quota::per_minute(30))?;
    /// assert_eq!(limit.handle().status().remaining, 30);
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the layer has no quota of that name, or several; or if the new quota is
    /// [learned](Quota::learned) and the layer doesn't learn limits.
    pub fn set_quota(&self, quota: Quota) -> Result<(), InvalidConfig> {
        let config = &self.limiters.common().config;
        // Serialises changes, so that all keys end up with the same quota.
        let _changing = config.changing.lock();
        let (index, quota) = config.set_quota(quota)?;
        for limiter in self.limiters.all() {
            limiter.set_quota(index, &quota);
        }
        Ok(())
    }
}
