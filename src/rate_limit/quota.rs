use std::sync::Arc;
use std::time::Duration;

use crate::hint::Resource;

/// The number of calls, or units of [cost](super::RateLimitBuilder::cost_fn), that may be sent
/// within a window of time.
///
/// ```
/// use tower_upstream::Quota;
///
/// // At most 60 in any 60 seconds. All 60 may be sent at once; then none for a minute.
/// let strict = Quota::per_minute(60);
///
/// // One a second, and up to 10 at once after a quiet period. This passes 69 calls in its first
/// // minute: right for smoothing, wrong for a provider's limit of 60.
/// let paced = Quota::per_minute(60).burst(10);
/// # let _ = (strict, paced);
/// ```
///
/// A quota of 0 rejects every call that costs something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Quota {
    pub(super) limit: u32,
    pub(super) window: Duration,
    pub(super) burst: Option<u32>,
    margin: Option<Duration>,
    pub(super) unit: Unit,
    pub(super) is_learned: bool,
}

impl Quota {
    /// Creates a quota of at most `limit` in any second.
    pub const fn per_second(limit: u32) -> Self {
        Self::new(limit, Duration::from_secs(1))
    }

    /// Creates a quota of at most `limit` in any minute.
    pub const fn per_minute(limit: u32) -> Self {
        Self::new(limit, Duration::from_secs(60))
    }

    /// Creates a quota of at most `limit` in any hour.
    pub const fn per_hour(limit: u32) -> Self {
        Self::new(limit, Duration::from_secs(3600))
    }

    /// Creates a quota of at most `limit` in any `window`.
    pub const fn new(limit: u32, window: Duration) -> Self {
        Self { limit, window, burst: None, margin: None, unit: Unit::Unset, is_learned: false }
    }

    /// Creates a quota without a local limit: calls wait only for a pause that the server requested.
    ///
    /// This holds for calls of one unit each. Where calls [cost](super::RateLimitBuilder::cost_fn)
    /// more, 2³² − 1 units pass at once, and then a billion a second.
    pub const fn unlimited() -> Self {
        Self::per_second(u32::MAX).burst(u32::MAX)
    }

    /// Creates a quota whose limit is unknown, and is learned from the headers of responses.
    ///
    /// One call a second passes until a response states how many units
    /// [remain](crate::hint#limits). The [module](super#learned-limits) documents what is learned
    /// from then on. `burst` and `margin` have no effect.
    pub const fn learned() -> Self {
        let mut quota = Self::per_second(1);
        quota.is_learned = true;
        quota
    }

    /// Makes the quota paced instead of strict: one unit every `window / limit`, and up to `burst`
    /// at once after a quiet period.
    ///
    /// Up to `limit + burst - 1` units pass in a window. A burst of 0 rejects every call that
    /// costs something.
    ///
    /// The interval of a unit is kept in whole nanoseconds, rounded up, so that the quota is never
    /// exceeded. This slows quotas of many millions of units a second: 600 million a second become
    /// 500 million.
    pub const fn burst(mut self, burst: u32) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Sets by how much the local window of a strict quota is longer than the server's. Default:
    /// 1 % of the window.
    ///
    /// The server counts calls when they *arrive*. A call that arrives late, as it had to connect
    /// first, may share a window of the server's with calls that were sent a local window later.
    pub const fn margin(mut self, margin: Duration) -> Self {
        self.margin = Some(margin);
        self
    }

    /// Sets the resource that the quota counts, which is also its name. Limits of this resource are
    /// [learned](super#learned-limits) from responses. Default: requests or, where calls have a
    /// [cost](super::RateLimitBuilder::cost_fn), units that no server knows.
    pub fn of(mut self, resource: Resource) -> Self {
        self.unit = Unit::Resource(resource);
        self
    }

    /// Sets the name of what the quota counts, if it is no resource of the server's, such as
    /// `cents`. Errors, events and status show it.
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.unit = Unit::Named(name.into());
        self
    }

    /// Returns the window with its margin.
    pub(super) fn local_window(&self) -> Duration {
        self.window.saturating_add(self.margin.unwrap_or(self.window / 100))
    }
}

/// What a quota counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Unset,
    Resource(Resource),
    Named(Arc<str>),
}

impl Unit {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Unset => "units",
            Self::Resource(Resource::Requests) => "requests",
            Self::Resource(Resource::Tokens) => "tokens",
            Self::Resource(Resource::InputTokens) => "input tokens",
            Self::Resource(Resource::OutputTokens) => "output tokens",
            Self::Resource(Resource::Other) => "others",
            Self::Named(name) => name,
        }
    }

    /// Returns the resource under which a server reports this unit.
    pub(super) fn resource(&self) -> Option<Resource> {
        match self {
            Self::Resource(resource) => Some(*resource),
            Self::Unset | Self::Named(_) => None,
        }
    }
}
