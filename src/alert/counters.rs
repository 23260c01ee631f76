use std::sync::Arc;

use tokio::sync::Notify;

use crate::event::Alert;
use crate::sync::Mutex;

/// What became of the alerts so far. An alert counts once for each sink that is to receive of it.
///
/// `offered` is the sum of the others. An alert that no sink is to receive of isn't counted, nor is one
/// that still waits to be notified. One that is notified again because it lasts counts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlertStats {
    /// Alerts for a sink.
    pub offered: u64,
    /// Those that the sink accepted.
    pub sent: u64,
    /// Those not notified because the sink had notified the same lately or was to receive it anyway, or because it
    /// was over too soon.
    pub coalesced: u64,
    /// Those lost because the queue was full, or because the runtime ended while they were notified.
    pub dropped: u64,
    /// Those that the sink refused, or didn't take in time.
    pub failed: u64,
    /// Those in a queue or under way.
    pub pending: u64,
}

/// The counts, and a signal for those that wait for the queues to be empty.
#[derive(Debug, Default)]
pub(super) struct DeliveryCounters {
    stats: Mutex<AlertStats>,
    emptied: Notify,
}

impl DeliveryCounters {
    pub(super) fn stats(&self) -> AlertStats {
        *self.stats.lock()
    }

    pub(super) fn coalesced(&self, many: usize) {
        if many > 0 {
            let mut stats = self.stats.lock();
            let many = u64::try_from(many).unwrap_or(u64::MAX);
            stats.offered = stats.offered.saturating_add(many);
            stats.coalesced = stats.coalesced.saturating_add(many);
        }
    }

    /// Completes when nothing is pending.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            let mut emptied = std::pin::pin!(emptied);
            // From here on no notification is missed.
            emptied.as_mut().enable();
            if self.stats().pending == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// An alert on its way to one sink. If the ticket goes without having
/// [`ended`](Self::ended) or [`coalesced`](Self::coalesced), it counts as dropped.
#[derive(Debug)]
pub(super) struct DeliveryTicket {
    pub(super) alert: Arc<Alert>,
    counters: Arc<DeliveryCounters>,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Coalesced,
    Dropped,
    Sent,
    Failed,
}

impl DeliveryTicket {
    pub(super) fn new(alert: Arc<Alert>, counters: Arc<DeliveryCounters>) -> Self {
        {
            let mut stats = counters.stats.lock();
            stats.offered += 1;
            stats.pending += 1;
        }
        Self { alert, counters, end: End::Dropped }
    }

    pub(super) fn ended(mut self, accepted: bool) {
        self.end = if accepted { End::Sent } else { End::Failed };
    }

    /// Counts it as coalesced: a later ticket takes its place.
    pub(super) fn coalesced(mut self) {
        self.end = End::Coalesced;
    }
}

impl Drop for DeliveryTicket {
    fn drop(&mut self) {
        let emptied = {
            let mut stats = self.counters.stats.lock();
            stats.pending -= 1;
            match self.end {
                End::Coalesced => stats.coalesced += 1,
                End::Dropped => stats.dropped += 1,
                End::Sent => stats.sent += 1,
                End::Failed => stats.failed += 1,
            }
            stats.pending == 0
        };
        if emptied {
            self.counters.emptied.notify_waiters();
        }
    }
}
