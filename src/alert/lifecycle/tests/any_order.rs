//! Whatever happens in whatever order, sinks aren't left with what is over.

use std::fmt::Write;

use super::*;

/// What happens: a kind, a label, and whether its end is told.
const KINDS: [(AlertKind, &str, Lasts); 7] = [
    (AlertKind::CircuitOpen, "a", Lasts::UntilTold),
    (AlertKind::CircuitOpen, "b", Lasts::UntilTold),
    (AlertKind::RegionLost, "us", Lasts::UntilTold),
    (AlertKind::AllRegionsLost, "", Lasts::UntilTold),
    (AlertKind::BudgetBurn, "slo", Lasts::UntilTold),
    (AlertKind::CredentialRejected, "", Lasts::For(Duration::ZERO)),
    (AlertKind::Timeout, "", Lasts::For(Duration::ZERO)),
];

struct Sequence {
    bench: Bench,
    second: u64,
    random: fastrand::Rng,
    /// How bad each sink was told that a thing is.
    known: HashMap<(AlertKind, Box<str>, usize), Severity>,
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
        Self { bench, second: 0, random, known: HashMap::new(), shown }
    }

    fn now(&self) -> Instant {
        self.bench.at(self.second)
    }

    /// Takes in what sinks are told, of which some is lost on the way to a queue.
    fn tell(&mut self, notices: &[Notice], loses: bool) {
        for notice in notices {
            let Notice { kind, label, severity, was, resolved, to, .. } = notice;
            _ = write!(self.shown, "\n    {kind} {label} {severity} {was:?} {resolved} {to:?}");
            let mut missed = Sinks::default();
            for sink in (0..2).filter(|sink| to.contains(*sink)) {
                let key = (*kind, label.clone(), sink);
                let knew = self.known.get(&key).copied();
                if *resolved {
                    assert_eq!(knew, Some(*severity), "it ends as what it was\n{}", self.shown);
                    self.known.remove(&key);
                } else if loses && self.random.u8(..8) == 0 {
                    missed = missed.with(sink);
                } else {
                    // A sink that knows it by its severity has to end it under the last.
                    let changed = knew.filter(|knew| knew != severity);
                    assert!(changed.is_none() || *was == changed, "{knew:?}\n{}", self.shown);
                    self.known.insert(key, *severity);
                }
            }
            if !missed.is_empty() {
                self.bench.all.missed(notice, missed, self.bench.at(self.second));
            }
        }
    }

    fn step(&mut self) {
        self.second += [0, 0, 1, 5, 20, 100, 400][self.random.usize(..7)];
        let (kind, label, lasts) = KINDS[self.random.usize(..KINDS.len())];
        let severity = Severity::ALL[self.random.usize(..3)];
        let hold = [0, 0, 0, 30][self.random.usize(..4)];
        let region = (label == "a").then_some("us");
        let one =
            Sighting { region, ..lasting(seen(kind, label, severity, lasts), severity, hold) };
        let ends = lasts == Lasts::UntilTold && self.random.bool();
        let what = if ends { "ends" } else { "is seen" };
        let second = self.second;
        _ = write!(self.shown, "\n{second} {kind} {label} {severity} {what}, hold {hold}");
        let now = self.now();
        if ends {
            let (notices, _) = self.bench.all.resolve(&one, now);
            self.tell(&notices, true);
        } else {
            self.bench.all.fire(&one, now);
        }
        if self.random.u8(..4) > 0 {
            let hurry = self.random.u8(..10) == 0;
            let (notices, _) = self.bench.all.due(now, hurry);
            self.tell(&notices, true);
        }
    }

    fn end(mut self) {
        for (kind, label, _) in KINDS.into_iter().filter(|(.., lasts)| *lasts == Lasts::UntilTold) {
            let one = seen(kind, label, INFO, Lasts::UntilTold);
            let (notices, _) = self.bench.all.resolve(&one, self.now());
            self.tell(&notices, false);
        }
        for _ in 0..100 {
            let Some(due) = self.bench.all.next_due() else {
                assert!(self.known.is_empty(), "{:?} isn't over\n{}", self.known, self.shown);
                return;
            };
            let (notices, _) = self.bench.all.due(due.max(self.now()), false);
            self.tell(&notices, false);
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
