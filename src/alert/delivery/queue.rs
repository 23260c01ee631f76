use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::event::{Alert, Severity};
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
pub(super) enum TicketResult {
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

/// An eighth of the capacity is reserved for critical and resolved alerts.
const RESERVED_SHARE: usize = 8;

/// A bounded queue of one sink. It holds at most the last alert of each key and its end.
#[derive(Debug)]
pub(in crate::alert) struct DeliveryQueue {
    tickets: VecDeque<DeliveryTicket>,
    capacity: usize,
}

impl DeliveryQueue {
    pub(in crate::alert) fn new(capacity: usize) -> Self {
        Self { tickets: VecDeque::new(), capacity }
    }

    /// Queues a ticket, or drops it if the queue is full. Returns whether it is queued.
    pub(in crate::alert) fn push(&mut self, mut ticket: DeliveryTicket) -> bool {
        let alert = &ticket.alert;
        let has_reserve = alert.resolved || alert.severity == Severity::Critical;
        let mut previous = alert.previous_severity;
        // A raised alert replaces an older one of its key and its end; an end replaces only an older end.
        let before = self.tickets.len();
        for number in (0..self.tickets.len()).rev() {
            let other = &self.tickets[number].alert;
            let is_outdated = other.resolved || !alert.resolved;
            if other.key == alert.key && is_outdated {
                // The sink knows the severity before the first ticket that is replaced.
                let resolved = other.resolved.then_some(other.severity);
                previous = other.previous_severity.or(resolved).or(previous);
                let replaced = self.tickets.remove(number).into_iter();
                replaced.for_each(|ticket| ticket.finish(TicketResult::Coalesced));
            }
        }
        let previous = previous.filter(|previous| *previous != alert.severity);
        if previous != alert.previous_severity {
            Arc::make_mut(&mut ticket.alert).previous_severity = previous;
        }
        let reserved = if has_reserve { 0 } else { self.capacity / RESERVED_SHARE };
        let has_room = self.tickets.len() < before || before < self.capacity - reserved;
        if has_room {
            self.tickets.push_back(ticket);
        }
        has_room
    }

    /// Takes the first ticket and later ones of the same kind, all raised or all resolved, up to `max`. An
    /// end does not overtake its beginning.
    pub(in crate::alert) fn take(&mut self, max: usize) -> Vec<DeliveryTicket> {
        let mut taken: Vec<_> = self.tickets.pop_front().into_iter().collect();
        let mut number = 0;
        while let Some(other) = self.tickets.get(number)
            && taken.len() < max
        {
            let (first, key) = (&taken[0].alert, &other.alert.key);
            if (other.alert.kind, other.alert.resolved) == (first.kind, first.resolved)
                && !self.tickets.range(..number).any(|before| before.alert.key == *key)
            {
                taken.extend(self.tickets.remove(number));
            } else {
                number += 1;
            }
        }
        taken
    }

    pub(in crate::alert) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::sink::tests::alert;

    struct Bench {
        queue: DeliveryQueue,
        stats: Arc<DeliveryStats>,
    }

    impl Bench {
        fn new(max: usize) -> Self {
            Self { queue: DeliveryQueue::new(max), stats: Arc::default() }
        }

        fn push(&mut self, alert: Alert) -> bool {
            self.queue.push(DeliveryTicket::new(Arc::new(alert), Arc::clone(&self.stats)))
        }

        /// Returns the labels of one group; with an exclamation mark if resolved.
        fn take(&mut self, max: usize) -> Vec<String> {
            let label = |ticket: &DeliveryTicket| {
                let end = if ticket.alert.resolved { "!" } else { "" };
                format!("{}{end}", ticket.alert.region.as_deref().unwrap_or_default())
            };
            self.queue.take(max).iter().map(label).collect()
        }
    }

    fn raised(region: &str) -> Alert {
        alert(Severity::Warning, "checkout", region, false)
    }

    fn resolved(region: &str) -> Alert {
        alert(Severity::Warning, "checkout", region, true)
    }

    #[test]
    fn queue_last_alert_of_a_key_replaces_earlier() {
        let mut bench = Bench::new(16);
        for alert in [raised("us"), raised("eu"), raised("us"), resolved("eu"), resolved("eu")] {
            assert!(bench.push(alert));
        }
        assert_eq!(bench.stats.get().coalesced, 2);
        assert_eq!(bench.take(9), ["eu", "us"]);
        assert_eq!(bench.take(9), ["eu!"]);
        assert!(bench.queue.is_empty());
        // It ended and began again: only the beginning is sent.
        for alert in [raised("us"), resolved("us"), raised("us")] {
            assert!(bench.push(alert));
        }
        assert_eq!(bench.take(9), ["us"]);
        assert!(bench.queue.is_empty());
    }

    /// A sink that identifies an alert by its severity must end it under the one that it knows.
    #[test]
    fn queue_replacement_keeps_previous_severity() {
        const INFO: Severity = Severity::Info;
        const WARNING: Severity = Severity::Warning;
        const CRITICAL: Severity = Severity::Critical;
        let changed = |severity, previous_severity, resolved| Alert {
            previous_severity,
            ..alert(severity, "", "us", resolved)
        };
        for (offered, expected) in [
            (vec![changed(WARNING, Some(INFO), false)], Some(INFO)),
            (
                vec![changed(WARNING, Some(INFO), false), changed(CRITICAL, Some(WARNING), false)],
                Some(INFO),
            ),
            // The same severity as before.
            (
                vec![changed(CRITICAL, Some(INFO), false), changed(INFO, Some(CRITICAL), false)],
                None,
            ),
            // The end is replaced by a more severe beginning.
            (vec![changed(WARNING, None, true), changed(CRITICAL, None, false)], Some(WARNING)),
            (vec![changed(WARNING, None, true), changed(WARNING, None, false)], None),
        ] {
            let mut bench = Bench::new(16);
            let shown = format!("{offered:?}");
            assert!(offered.into_iter().all(|alert| bench.push(alert)));
            let taken = bench.queue.take(9);
            assert_eq!((taken.len(), taken[0].alert.previous_severity), (1, expected), "{shown}");
        }
    }

    #[test]
    fn queue_group_is_bounded_and_of_one_kind() {
        let mut bench = Bench::new(16);
        for region in ["a", "b", "c"] {
            bench.push(raised(region));
            bench.push(resolved(region));
        }
        assert_eq!(bench.take(2), ["a", "b"]);
        assert_eq!(bench.take(1), ["a!"]);
        assert_eq!(bench.take(9), ["b!"], "no end comes before its beginning");
        assert_eq!(bench.take(9), ["c"]);
        assert_eq!(bench.take(9), ["c!"]);
        assert_eq!(bench.take(9), [""; 0]);
    }

    #[test]
    fn queue_full_keeps_room_for_critical_and_resolved() {
        let mut bench = Bench::new(16);
        let queued = (0..20).filter(|n| bench.push(raised(&n.to_string()))).count();
        assert_eq!(queued, 14);
        assert!(bench.push(raised("0")), "a replacement needs no room");
        assert!(bench.push(resolved("0")));
        assert!(bench.push(alert(Severity::Critical, "checkout", "us", false)));
        assert!(!bench.push(resolved("1")));
        assert!(bench.push(raised("2")), "a replacement needs no room in a full queue");
        assert_eq!(bench.stats.get().dropped, 7);
    }
}
