use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::books::Above;
use crate::classify::{Cause, Class, GrpcCode, Verdict};
use crate::error::LazyStatus;

/// The limit on this side turned the call away; nothing was sent.
///
/// Over tonic, with the feature `tonic`, a client sees it as `RESOURCE_EXHAUSTED`.
#[derive(Debug)]
pub struct RateLimited {
    limiter: Arc<str>,
    limit: Option<&'static str>,
    reason: RateLimitedReason,
    retry_after: Duration,
    status: LazyStatus,
}

/// Why a call was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RateLimitedReason {
    /// It would have had to wait longer than the layer's `max_wait`.
    MaxWait,
    /// It would have had to wait past the call's deadline.
    Deadline,
    /// The most calls that may wait are waiting already.
    QueueFull,
}

impl RateLimited {
    pub(super) fn new(
        limiter: Arc<str>,
        limit: Option<&'static str>,
        reason: RateLimitedReason,
        retry_after: Duration,
    ) -> Self {
        Self { limiter, limit, reason, retry_after, status: LazyStatus::default() }
    }

    /// The limiter's name.
    #[must_use]
    pub fn limiter(&self) -> &str {
        &self.limiter
    }

    /// The limit that the call would wait for: the [name](super::Quota::named) of its quota, or
    /// what that counts. `None`: the server's pause.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        self.limit
    }

    /// Why the call didn't wait, or not longer.
    #[must_use]
    pub fn reason(&self) -> RateLimitedReason {
        self.reason
    }

    /// How long until a call like this one would pass, as far as is known now.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let verdict = Verdict::new(Class::Local).cause_is(Cause::LimitedHere);
        verdict.retry_after(self.retry_after)
    }
}

impl fmt::Display for RateLimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            RateLimitedReason::MaxWait => "the wait would be too long",
            RateLimitedReason::Deadline => "the wait would pass the deadline",
            RateLimitedReason::QueueFull => "too many calls are waiting",
        };
        let (limiter, wait) = (&self.limiter, self.retry_after);
        let limit = self.limit.unwrap_or("the server's pause");
        write!(f, "rate limit {limiter}: {reason}; try again in {wait:.1?} ({limit})")
    }
}

impl Error for RateLimited {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.status.source(GrpcCode::ResourceExhausted, self)
    }
}

/// The request costs more than the whole quota that is configured: it could never pass.
///
/// Send less at once, or raise the quota. Over tonic, with the feature `tonic`, a
/// client sees it as `RESOURCE_EXHAUSTED`.
#[derive(Debug)]
pub struct CostAboveQuota {
    above: Above,
    status: LazyStatus,
}

impl CostAboveQuota {
    pub(super) fn new(above: Above) -> Self {
        Self { above, status: LazyStatus::default() }
    }

    /// What the request costs.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.above.cost
    }

    /// The most that can be taken at once.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.above.capacity
    }

    /// The limit, by the [name](super::Quota::named) of its quota, or what that counts.
    #[must_use]
    pub fn limit(&self) -> &'static str {
        self.above.limit
    }

    #[allow(clippy::unused_self)] // as its siblings
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::new(Class::Local).cause_is(Cause::LimitedHere)
    }
}

impl fmt::Display for CostAboveQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Above { cost, capacity, limit } = self.above;
        write!(
            f,
            "the request costs {cost} {limit}, and the quota passes at most {capacity} at once"
        )
    }
}

impl Error for CostAboveQuota {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.status.source(GrpcCode::ResourceExhausted, self)
    }
}
