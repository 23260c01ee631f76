use std::collections::VecDeque;
use std::sync::Arc;

use super::stats::{DeliveryTicket, TicketResult};
use crate::event::Severity;

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
    use super::super::stats::DeliveryStats;
    use super::*;
    use crate::alert::sink::tests::alert;
    use crate::event::Alert;

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
