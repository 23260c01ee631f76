//! What the layers of one stack share about one logical call.
//!
//! A logical call is what the caller asked for once, however often it is sent.
//! The layers below a retry need to know which attempt this is and when the
//! caller stops waiting; the layers above need to know whether anything left.
//! That can't travel in the request (`reqwest::Request` hides its extensions,
//! and a first insert into `http::Extensions` allocates three times), so it
//! travels beside it, as `tokio::task_local!` and tracing's spans do: a small
//! `Copy` value in a thread-local, set around each inner `call` and `poll`.
//!
//! # Where it reaches, and where not
//!
//! - A `call` made inside an outer layer's `call` belongs to the same logical
//!   call: an inner retry layer passes through, an inner limiter knows the deadline.
//! - A `call` made while a future is *polled* (a token refreshed through another
//!   stack, an `async` block) starts afresh. A middleware of yours that calls
//!   its inner service from an `async` block carries the scope over with
//!   [`CallScope::current`] and [`CallScope::enter`].
//! - It doesn't cross `tokio::spawn` or tower's `Buffer`. Below those, layers
//!   see no deadline and no attempt, and a second retry layer there makes
//!   attempts of its own: keep one retry layer a stack, above the `Buffer`.

mod current;
mod tried_regions;

use self::current::{Mode, current_if};
use crate::time::Instant;

pub(crate) use self::current::{Within, call_later, note_queued, note_region, note_sent, now};
pub(crate) use self::tried_regions::TriedRegions;

/// What is known about the logical call that is being made.
#[derive(Clone, Copy, Debug)]
pub struct CallScope {
    attempt: u32,
    deadline: Option<Instant>,
    above: Above,
    /// Whether the attempt waits in a queue of this crate, and so isn't sent yet.
    queued: bool,
    sent_at: Option<Instant>,
    region: Option<&'static str>,
    tried: TriedRegions,
    elsewhere: bool,
    expired: bool,
}

/// What stands above and repeats the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Above {
    Nothing,
    /// A retry loop, which also moves the call from region to region.
    Retry,
    /// A retry loop, and below it a failover, which uses the loop for its own regions.
    RetryAndFailover,
}

impl CallScope {
    /// The scope of a call's first attempt.
    const FIRST: Self = Self {
        attempt: 1,
        deadline: None,
        above: Above::Nothing,
        queued: false,
        sent_at: None,
        region: None,
        tried: TriedRegions::NONE,
        elsewhere: false,
        expired: false,
    };

    /// The scope of a call that begins here or, given `outer`, is part of an outer layer's call. Of
    /// two deadlines the earlier one holds.
    #[inline]
    pub(crate) fn begin(outer: Option<Self>, deadline: Option<Instant>) -> Self {
        let mut scope = outer.unwrap_or(Self::FIRST);
        scope.deadline = match (deadline, scope.deadline) {
            (Some(own), Some(outer)) => Some(own.min(outer)),
            (own, outer) => own.or(outer),
        };
        scope
    }

    /// The scope of the call that this code runs within, if a layer of this
    /// crate that keeps one (a retry) stands above.
    #[inline]
    #[must_use]
    pub fn current() -> Option<Self> {
        current_if(|mode| mode != Mode::Outside)
    }

    /// The scope that an outer layer's `call` hands to this layer's `call`.
    #[inline]
    pub(crate) fn offered() -> Option<Self> {
        current_if(|mode| mode == Mode::Call)
    }

    /// Which attempt of the logical call this is; the first is 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the caller stops waiting.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Runs `f`, in which an inner service may be called as part of this logical call.
    ///
    /// For middleware that calls its inner service from an `async` block: take
    /// [`current`](Self::current) in `call`, and wrap the inner `call` in this.
    pub fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        let mut scope = self;
        let _within = scope.calling();
        f()
    }

    /// Makes this scope current for an inner `call`, as long as the guard is held. With a closure
    /// in its place the request would be moved in and the future out.
    #[inline]
    pub(crate) fn calling(&mut self) -> Within<'_> {
        Within::new(self, Mode::Call)
    }

    /// Runs an inner `poll` in this scope, and takes over what it noted.
    #[inline]
    pub(crate) fn poll<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let _within = Within::new(self, Mode::Poll);
        f()
    }

    /// Ends an attempt that has taken too long. Futures that `end` drops see that they were timed
    /// out, not abandoned by their caller.
    pub(crate) fn expire(&mut self, end: impl FnOnce()) {
        self.expired = true;
        self.poll(end);
        self.expired = false;
    }

    /// True while an attempt is dropped because it has taken too long.
    pub(crate) fn has_expired() -> bool {
        Self::current().is_some_and(|scope| scope.expired)
    }

    /// The scope of the next attempt. If no other region was asked for, no region counts as tried
    /// any more.
    pub(crate) fn next_attempt(mut self) -> Self {
        self.attempt = self.attempt.saturating_add(1);
        self.queued = false;
        self.sent_at = None;
        if !std::mem::take(&mut self.elsewhere) {
            self.tried = TriedRegions::NONE;
        }
        self
    }

    /// The region that this attempt goes to, if a failover stands above.
    #[must_use]
    pub const fn region(&self) -> Option<&'static str> {
        self.region
    }

    #[inline]
    pub(crate) fn at_region(mut self, region: &'static str) -> Self {
        self.region = Some(region);
        if self.above == Above::Retry {
            self.above = Above::RetryAndFailover;
        }
        self
    }

    /// The scope of the next attempt, in another region than this one.
    pub(crate) fn leave(mut self, region: usize, rejected: bool) -> Self {
        self.tried.push_failed(region, rejected);
        self.elsewhere = true;
        self.next_attempt()
    }

    pub(crate) const fn tried(&self) -> TriedRegions {
        self.tried
    }

    /// Whether a failover below asks for another attempt, at once, in another region.
    pub(crate) const fn goes_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// The same scope below a retry loop. An inner retry layer then passes calls through.
    pub(crate) const fn with_retry(mut self) -> Self {
        self.above = Above::Retry;
        // The attempts that a failover above makes are counted there.
        self.attempt = 1;
        self.among_new_regions()
    }

    /// The same scope for another set of regions, none of which was tried.
    pub(crate) const fn among_new_regions(mut self) -> Self {
        self.tried = TriedRegions::NONE;
        self
    }

    /// Whether a retry loop stands above.
    pub(crate) fn has_retry(&self) -> bool {
        self.above != Above::Nothing
    }

    /// Whether that loop moves the call from region to region: no failover stands between.
    pub(crate) fn retry_moves(&self) -> bool {
        self.above == Above::Retry
    }

    /// Whether this attempt waits in a queue of this crate, and so isn't sent yet.
    pub(crate) const fn is_queued(&self) -> bool {
        self.queued
    }

    /// When this attempt left this crate for the client, if it has.
    #[must_use]
    pub const fn sent_at(&self) -> Option<Instant> {
        self.sent_at
    }
}

#[cfg(all(test, feature = "retry"))]
mod tests;
