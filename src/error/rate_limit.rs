use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::GrpcStatus;
use crate::verdict::{Cause, Class, GrpcCode, Verdict};

/// The error of a call that the local rate limit rejected. Nothing was sent.
///
/// To a tonic client (feature `tonic`) it is `RESOURCE_EXHAUSTED`.
#[derive(Debug)]
pub struct RateLimited {
    limiter: Arc<str>,
    limit: Option<Arc<str>>,
    reason: RateLimitedReason,
    retry_after: Duration,
    status: GrpcStatus,
}

/// The reason for which a rate limiter rejected a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RateLimitedReason {
    /// The wait would exceed the layer's `max_wait`.
    MaxWait,
    /// The wait would exceed the call's deadline.
    Deadline,
    /// The queue is full.
    QueueFull,
}

impl RateLimited {
    /// Creates the error of a limiter with this name. `retry_after` is the time until such a call
    /// would pass.
    pub fn new(
        limiter: impl Into<Arc<str>>,
        reason: RateLimitedReason,
        retry_after: Duration,
    ) -> Self {
        let (limiter, status) = (limiter.into(), GrpcStatus::default());
        Self { limiter, limit: None, reason, retry_after, status }
    }

    /// Sets the limit that the call would wait for.
    #[must_use]
    pub fn with_limit(self, limit: impl Into<Arc<str>>) -> Self {
        Self { limit: Some(limit.into()), ..self }
    }

    /// Returns the limiter's name.
    #[must_use]
    pub fn limiter(&self) -> &str {
        &self.limiter
    }

    /// Returns the limit that the call would wait for: the name of its quota, or the resource that
    /// it counts. `None` is the pause that the server requested.
    #[must_use]
    pub fn limit(&self) -> Option<&str> {
        self.limit.as_deref()
    }

    /// Returns why the call didn't wait, or didn't wait longer.
    #[must_use]
    pub fn reason(&self) -> RateLimitedReason {
        self.reason
    }

    /// Returns the estimated time until such a call would pass.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let verdict = Verdict::new(Class::Local).with_cause(Cause::LocalLimit);
        verdict.with_retry_after(self.retry_after)
    }
}

impl fmt::Display for RateLimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            RateLimitedReason::MaxWait => "the wait would exceed the longest allowed",
            RateLimitedReason::Deadline => "the wait would exceed the deadline",
            RateLimitedReason::QueueFull => "the queue is full",
        };
        let (limiter, wait) = (&self.limiter, self.retry_after);
        let limit = self.limit.as_deref().unwrap_or("the server's pause");
        write!(f, "rate limit {limiter}: {reason}; retry in {wait:.1?} ({limit})")
    }
}

impl Error for RateLimited {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.status.source(GrpcCode::ResourceExhausted, self)
    }
}

/// The error of a request that costs more than the whole quota, so that it can never pass.
///
/// Send smaller requests, or raise the quota. To a tonic client (feature `tonic`) it is
/// `RESOURCE_EXHAUSTED`.
#[derive(Debug)]
pub struct CostAboveQuota {
    cost: u32,
    capacity: u32,
    limit: Arc<str>,
    status: GrpcStatus,
}

impl CostAboveQuota {
    /// Creates the error of a request that costs `cost` units of a limit that passes at most
    /// `capacity` units at once.
    pub fn new(cost: u32, capacity: u32, limit: impl Into<Arc<str>>) -> Self {
        Self { cost, capacity, limit: limit.into(), status: GrpcStatus::default() }
    }

    /// Returns the request's cost in units.
    #[must_use]
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// Returns the number of units that can pass at once.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns the limit: the name of its quota, or the resource that it counts.
    #[must_use]
    pub fn limit(&self) -> &str {
        &self.limit
    }

    #[allow(clippy::unused_self)] // like the other errors
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::new(Class::Local).with_cause(Cause::LocalLimit)
    }
}

impl fmt::Display for CostAboveQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cost, capacity, limit, .. } = self;
        write!(
            f,
            "the request costs {cost} {limit}, but the quota passes at most {capacity} at once"
        )
    }
}

impl Error for CostAboveQuota {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.status.source(GrpcCode::ResourceExhausted, self)
    }
}
