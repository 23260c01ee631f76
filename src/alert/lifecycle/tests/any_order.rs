//! Random sequences of observations: sinks keep no alert whose condition ended.

use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

use super::*;
use crate::alert::delivery::{DeliveryQueue, DeliveryStats, DeliveryTicket};
use crate::alert::message;
use crate::event::Alert;

/// The conditions: kind, label and lifetime.
const KINDS: [(AlertKind, &str, Lifetime); 7] = [
    (AlertKind::CircuitOpen, "a", Lifetime::UntilResolved),
    (AlertKind::CircuitOpen, "b", Lifetime::UntilResolved),
    (AlertKind::RegionOut, "us", Lifetime::UntilResolved),
    (AlertKind::AllRegionsOut, "", Lifetime::UntilResolved),
    (AlertKind::BudgetBurn, "slo", Lifetime::UntilResolved),
    (AlertKind::CredentialRejected, "", Lifetime::AtLeast(Duration::ZERO)),
    (AlertKind::Timeout, "", Lifetime::AtLeast(Duration::ZERO)),
];

struct Sequence {
    bench: Bench,
    second: u64,
    random: fastrand::Rng,
    /// The queue of each sink.
    queues: [DeliveryQueue; 2],
    stats: Arc<DeliveryStats>,
    /// The last severity that a sink was notified of, by sink and key.
    known: HashMap<(usize, String), Severity>,
    shown: String,
}

impl Sequence {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pick = |all: [u64; 3]| Duration::from_secs(all[random.usize(..3)]);
        let group_wait = pick([0, 1, 10]);
        let times = Times {
            group_wait,
            repeat: pick([60, 1000, 3600]),
            settle: pick([0, 60, 300]),
            quiet: pick([0, 10, 200]).max(group_wait),
        };
        let mut bench = Bench::new(times);
        bench.all.max_len = 100;
        let shown = format!("seed {seed}, {times:?}");
        let queues = [DeliveryQueue::new(1000), DeliveryQueue::new(1000)];
        let (stats, known) = (Arc::default(), HashMap::new());
        Self { bench, second: 0, random, queues, stats, known, shown }
    }

    fn now(&self) -> Instant {
        self.bench.at(self.second)
    }

    /// Queues notifications; with `loses`, some find no room.
    fn send(&mut self, notifications: &[Notification], loses: bool) {
        for one in notifications {
            let (at, repeat) = (SystemTime::UNIX_EPOCH, self.bench.all.policy.times.repeat);
            let service = Arc::from("any");
            let alert = message::alert(&service, one, at, Duration::ZERO, repeat);
            let (alert, update) = (Arc::new(alert), one.update);
            self.show(&format!("for {:?}", update.sinks), &alert);
            let mut missed = SinkSet::default();
            for sink in (0..2).filter(|sink| update.sinks.contains(*sink)) {
                if loses && !update.resolved && self.random.u8(..8) == 0 {
                    missed.insert(sink);
                } else {
                    let ticket = DeliveryTicket::new(Arc::clone(&alert), Arc::clone(&self.stats));
                    assert!(self.queues[sink].push(ticket));
                }
            }
            if !missed.is_empty() {
                self.bench.all.missed(one, missed, self.now());
            }
        }
    }

    fn show(&mut self, how: &str, alert: &Alert) {
        let Alert { key, severity, previous_severity, resolved, .. } = alert;
        _ = write!(
            self.shown,
            "\n    {how}: {key} {severity}, previously {previous_severity:?}, resolved: {resolved}"
        );
    }

    /// Delivers the next group to a sink.
    fn deliver(&mut self, sink: usize) {
        let max = [1, 2, 64][self.random.usize(..3)];
        for ticket in self.queues[sink].take(max) {
            let alert = Arc::clone(&ticket.alert);
            self.show(&format!("sink {sink}"), &alert);
            let key = (sink, alert.key.clone());
            let ends = [alert.previous_severity, Some(alert.severity).filter(|_| alert.resolved)];
            let known = self.known.remove(&key);
            let changed = known.filter(|known| alert.resolved || *known != alert.severity);
            // A sink that identifies it by its severity must end it under the last one.
            assert!(changed.is_none() || ends.contains(&changed), "{known:?}\n{}", self.shown);
            if !alert.resolved {
                self.known.insert(key, alert.severity);
            }
        }
    }

    fn step(&mut self) {
        self.second += [0, 0, 1, 5, 20, 100, 400][self.random.usize(..7)];
        let (kind, label, lifetime) = KINDS[self.random.usize(..KINDS.len())];
        let severity = Severity::ALL[self.random.usize(..3)];
        let hold = [0, 0, 0, 30][self.random.usize(..4)];
        let region = (label == "a").then_some("us");
        let one = observation(kind, label, severity, lifetime);
        let one = Observation { region, ..lasting(one, severity, hold) };
        let ends = lifetime == Lifetime::UntilResolved && self.random.bool();
        let change = if ends { "ends" } else { "is observed" };
        let second = self.second;
        _ = write!(self.shown, "\n{second} {kind} {label} {severity} {change}, hold {hold}");
        let now = self.now();
        if ends {
            let (notifications, _) = self.bench.all.resolve(&one, now);
            self.send(&notifications, true);
        } else {
            self.bench.all.observe(&one, now);
        }
        if self.random.u8(..4) > 0 {
            let flush = self.random.u8(..10) == 0;
            let (notifications, _) = self.bench.all.due(now, flush);
            self.send(&notifications, true);
        }
        for sink in 0..2 {
            if self.random.u8(..3) == 0 {
                self.deliver(sink);
            }
        }
    }

    fn end(mut self) {
        for (kind, label, _) in
            KINDS.into_iter().filter(|(.., lifetime)| *lifetime == Lifetime::UntilResolved)
        {
            let one = observation(kind, label, INFO, Lifetime::UntilResolved);
            let (notifications, _) = self.bench.all.resolve(&one, self.now());
            self.send(&notifications, false);
        }
        for _ in 0..100 {
            let Some(due) = self.bench.all.next_due() else {
                for sink in 0..2 {
                    while !self.queues[sink].is_empty() {
                        self.deliver(sink);
                    }
                }
                assert!(self.known.is_empty(), "{:?} is not resolved\n{}", self.known, self.shown);
                return;
            };
            let (notifications, _) = self.bench.all.due(due.max(self.now()), false);
            self.send(&notifications, false);
        }
        panic!("entries stay due: {:?}\n{}", self.bench.all, self.shown);
    }
}

#[test]
fn lifecycle_any_order_ends_reach_notified_sinks() {
    for seed in 0..1000 {
        let mut sequence = Sequence::new(seed);
        (0..60).for_each(|_| sequence.step());
        sequence.end();
    }
}
