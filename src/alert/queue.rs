//! What waits for one sink. A plain structure: it takes no lock and sends nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::event::{Alert, Severity};
use crate::sync::Mutex;

/// One place in this many is kept for what is critical, and for what is over.
const RESERVE: usize = 8;

/// A bounded queue. Of each key it holds at most the last trigger and its end.
#[derive(Debug)]
pub(super) struct DeliveryQueue {
    tickets: VecDeque<DeliveryTicket>,
    most: usize,
}

impl DeliveryQueue {
    pub(super) fn new(most: usize) -> Self {
        Self { tickets: VecDeque::new(), most }
    }

    /// Queues a ticket, or drops it. Returns whether it was queued.
    pub(super) fn offer(&mut self, mut ticket: DeliveryTicket) -> bool {
        let alert = &ticket.alert;
        let urgent = alert.resolved || alert.severity == Severity::Critical;
        let mut was = alert.previous_severity;
        // Tickets that this one makes needless go, and their place is free for it. A trigger replaces an
        // older trigger and its end; an end replaces only an older end.
        let before = self.tickets.len();
        for number in (0..self.tickets.len()).rev() {
            let other = &self.tickets[number].alert;
            let outdated = other.resolved || !alert.resolved;
            if other.key == alert.key && outdated {
                // The sink knows the severity before the first ticket that it won't receive.
                was = other.previous_severity.or(other.resolved.then_some(other.severity)).or(was);
                self.tickets.remove(number).into_iter().for_each(DeliveryTicket::coalesced);
            }
        }
        let was = was.filter(|was| *was != alert.severity);
        if was != alert.previous_severity {
            Arc::make_mut(&mut ticket.alert).previous_severity = was;
        }
        let reserve = if urgent { 0 } else { self.most / RESERVE };
        let has_room = self.tickets.len() < before || before < self.most - reserve;
        if has_room {
            self.tickets.push_back(ticket);
        }
        has_room
    }

    /// Takes the first ticket and, up to `most` in all, those behind it that are of the same kind and also
    /// begun or over. An end doesn't overtake its trigger.
    pub(super) fn take(&mut self, most: usize) -> Vec<DeliveryTicket> {
        let mut taken: Vec<_> = self.tickets.pop_front().into_iter().collect();
        let mut number = 0;
        while let Some(other) = self.tickets.get(number)
            && taken.len() < most
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

    pub(super) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }
}

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

#[cfg(test)]
mod tests {
    use super::super::sink::tests::alert;
    use super::*;
    use crate::alert::queue::DeliveryCounters;
    use crate::event::Alert;

    struct Bench {
        queue: DeliveryQueue,
        counters: Arc<DeliveryCounters>,
    }

    impl Bench {
        fn new(most: usize) -> Self {
            Self { queue: DeliveryQueue::new(most), counters: Arc::default() }
        }

        fn offer(&mut self, alert: Alert) -> bool {
            self.queue.offer(DeliveryTicket::new(Arc::new(alert), Arc::clone(&self.counters)))
        }

        /// Labels of what is taken at once; an exclamation mark for an end.
        fn take(&mut self, most: usize) -> Vec<String> {
            let label = |ticket: &DeliveryTicket| {
                let end = if ticket.alert.resolved { "!" } else { "" };
                format!("{}{end}", ticket.alert.region.as_deref().unwrap_or_default())
            };
            self.queue.take(most).iter().map(label).collect()
        }
    }

    fn begins(region: &str) -> Alert {
        alert(Severity::Warning, "checkout", region, false)
    }

    fn ends(region: &str) -> Alert {
        alert(Severity::Warning, "checkout", region, true)
    }

    #[test]
    fn the_last_of_a_key_counts() {
        let mut bench = Bench::new(16);
        for alert in [begins("us"), begins("eu"), begins("us"), ends("eu"), ends("eu")] {
            assert!(bench.offer(alert));
        }
        assert_eq!(bench.counters.stats().coalesced, 2);
        assert_eq!(bench.take(9), ["eu", "us"]);
        assert_eq!(bench.take(9), ["eu!"]);
        assert!(bench.queue.is_empty());
        // It ended and began again: only that is notified.
        for alert in [begins("us"), ends("us"), begins("us")] {
            assert!(bench.offer(alert));
        }
        assert_eq!(bench.take(9), ["us"]);
        assert!(bench.queue.is_empty());
    }

    /// A sink that knows an alert by its severity has to end it under the one that it notified of.
    #[test]
    fn what_replaces_another_says_how_bad_it_was_notified_to_be() {
        const INFO: Severity = Severity::Info;
        const WARNING: Severity = Severity::Warning;
        const CRITICAL: Severity = Severity::Critical;
        let notified = |severity, was, resolved| Alert {
            previous_severity: was,
            ..alert(severity, "", "us", resolved)
        };
        for (offered, expected) in [
            (vec![notified(WARNING, Some(INFO), false)], Some(INFO)),
            (
                vec![
                    notified(WARNING, Some(INFO), false),
                    notified(CRITICAL, Some(WARNING), false),
                ],
                Some(INFO),
            ),
            // As bad as it was before.
            (
                vec![notified(CRITICAL, Some(INFO), false), notified(INFO, Some(CRITICAL), false)],
                None,
            ),
            // It ended, which isn't notified, and began again, worse.
            (vec![notified(WARNING, None, true), notified(CRITICAL, None, false)], Some(WARNING)),
            (vec![notified(WARNING, None, true), notified(WARNING, None, false)], None),
        ] {
            let mut bench = Bench::new(16);
            let shown = format!("{offered:?}");
            assert!(offered.into_iter().all(|alert| bench.offer(alert)));
            let taken = bench.queue.take(9);
            assert_eq!((taken.len(), taken[0].alert.previous_severity), (1, expected), "{shown}");
        }
    }

    #[test]
    fn a_group_is_of_one_kind_and_bounded() {
        let mut bench = Bench::new(16);
        for region in ["a", "b", "c"] {
            bench.offer(begins(region));
            bench.offer(ends(region));
        }
        assert_eq!(bench.take(2), ["a", "b"]);
        assert_eq!(bench.take(1), ["a!"]);
        assert_eq!(bench.take(9), ["b!"], "and no end comes before its trigger");
        assert_eq!(bench.take(9), ["c"]);
        assert_eq!(bench.take(9), ["c!"]);
        assert_eq!(bench.take(9), [""; 0]);
    }

    #[test]
    fn a_full_queue_keeps_room_for_what_is_critical_and_what_is_over() {
        let mut bench = Bench::new(16);
        let offered = (0..20).filter(|n| bench.offer(begins(&n.to_string()))).count();
        assert_eq!(offered, 14);
        assert!(bench.offer(begins("0")), "a repeated notification needs no room");
        assert!(bench.offer(ends("0")));
        assert!(bench.offer(alert(Severity::Critical, "checkout", "us", false)));
        assert!(!bench.offer(ends("1")));
        assert!(bench.offer(begins("2")), "nor does it in a full queue");
        assert_eq!(bench.counters.stats().dropped, 7);
    }
}
