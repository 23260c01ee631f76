//! A call whose region's client isn't ready.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::futures::OwnedNotified;
use tower_service::Service;

use super::FailoverEventKind;
use super::set::RegionSet;
use crate::classify::Verdict;
use crate::error::BoxError;
use crate::scope::Tried;
use crate::time;

/// Waits for the first client that gets ready: of the region that was chosen, and, as long as that
/// isn't, of those that are the next choice. They queue side by side, so that a client that never
/// gets ready holds up no call that another one can take.
pub(super) struct Readying<S, Req> {
    request: Option<Req>,
    /// By the region's number, in the order of choice.
    clients: Vec<(usize, S)>,
    /// The regions that aren't waited for any longer.
    left: Tried,
    /// Tells of a region that is back meanwhile.
    back: Option<Pin<Box<OwnedNotified>>>,
}

/// What is called, and with what; or why not.
type Ready<'a, S, Req> = Result<(&'a mut S, Req), BoxError>;

impl<S, Req> Readying<S, Req>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
{
    pub(super) fn new(region: usize, client: S, request: Req) -> Self {
        Self {
            request: Some(request),
            clients: vec![(region, client)],
            left: Tried::NONE,
            back: None,
        }
    }

    /// The region whose client is ready, for the request, or failed to get ready. As long as there
    /// is another one to wait for, a region is left that failed so, which hears of it, or that `is_out` by
    /// now. `next` chooses one more than those that are waited for, or were.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        next: impl Fn(Tried) -> Option<(usize, S)>,
        is_out: impl Fn(usize) -> bool,
        failed: impl Fn(usize, &BoxError),
        hears_of_back: impl Fn() -> OwnedNotified,
    ) -> Poll<(usize, Ready<'_, S, Req>)> {
        // First of all, so that no region that is back from now on is missed.
        while self
            .back
            .get_or_insert_with(|| Box::pin(hears_of_back()))
            .as_mut()
            .poll(cx)
            .is_ready()
        {
            self.back = None;
        }
        let (mut nth, mut waited_for) = (0, self.left);
        loop {
            if nth == self.clients.len() {
                let Some(one_more) = next(waited_for) else { return Poll::Pending };
                self.clients.push(one_more);
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

    /// Whether another client is waited for, or is from now on: than one that is ready, of a region
    /// that isn't out as well.
    fn has_better(
        &mut self,
        than: usize,
        is_ready: bool,
        is_out: impl Fn(usize) -> bool,
        next: impl FnOnce() -> Option<(usize, S)>,
    ) -> bool {
        let others = self.clients.iter().enumerate().filter(|(nth, _)| *nth != than);
        let mut regions = others.map(|(_, (region, _))| *region);
        regions.any(|region| !is_ready || !is_out(region))
            || next().map(|one_more| self.clients.push(one_more)).is_some()
    }
}

impl RegionSet {
    /// A client of this region failed to get ready, and its call goes elsewhere.
    pub(super) fn unready(&self, region: usize, verdict: &Verdict) {
        if self.settings.rules.is_regions_fault(verdict) {
            self.failed(region, verdict, self.state(region).phase());
        }
        self.tell(region, FailoverEventKind::FailedOver { cause: verdict.cause() });
    }

    /// Whether a region isn't called at this time, but for want of a better one.
    pub(super) fn is_out(&self, region: usize) -> bool {
        let state = self.state(region);
        !state.is_fit() && state.standing().is_out(self.nanos(time::now()))
    }
}
