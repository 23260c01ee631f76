//! A call whose region's client isn't ready.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::futures::OwnedNotified;
use tower_service::Service;

use super::set::RegionSet;
use crate::error::BoxError;
use crate::scope::TriedRegions;
use crate::time::{self, Instant, Sleep};
use crate::verdict::Verdict;

/// Waits for the first client that gets ready: the chosen region's, and, as long as that isn't ready,
/// those of the next choices. They wait side by side, so that a client that never gets ready holds up
/// no call that another one can take.
pub(super) struct ReadyRace<S, Req> {
    request: Option<Req>,
    /// The clients that are waited for and their regions' numbers, in the order of selection.
    clients: Vec<(usize, S)>,
    /// The regions that are no longer waited for.
    left: TriedRegions,
    /// Ends when a region is back.
    back: Option<Pin<Box<OwnedNotified>>>,
    /// Ends with the cooldown of another region.
    cooldown: Option<Pin<Box<Sleep>>>,
}

/// One more client to wait for and its region, or when there may be one.
pub(super) enum Next<S> {
    Client(usize, S),
    None { look_again: Option<Instant> },
}

/// The client to call and the request, or why the client didn't get ready.
type Ready<'a, S, Req> = Result<(&'a mut S, Req), BoxError>;

impl<S, Req> ReadyRace<S, Req>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
{
    pub(super) fn new(region: usize, client: S, request: Req) -> Self {
        let clients = vec![(region, client)];
        let (left, back, cooldown) = (TriedRegions::NONE, None, None);
        Self { request: Some(request), clients, left, back, cooldown }
    }

    /// Returns the region whose client is ready for the request, or failed to get ready.
    ///
    /// As long as there is another client to wait for, two kinds of regions are left: one whose client
    /// failed, which `failed` is data, and one that `is_out` by now. `next` chooses one more region
    /// than those that are, or were, waited for.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        next: impl Fn(TriedRegions) -> Next<S>,
        is_out: impl Fn(usize) -> bool,
        failed: impl Fn(usize, &BoxError),
        notified: impl Fn() -> OwnedNotified,
    ) -> Poll<(usize, Ready<'_, S, Req>)> {
        // Before anything else, so that it notified of every region that is back from now on.
        let notified = || Box::pin(notified());
        while self.back.get_or_insert_with(notified).as_mut().poll(cx).is_ready() {
            self.back = None;
        }
        let (mut nth, mut waited_for) = (0, self.left);
        loop {
            if nth == self.clients.len() {
                match next(waited_for) {
                    Next::Client(region, client) => self.clients.push((region, client)),
                    Next::None { look_again } => return self.sleeps(look_again, cx),
                }
            }
            let (region, client) = &mut self.clients[nth];
            let region = *region;
            waited_for.push(region);
            let Poll::Ready(result) = client.poll_ready(cx).map_err(Into::into) else {
                nth += 1;
                continue;
            };
            let is_well = result.is_ok() && !is_out(region);
            if is_well || !self.has_better(nth, result.is_ok(), &is_out, || next(waited_for)) {
                let Self { clients, request, .. } = self;
                let ready = result.map(|()| {
                    let request = request.take().expect("polled after it was done");
                    (&mut clients[nth].1, request)
                });
                return Poll::Ready((region, ready));
            }
            if let Err(error) = result {
                failed(region, &error);
            }
            self.left.push(region);
            self.clients.remove(nth);
        }
    }

    /// Whether another client than the one at `than` is waited for, or is from now on. If that one is
    /// ready, though its region is out, only a client whose region isn't out counts.
    fn has_better(
        &mut self,
        than: usize,
        is_ready: bool,
        is_out: impl Fn(usize) -> bool,
        next: impl FnOnce() -> Next<S>,
    ) -> bool {
        let others = self.clients.iter().enumerate().filter(|(nth, _)| *nth != than);
        let mut regions = others.map(|(_, (region, _))| *region);
        if regions.any(|region| !is_ready || !is_out(region)) {
            return true;
        }
        let Next::Client(region, client) = next() else { return false };
        self.clients.push((region, client));
        true
    }

    /// Waits: nothing is ready, and until then there is no other client.
    fn sleeps<T>(&mut self, until: Option<Instant>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(until) = until else { return Poll::Pending };
        if self.cooldown.as_ref().is_none_or(|timer| timer.deadline() != until) {
            self.cooldown = Some(Box::pin(time::sleep_until(until)));
        }
        if self.cooldown.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl RegionSet {
    /// Records that a client of this region failed to get ready, and that its call goes elsewhere.
    pub(super) fn unready(&self, region: usize, verdict: &Verdict) {
        if self.settings.config.is_regions_fault(verdict) {
            self.failed(region, verdict, self.region_state(region).generation());
        }
        self.failed_over(region, verdict.cause());
    }

    /// Whether a region is called now only if there is no better one.
    pub(super) fn is_out(&self, region: usize) -> bool {
        let region_state = self.region_state(region);
        !region_state.is_fit() && region_state.availability().is_out(self.origin.nanos(time::now()))
    }
}
