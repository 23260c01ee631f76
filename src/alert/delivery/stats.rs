use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::event::Alert;
use crate::sync::Mutex;

/// The counts of deliveries. An alert counts once for each sink that wants it, and again when it is
/// repeated.
///
/// `offered` is the sum of the others. Alerts that no sink wants are not counted, nor are those that are
/// not due yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlertStats {
    /// Alerts for a sink.
    pub offered: u64,
    /// Alerts that the sink accepted.
    pub sent: u64,
    /// Alerts that were not sent because the sink was notified of the same recently or will be anyway, or
    /// because the condition ended too soon.
    pub coalesced: u64,
    /// Alerts that were lost because the queue was full, or because the runtime ended during delivery.
    pub dropped: u64,
    /// Alerts that the sink rejected, or did not accept in time.
    pub failed: u64,
    /// Alerts in a queue or in delivery.
    pub pending: u64,
}

/// The counters of deliveries, and a signal for those that wait until nothing is pending.
#[derive(Debug, Default)]
pub(in crate::alert) struct DeliveryStats {
    stats: Mutex<AlertStats>,
    emptied: Notify,
}

impl DeliveryStats {
    pub(in crate::alert) fn get(&self) -> AlertStats {
        *self.stats.lock()
    }

    /// Counts alerts that are not sent.
    pub(in crate::alert) fn coalesced(&self, count: usize) {
        if count > 0 {
            let mut stats = self.stats.lock();
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            stats.offered = stats.offered.saturating_add(count);
            stats.coalesced = stats.coalesced.saturating_add(count);
        }
    }

    /// Completes when nothing is pending.
    pub(in crate::alert) async fn wait_until_empty(&self) {
        loop {
            let mut emptied = pin!(self.emptied.notified());
            // From here on no notification is missed.
            emptied.as_mut().enable();
            if self.get().pending == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// One queued alert for one sink. It counts as dropped, unless [`finish`](Self::finish) says otherwise.
#[derive(Debug)]
pub(in crate::alert) struct DeliveryTicket {
    pub(in crate::alert) alert: Arc<Alert>,
    stats: Arc<DeliveryStats>,
    result: TicketResult,
}

/// The result of a ticket.
#[derive(Clone, Copy, Debug)]
pub(in crate::alert) enum TicketResult {
    /// Replaced by a later ticket.
    Coalesced,
    Dropped,
    Sent,
    Failed,
}

impl DeliveryTicket {
    pub(in crate::alert) fn new(alert: Arc<Alert>, stats: Arc<DeliveryStats>) -> Self {
        {
            let mut stats = stats.stats.lock();
            stats.offered += 1;
            stats.pending += 1;
        }
        Self { alert, stats, result: TicketResult::Dropped }
    }

    pub(super) fn finish(mut self, result: TicketResult) {
        self.result = result;
    }
}

impl Drop for DeliveryTicket {
    fn drop(&mut self) {
        let mut stats = self.stats.stats.lock();
        stats.pending -= 1;
        match self.result {
            TicketResult::Coalesced => stats.coalesced += 1,
            TicketResult::Dropped => stats.dropped += 1,
            TicketResult::Sent => stats.sent += 1,
            TicketResult::Failed => stats.failed += 1,
        }
        let is_empty = stats.pending == 0;
        drop(stats);
        if is_empty {
            self.stats.emptied.notify_waiters();
        }
    }
}
