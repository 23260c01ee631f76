//! Whatever happens in whatever order, sinks aren't left with what is over.

use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

use super::*;
use crate::alert::queue::DeliveryQueue;
use crate::alert::queue::{DeliveryCounters, DeliveryTicket};
use crate::event::{Alert, AlertKind, Severity};

/// What happens: a kind, a label, and whether its end is notified.
const KINDS: [(AlertKind, &str, Lasts); 7] = [
    (AlertKind::CircuitOpen, "a", Lasts::UntilOver),
    (AlertKind::CircuitOpen, "b", Lasts::UntilOver),
    (AlertKind::RegionOut, "us", Lasts::UntilOver),
    (AlertKind::AllRegionsOut, "", Lasts::UntilOver),
    (AlertKind::BudgetBurn, "slo", Lasts::UntilOver),
    (AlertKind::CredentialRejected, "", Lasts::For(Duration::ZERO)),
    (AlertKind::Timeout, "", Lasts::For(Duration::ZERO)),
];

struct Sequence {
    bench: Bench,
    second: u64,
    random: fastrand::Rng,
    /// What waits for each sink.
    queues: [DeliveryQueue; 2],
    counters: Arc<DeliveryCounters>,
    /// By sink and key, how bad it was notified that a thing is.
    known: HashMap<(usize, String), Severity>,
    shown: String,
}

impl Sequence {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pick = |all: [u64; 3]| Duration::from_secs(all[random.usize(..3)]);
        let group = pick([0, 1, 10]);
        let times = Times {
            group,
            repeat: pick([60, 1000, 3600]),
            settle: pick([0, 60, 300]),
            quiet: pick([0, 10, 200]).max(group),
        };
        let mut bench = Bench::new(times);
        bench.all.most = 100;
        let shown = format!("seed {seed}, {times:?}");
        let (queues, counters) =
            ([DeliveryQueue::new(1000), DeliveryQueue::new(1000)], Arc::default());
        Self { bench, second: 0, random, queues, counters, known: HashMap::new(), shown }
    }

    fn now(&self) -> Instant {
        self.bench.at(self.second)
    }

    /// Puts what sinks are to be notified into their queues, where some of it finds no room.
    fn emit(&mut self, notices: &[Notice], loses: bool) {
        for notice in notices {
            let (at, repeats_in) = (SystemTime::UNIX_EPOCH, self.bench.all.times.repeat);
            let alert = Arc::new(Alert::of_notice(&Arc::from("any"), notice, at, at, repeats_in));
            self.show(&format!("for {:?}", notice.to), &alert);
            let mut missed = Sinks::default();
            for sink in (0..2).filter(|sink| notice.to.contains(*sink)) {
                if loses && !notice.resolved && self.random.u8(..8) == 0 {
                    missed = missed.with(sink);
                } else {
                    let ticket =
                        DeliveryTicket::new(Arc::clone(&alert), Arc::clone(&self.counters));
                    assert!(self.queues[sink].offer(ticket));
                }
            }
            if !missed.is_empty() {
                self.bench.all.missed(notice, missed, self.now());
            }
        }
    }

    fn show(&mut self, how: &str, alert: &Alert) {
        let Alert { key, severity, previous_severity: was, resolved, .. } = alert;
        _ = write!(self.shown, "\n    {how}: {key} {severity} was {was:?}, resolved: {resolved}");
    }

    /// Tells a sink the next group.
    fn deliver(&mut self, sink: usize) {
        let most = [1, 2, 64][self.random.usize(..3)];
        for ticket in self.queues[sink].take(most) {
            let alert = Arc::clone(&ticket.alert);
            self.show(&format!("sink {sink}"), &alert);
            let key = (sink, alert.key.clone());
            let ends = [alert.previous_severity, Some(alert.severity).filter(|_| alert.resolved)];
            let knew = self.known.remove(&key);
            let changed = knew.filter(|knew| alert.resolved || *knew != alert.severity);
            // A sink that knows it by its severity has to end it under the last.
            assert!(changed.is_none() || ends.contains(&changed), "{knew:?}\n{}", self.shown);
            if !alert.resolved {
                self.known.insert(key, alert.severity);
            }
            ticket.ended(true);
        }
    }

    fn step(&mut self) {
        self.second += [0, 0, 1, 5, 20, 100, 400][self.random.usize(..7)];
        let (kind, label, lasts) = KINDS[self.random.usize(..KINDS.len())];
        let severity = Severity::ALL[self.random.usize(..3)];
        let hold = [0, 0, 0, 30][self.random.usize(..4)];
        let region = (label == "a").then_some("us");
        let one =
            Observation { region, ..lasting(seen(kind, label, severity, lasts), severity, hold) };
        let ends = lasts == Lasts::UntilOver && self.random.bool();
        let what = if ends { "ends" } else { "is seen" };
        let second = self.second;
        _ = write!(self.shown, "\n{second} {kind} {label} {severity} {what}, hold {hold}");
        let now = self.now();
        if ends {
            let (notices, _) = self.bench.all.resolve(&one, now);
            self.emit(&notices, true);
        } else {
            self.bench.all.fire(&one, now);
        }
        if self.random.u8(..4) > 0 {
            let hurry = self.random.u8(..10) == 0;
            let (notices, _) = self.bench.all.due(now, hurry);
            self.emit(&notices, true);
        }
        for sink in 0..2 {
            if self.random.u8(..3) == 0 {
                self.deliver(sink);
            }
        }
    }

    fn end(mut self) {
        for (kind, label, _) in KINDS.into_iter().filter(|(.., lasts)| *lasts == Lasts::UntilOver) {
            let one = seen(kind, label, INFO, Lasts::UntilOver);
            let (notices, _) = self.bench.all.resolve(&one, self.now());
            self.emit(&notices, false);
        }
        for _ in 0..100 {
            let Some(due) = self.bench.all.next_due() else {
                for sink in 0..2 {
                    while !self.queues[sink].is_empty() {
                        self.deliver(sink);
                    }
                }
                assert!(self.known.is_empty(), "{:?} isn't over\n{}", self.known, self.shown);
                return;
            };
            let (notices, _) = self.bench.all.due(due.max(self.now()), false);
            self.emit(&notices, false);
        }
        panic!("it never rests: {:?}\n{}", self.bench.all, self.shown);
    }
}

#[test]
fn every_end_goes_where_its_trigger_went_and_as_what_that_said() {
    for seed in 0..1000 {
        let mut sequence = Sequence::new(seed);
        (0..60).for_each(|_| sequence.step());
        sequence.end();
    }
}
