//! A call whose region's client isn't ready.

use std::task::{Context, Poll};

use tower_service::Service;

use crate::scope::Tried;

/// Waits for the first client that gets ready: of the region that was chosen, and, as long as that
/// isn't, of those that are the next choice. They queue side by side, so that a client that never
/// gets ready holds up no call that another one can take.
pub(super) struct Readying<S, Req> {
    request: Option<Req>,
    /// By the region's number, in the order of choice.
    clients: Vec<(usize, S)>,
}

/// What is called, and with what; or why not.
type Ready<'a, S, Req> = Result<(&'a mut S, Req), <S as Service<Req>>::Error>;

impl<S: Service<Req>, Req> Readying<S, Req> {
    pub(super) fn new(region: usize, client: S, request: Req) -> Self {
        Self { request: Some(request), clients: vec![(region, client)] }
    }

    /// The region whose client is ready, for the request, or failed to get ready. `next`
    /// chooses one more than those that are waited for.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut next: impl FnMut(Tried) -> Option<(usize, S)>,
    ) -> Poll<(usize, Ready<'_, S, Req>)> {
        let (mut nth, mut waited_for) = (0, Tried::NONE);
        let result = loop {
            if nth == self.clients.len() {
                let Some(one_more) = next(waited_for) else { return Poll::Pending };
                self.clients.push(one_more);
            }
            let (region, client) = &mut self.clients[nth];
            if let Poll::Ready(result) = client.poll_ready(cx) {
                break result;
            }
            waited_for.push(*region);
            nth += 1;
        };
        let (region, client) = &mut self.clients[nth];
        let ready =
            result.map(|()| (client, self.request.take().expect("polled after it was done")));
        Poll::Ready((*region, ready))
    }
}
