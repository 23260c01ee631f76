//! A call that waits for a region.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;

use super::health::Availability;
use super::selection::LazyNow;
use super::set::RegionSet;
use crate::time::{self, Instant, Sleep};

pin_project! {
    /// Keeps a request until a region may be fit for it.
    pub(super) struct RegionWaiters<Req> {
        #[pin]
        timer: Sleep,
        // Ends when a region is back sooner than that.
        #[pin]
        sooner: OwnedNotified,
        request: Option<Req>,
    }
}

impl<Req> RegionWaiters<Req> {
    pub(super) fn new(until: Instant, sooner: OwnedNotified, request: Req) -> Self {
        Self { timer: time::sleep_until(until), sooner, request: Some(request) }
    }

    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Req> {
        let this = self.project();
        if this.sooner.poll(cx).is_pending() && this.timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(this.request.take().expect("polled after it was done"))
    }
}

/// How long it is until a region is back.
pub(super) struct Recovered {
    pub(super) expected: Duration,
    pub(super) latest: Duration,
}

impl RegionSet {
    /// Wakes the calls that wait for a region: one that took no calls may take some now.
    pub(super) fn notify_waiters(&self) {
        self.back.notify_waiters();
    }

    /// Ends with the next [`notify_waiters`](Self::notify_waiters), from now on.
    pub(super) fn notified(&self) -> OwnedNotified {
        Arc::clone(&self.back).notified_owned()
    }

    /// How long it is until the first region takes calls again. `None` if none will.
    pub(super) fn back_in(&self, now: &LazyNow, is: impl Fn(usize) -> bool) -> Option<Recovered> {
        let now = self.origin.nanos(now.get());
        let regions = self.slots.iter().enumerate().filter(|(number, _)| is(*number));
        let waits = regions.filter_map(|(_, region_state)| match region_state.availability() {
            Availability::Out { until } if now < until => Some((until - now, until - now)),
            Availability::Out { .. } => Some(region_state.trial_takes(now)),
            Availability::Gone => None,
            _ => Some((0, 0)),
        });
        let (expected, latest) = waits.reduce(|a, b| (a.0.min(b.0), a.1.min(b.1)))?;
        let (expected, latest) = (Duration::from_nanos(expected), Duration::from_nanos(latest));
        Some(Recovered { expected, latest })
    }

    /// When the first of the cooldowns that aren't over yet will be.
    pub(super) fn cooldown_ends(
        &self,
        now: &LazyNow,
        is: impl Fn(usize) -> bool,
    ) -> Option<Instant> {
        let now = self.origin.nanos(now.get());
        let regions = self.slots.iter().enumerate().filter(|(number, _)| is(*number));
        let ends = regions.filter_map(|(_, region_state)| match region_state.availability() {
            Availability::Out { until } if now < until => Some(until),
            _ => None,
        });
        ends.min().map(|until| self.origin.instant(until))
    }
}
