//! The machine against a model of it that shares none of its representation:
//! a list of the probes of this round, and plain milliseconds.

use proptest::prelude::*;

use super::*;
use crate::circuit_breaker::rules::CloseAt;
use crate::error::CircuitState;

/// The state of the model's circuit.
#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Closed,
    Open {
        until: u64,
    },
    /// The probes of this round, and when the last of them was let through.
    HalfOpen {
        probes: Vec<Probe>,
        last: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Probe {
    InFlight(usize),
    Succeeded,
}

struct Model {
    phase: Phase,
    /// How many phases have begun. A call belongs to the phase that let it through.
    begun: usize,
    open_for: u64,
    hint_cap: u64,
    lease: u64,
    /// `None`: closes by time alone.
    half_open: Option<(usize, usize)>,
}

impl Model {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.begun += 1;
    }

    fn admit(&mut self, call: usize, now: u64) -> Result<bool, Option<u64>> {
        match self.phase {
            Phase::Open { until } if now < until => return Err(Some(until - now)),
            Phase::Open { .. } if self.half_open.is_none() => self.enter(Phase::Closed),
            Phase::Open { .. } => self.enter(Phase::HalfOpen { probes: vec![], last: now }),
            _ => {}
        }
        let Some((most, _)) = self.half_open else {
            return Ok(false);
        };
        let Phase::HalfOpen { probes, last } = &mut self.phase else {
            return Ok(false);
        };
        if probes.len() < most {
            probes.push(Probe::InFlight(call));
            *last = now;
            return Ok(true);
        }
        if now < *last + self.lease {
            return Err(None);
        }
        self.enter(Phase::HalfOpen { probes: vec![Probe::InFlight(call)], last: now });
        Ok(true)
    }

    fn open(&mut self, now: u64, asked: u64) {
        let open_for = self.open_for.max(asked.min(self.hint_cap));
        self.enter(Phase::Open { until: now + open_for });
    }

    fn ended(&mut self, call: usize, begun: usize, count: Count, now: u64, asked: u64) {
        if begun != self.begun {
            return;
        }
        let Phase::HalfOpen { probes, .. } = &mut self.phase else {
            return;
        };
        let Some(at) = probes.iter().position(|probe| *probe == Probe::InFlight(call)) else {
            return;
        };
        match count {
            Count::Neutral => _ = probes.remove(at),
            Count::Failure => self.open(now, asked),
            Count::Success => {
                probes[at] = Probe::Succeeded;
                let enough = self.half_open.map_or(0, |(_, enough)| enough);
                if probes.iter().filter(|probe| **probe == Probe::Succeeded).count() >= enough {
                    self.enter(Phase::Closed);
                }
            }
        }
    }

    fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed => CircuitState::Closed,
            Phase::Open { .. } => CircuitState::Open,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Call,
    /// The call at this place, among all that were ever let through, ends with this result.
    End(prop::sample::Index, Count, u64),
    /// A policy says that the call at this place trips the circuit.
    Trip(prop::sample::Index, u64),
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let count = prop_oneof![
        4 => Just(Count::Success),
        2 => Just(Count::Neutral),
        1 => Just(Count::Failure),
    ];
    let step = prop_oneof![
        3 => (0_u64..150).prop_map(Step::Wait),
        6 => Just(Step::Call),
        6 => (any::<prop::sample::Index>(), count, 0_u64..300)
            .prop_map(|(call, count, asked)| Step::End(call, count, asked)),
        2 => (any::<prop::sample::Index>(), 0_u64..300)
            .prop_map(|(call, asked)| Step::Trip(call, asked)),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 0..120)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

fn random() -> fastrand::Rng {
    fastrand::Rng::with_seed(1)
}

struct Call {
    generation: u32,
    probe: bool,
    begun: usize,
    ended: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_machine_does_what_its_model_does(
        steps in steps(),
        half_open in prop::option::of((1_usize..4, 1_usize..4)),
        lease in 1_u64..200,
    ) {
        let half_open = half_open.map(|(probes, successes)| (probes.max(successes), successes));
        let recovery = match half_open {
            None => Recovery::Reset,
            Some((probes, successes)) => Recovery::HalfOpen {
                probes: u32::try_from(probes).unwrap(),
                close_at: CloseAt::Successes(u32::try_from(successes).unwrap()),
            },
        };
        let rules = Rules {
            open_for: OpenFor::fixed(Duration::from_millis(100)),
            hint_cap: Duration::from_millis(200),
            recovery,
            probe_lease: Duration::from_millis(lease),
            ..Rules::default()
        }
        .checked()
        .unwrap();
        let start = time::now();
        let mut machine = Machine::new(start, random());
        let mut model =
            Model { phase: Phase::Closed, begun: 0, open_for: 100, hint_cap: 200, lease, half_open };
        let mut now = 0;
        let mut calls: Vec<Call> = Vec::new();

        for step in steps {
            let at = start + Duration::from_millis(now);
            let before = machine.state();
            let mut told = None;
            match step {
                Step::Wait(wait) => now += wait,
                Step::Call => {
                    let expected = model.admit(calls.len(), now);
                    let (admission, transition) = machine.admit(&rules, at);
                    told = transition;
                    match (admission, expected) {
                        (Admission::Pass { probe }, Ok(expected)) => {
                            prop_assert_eq!(probe, expected);
                            let generation = machine.generation();
                            calls.push(Call { generation, probe, begun: model.begun, ended: false });
                        }
                        (Admission::Reject { until }, Err(expected)) => {
                            prop_assert_eq!(until.map(|until| millis(until - at)), expected);
                        }
                        (seen, expected) => prop_assert!(false, "{:?}, not {:?}", seen, expected),
                    }
                }
                Step::End(index, count, asked) if !calls.is_empty() => {
                    let number = index.index(calls.len());
                    let call = &mut calls[number];
                    if call.probe && !std::mem::replace(&mut call.ended, true) {
                        model.ended(number, call.begun, count, now, asked);
                        let hint = Some(Duration::from_millis(asked));
                        told = machine.probed(&rules, at, call.generation, count, hint);
                    }
                }
                Step::Trip(index, asked) if !calls.is_empty() => {
                    let call = &calls[index.index(calls.len())];
                    if !call.probe {
                        if call.begun == model.begun && model.phase == Phase::Closed {
                            model.open(now, asked);
                        }
                        let hint = Some(Duration::from_millis(asked));
                        told = machine.trip(&rules, at, call.generation, hint);
                    }
                }
                Step::Reset => {
                    model.enter(Phase::Closed);
                    told = machine.reset(at);
                }
                Step::End(..) | Step::Trip(..) => {}
            }
            prop_assert_eq!(machine.state(), model.state());
            // Every change of state is told, and nothing else is.
            prop_assert_eq!(told.is_some(), before != machine.state());
            if let Some(told) = told {
                prop_assert_eq!((told.from, told.to), (before, machine.state()));
            }
            if let Phase::Open { until } = model.phase {
                let seen = machine.until(&rules).unwrap().saturating_duration_since(start);
                prop_assert_eq!(millis(seen), until);
            }
            // Never more probes at once, or succeeded, than allowed.
            if let State::HalfOpen { in_flight, succeeded, .. } = machine.state {
                prop_assert!(in_flight + succeeded <= rules.probes());
                prop_assert!(succeeded < rules.successes());
            }
        }
    }
}

#[test]
fn generations_wrap() {
    let rules = Rules::default().checked().unwrap();
    let now = time::now();
    let mut machine = Machine { generation: GENERATIONS - 1, ..Machine::new(now, random()) };
    machine.trip(&rules, now, GENERATIONS - 1, None).unwrap();
    assert_eq!(machine.generation(), 0);
    assert_eq!(machine.state(), CircuitState::Open);
}

#[test]
fn the_most_probes_do_not_overflow() {
    let most = u32::MAX;
    let recovery = Recovery::HalfOpen { probes: most, close_at: CloseAt::Successes(most) };
    let rules = Rules { recovery, ..Rules::default() }.checked().unwrap();
    let now = time::now();
    let (in_flight, succeeded, failed) = (1, u32::MAX - 2, 0);
    let state = State::HalfOpen { in_flight, succeeded, failed, last_admitted: now };
    let mut machine = Machine { state, ..Machine::new(now, random()) };
    assert_eq!(machine.admit(&rules, now).0, Admission::Pass { probe: true });
    assert_eq!(machine.admit(&rules, now).0, Admission::Reject { until: None });
    assert!(machine.probed(&rules, now, 0, Count::Success, None).is_none());
    assert!(machine.probed(&rules, now, 0, Count::Success, None).is_some());
}

const SECOND: Duration = Duration::from_secs(1);

/// A machine to which the test reports failures, at a time that it moves by hand.
struct Driven {
    rules: Rules,
    machine: Machine,
    now: Instant,
}

impl Driven {
    fn new(rules: Rules) -> Self {
        let now = time::now();
        Self { rules: rules.checked().unwrap(), machine: Machine::new(now, random()), now }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn passes(&mut self) -> bool {
        matches!(self.machine.admit(&self.rules, self.now).0, Admission::Pass { .. })
    }

    /// Trips it, and returns for how long.
    fn trip(&mut self) -> Duration {
        let generation = self.machine.generation();
        self.machine.trip(&self.rules, self.now, generation, None).unwrap().open_for
    }

    /// Lets a probe through that ends with `count`. If that opens the circuit, returns for how
    /// long.
    fn probe(&mut self, count: Count) -> Option<Duration> {
        assert!(self.passes());
        let generation = self.machine.generation();
        let told = self.machine.probed(&self.rules, self.now, generation, count, None);
        told.filter(|told| told.to == CircuitState::Open).map(|told| told.open_for)
    }
}

#[test]
fn failed_probes_double_the_time_and_health_takes_that_back() {
    let open_for = OpenFor::doubling(10 * SECOND).max(40 * SECOND).jitter(0.0);
    let mut circuit = Driven::new(Rules { open_for, ..Rules::default() });
    assert_eq!(circuit.trip(), 10 * SECOND);
    for seconds in [20, 40, 40, 40] {
        let held = circuit.machine.until(&circuit.rules).unwrap() - circuit.now;
        circuit.wait(held);
        assert_eq!(circuit.probe(Count::Failure), Some(seconds * SECOND));
    }
    // No time spent closed takes no doubling back.
    circuit.wait(40 * SECOND);
    assert_eq!(circuit.probe(Count::Success), None);
    assert_eq!(circuit.trip(), 40 * SECOND);
    // Being closed as long as it was open takes one doubling back; twice as long, both.
    circuit.wait(40 * SECOND);
    assert_eq!(circuit.probe(Count::Success), None);
    circuit.wait(40 * SECOND);
    assert_eq!(circuit.trip(), 20 * SECOND);
    circuit.wait(20 * SECOND);
    assert_eq!(circuit.probe(Count::Success), None);
    circuit.wait(60 * SECOND);
    assert_eq!(circuit.trip(), 10 * SECOND);
    // A reset forgets.
    circuit.wait(10 * SECOND);
    assert_eq!(circuit.probe(Count::Failure), Some(20 * SECOND));
    circuit.machine.reset(circuit.now);
    assert_eq!(circuit.trip(), 10 * SECOND);
}

#[test]
fn a_ramp_lets_a_growing_share_through_and_then_all() {
    let mut circuit = Driven::new(Rules { ramp: 10 * SECOND, ..Rules::default() });
    circuit.trip();
    circuit.wait(30 * SECOND);
    assert_eq!(circuit.probe(Count::Success), None);
    assert_eq!(circuit.machine.state(), CircuitState::RampUp);
    for tenth in 1..10 {
        circuit.wait(SECOND);
        let passed = (0..1_000).filter(|_| circuit.passes()).count();
        // The first call's credit, and what is left of the last second's.
        assert!((tenth * 100..=tenth * 100 + 2).contains(&passed), "{passed} at {tenth}");
    }
    circuit.wait(SECOND);
    assert!((0..1_000).all(|_| circuit.passes()));
    assert_eq!(circuit.machine.state(), CircuitState::Closed);
}

#[test]
fn a_recovering_circuit_opens_again_for_longer() {
    let open_for = OpenFor::doubling(10 * SECOND).jitter(0.0);
    let mut circuit = Driven::new(Rules {
        open_for,
        ramp: 10 * SECOND,
        recovery: Recovery::Reset,
        ..Rules::default()
    });
    assert_eq!(circuit.trip(), 10 * SECOND);
    circuit.wait(10 * SECOND);
    assert!(circuit.passes());
    assert_eq!(circuit.machine.state(), CircuitState::RampUp);
    assert_eq!(circuit.trip(), 20 * SECOND);
}

#[test]
fn a_rate_decides_as_soon_as_it_can() {
    use Count::{Failure, Neutral, Success};

    let recovery = |rate| Recovery::HalfOpen { probes: 10, close_at: CloseAt::Rate(rate) };
    let run = |rate: f64, counts: &[Count]| {
        let mut circuit = Driven::new(Rules { recovery: recovery(rate), ..Rules::default() });
        circuit.trip();
        circuit.wait(30 * SECOND);
        for (index, count) in counts.iter().enumerate() {
            assert!(circuit.passes());
            assert_eq!(circuit.machine.state(), CircuitState::HalfOpen, "at {index}");
            let generation = circuit.machine.generation();
            circuit.machine.probed(&circuit.rules, circuit.now, generation, *count, None);
        }
        circuit.machine.state()
    };
    assert_eq!(run(0.7, &[[Failure; 3].as_slice(), &[Success; 7]].concat()), CircuitState::Closed);
    assert_eq!(run(0.7, &[Success; 7]), CircuitState::Closed);
    assert_eq!(run(0.7, &[[Success; 6].as_slice(), &[Failure; 4]].concat()), CircuitState::Open);
    assert_eq!(run(0.7, &[Failure; 4]), CircuitState::Open);
    assert_eq!(run(1.0, &[Failure]), CircuitState::Open);
    assert_eq!(run(0.01, &[[Failure; 9].as_slice(), &[Success]].concat()), CircuitState::Closed);
    assert_eq!(run(0.7, &[[Neutral; 30].as_slice(), &[Success; 7]].concat()), CircuitState::Closed);
}

#[test]
fn what_is_forced_stays_so_until_a_reset() {
    for open in [true, false] {
        let mut circuit = Driven::new(Rules::default());
        circuit.trip();
        assert!(circuit.machine.force(open, circuit.now).is_some());
        assert!(circuit.machine.force(open, circuit.now).is_none(), "no change");
        circuit.wait(3_600 * SECOND);
        let generation = circuit.machine.generation();
        let trip = circuit.machine.trip(&circuit.rules, circuit.now, generation, None);
        assert_eq!((circuit.passes(), trip), (!open, None));
        assert!(circuit.machine.reset(circuit.now).is_some());
        assert!(circuit.passes());
    }
}
