use std::sync::Arc;

use super::limiter::Limiter;
use crate::key::{KeyRef, Registry};
use crate::time::Instant;

/// How a rate limiter is, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RateLimitStatus {
    /// The layer's name, and the key where limits are kept by key.
    pub name: Arc<str>,
    /// How many units could be taken now, the server's pause apart.
    pub remaining: u32,
    /// How many calls are waiting.
    pub waiting: usize,
    /// Until when nobody passes, as the server asked for a pause.
    pub paused_until: Option<Instant>,
}

/// Looks at a layer's limiters. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimitHandle {
    limiters: Arc<Registry<Limiter>>,
}

impl RateLimitHandle {
    pub(super) fn new(limiters: Arc<Registry<Limiter>>) -> Self {
        Self { limiters }
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
    /// mistake. What was spent of the quotas stays spent.
    pub fn resume(&self) {
        for limiter in self.limiters.all() {
            limiter.open_gate();
        }
    }

    /// How every limiter is, the one of calls without a key first.
    #[must_use]
    pub fn all(&self) -> Vec<RateLimitStatus> {
        self.limiters.all().iter().map(|limiter| limiter.status()).collect()
    }
}
