use std::sync::Arc;
use std::time::Duration;

use super::Quota;
use super::config::Config;
use super::limiter::Limiter;
use crate::error::InvalidConfig;
use crate::key::{KeyRef, Registry};
use crate::sharded::ShardedArc;
use crate::time::Instant;

/// The status of a rate limiter at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RateLimitStatus {
    /// The layer's name, and the key where limits are kept by key.
    pub name: Arc<str>,
    /// How many units of the first quota could be taken now, were there no pause of the server's.
    pub remaining: u32,
    /// Each limit, in the order of the quotas.
    pub limits: Vec<LimitStatus>,
    /// How many calls are waiting.
    pub waiting: usize,
    /// How long the waiting call that was let through last had waited. `None` if there was none
    /// yet.
    pub last_wait: Option<Duration>,
    /// Until when no call passes, as the server asked for a pause.
    pub paused_until: Option<Instant>,
}

/// The status of one of a limiter's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitStatus {
    /// The quota's name, or what it counts.
    pub name: &'static str,
    /// How many units could be taken now. This leaves out the server's pause, and the pace of a
    /// limit that it has [lowered](super#what-the-learned-says).
    pub remaining: u32,
    /// The most units that can be taken at once: as configured or, if that is less, as the server
    /// has observed. A call that costs more than the server has observed passes alone.
    pub limit: u32,
}

/// Looks at a layer's limiters, and changes their quotas. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimitHandle {
    limiters: Arc<Registry<ShardedArc<Limiter>>>,
    config: Arc<Config>,
}

impl RateLimitHandle {
    pub(super) fn new(limiters: Arc<Registry<ShardedArc<Limiter>>>) -> Self {
        let config = Arc::clone(&limiters.common().config);
        Self { limiters, config }
    }

    /// The status of the limiter of calls without a key. It is the only one, unless limits are kept
    /// by key.
    #[must_use]
    pub fn status(&self) -> RateLimitStatus {
        self.limiters.common().status()
    }

    /// The status of this key's limiter, if it has one.
    #[must_use]
    pub fn status_of(&self, key: &KeyRef<'_>) -> Option<RateLimitStatus> {
        self.limiters.find(key).map(|limiter| limiter.status())
    }

    /// Ends every pause that a server asked for, such as one that was observed by
    /// mistake, and forgets what its answers observed of limits. What was spent of the
    /// quotas stays spent.
    pub fn resume(&self) {
        for limiter in self.limiters.all() {
            limiter.resume();
        }
    }

    /// Puts another quota in force from now on, for every key. It replaces the quota of the same
    /// [name](Quota::named) or [resource](Quota::of). One that has neither replaces the only quota,
    /// or else the one of requests. For waiting calls it holds at once.
    ///
    /// Nothing that was spent is evicted. What a strict quota has passed counts as if the new one
    /// had always been in force. What was used of a paced quota, and isn't replenished yet, is used
    /// of one with another pace too. Where it isn't known when units were sent (a strict quota
    /// becomes paced or the other way round, the quota was taught, or its window is longer now),
    /// they count as sent at the latest time possible.
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
    /// [taught](Quota::taught) and the layer doesn't read what answers tell.
    pub fn set_quota(&self, quota: Quota) -> Result<(), InvalidConfig> {
        // Serialises changes, so that all keys end with the same quota.
        let _changing = self.config.changing.lock();
        let (at, quota) = self.config.set_quota(quota)?;
        for limiter in self.limiters.all() {
            limiter.set_quota(at, &quota);
        }
        Ok(())
    }

    /// The status of every limiter. The one of calls without a key comes first.
    #[must_use]
    pub fn all(&self) -> Vec<RateLimitStatus> {
        self.limiters.all().iter().map(|limiter| limiter.status()).collect()
    }
}
