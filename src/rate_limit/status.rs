use std::sync::Arc;
use std::time::Duration;

use super::Quota;
use super::limiter::Limiter;
use super::rules::Rules;
use crate::error::InvalidConfig;
use crate::key::{KeyRef, Registry};
use crate::stripe::Spread;
use crate::time::Instant;

/// How a rate limiter is, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RateLimitStatus {
    /// The layer's name, and the key where limits are kept by key.
    pub name: Arc<str>,
    /// How many units of the first quota could be taken now, the server's pause apart.
    pub remaining: u32,
    /// Each limit, in the order of the quotas.
    pub limits: Vec<LimitStatus>,
    /// How many calls are waiting.
    pub waiting: usize,
    /// How long the call waited that was let through last of those that did. `None`: none yet.
    pub last_wait: Option<Duration>,
    /// Until when nobody passes, as the server asked for a pause.
    pub paused_until: Option<Instant>,
}

/// How one of a limiter's limits is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitStatus {
    /// The quota's name, or what it counts.
    pub name: &'static str,
    /// How many units could be taken now, apart from the server's pause, and from the pace of a
    /// limit that it has [lowered](super#what-the-server-says).
    pub remaining: u32,
    /// How many can be taken at once at most: as configured or, if that is less, as the
    /// server has told. What costs more than is told passes alone.
    pub limit: u32,
}

/// Looks at a layer's limiters, and changes their quotas. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimitHandle {
    limiters: Arc<Registry<Spread<Limiter>>>,
    rules: Arc<Rules>,
}

impl RateLimitHandle {
    pub(super) fn new(limiters: Arc<Registry<Spread<Limiter>>>) -> Self {
        let rules = Arc::clone(&limiters.common().rules);
        Self { limiters, rules }
    }

    /// How the limiter of calls without a key is: the only one, unless limits
    /// are kept by key.
    #[must_use]
    pub fn status(&self) -> RateLimitStatus {
        self.limiters.common().status()
    }

    /// How the limiter of this key is, if it has one.
    #[must_use]
    pub fn status_of(&self, key: &KeyRef<'_>) -> Option<RateLimitStatus> {
        self.limiters.find(key).map(|limiter| limiter.status())
    }

    /// Ends every pause that a server asked for, such as one that was told by
    /// mistake, and forgets what its answers told of limits. What was spent of the
    /// quotas stays spent.
    pub fn resume(&self) {
        for limiter in self.limiters.all() {
            limiter.resume();
        }
    }

    /// Another quota from now on, for every key, in the place of that of the same
    /// [name](Quota::named), or [resource](Quota::of); one that says neither, in the place of the
    /// only one, or that of requests. Calls that wait see it at once.
    ///
    /// Nothing is forgotten. What a strict quota has passed counts as if the new one had always
    /// been in force; what was used of a paced one, and isn't replenished, is used of another pace,
    /// too. Where it isn't known when units were sent (the quota becomes paced or was, it was taught, or
    /// the window is longer now), they count as sent at the latest moment that they can have been.
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
    /// If the layer has no quota of that name, or several, or is to be taught and doesn't read what
    /// answers tell.
    pub fn set_quota(&self, quota: Quota) -> Result<(), InvalidConfig> {
        // One change after the other, so that all keys end with the same one.
        let _changing = self.rules.changing.lock();
        let (at, quota) = self.rules.set_quota(quota)?;
        for limiter in self.limiters.all() {
            limiter.set_quota(at, &quota);
        }
        Ok(())
    }

    /// How every limiter is, the one of calls without a key first.
    #[must_use]
    pub fn all(&self) -> Vec<RateLimitStatus> {
        self.limiters.all().iter().map(|limiter| limiter.status()).collect()
    }
}
