//! The state machine against a model of it that shares none of its representation:
//! a list of the probes of this round, and plain milliseconds.

use proptest::prelude::*;

use super::*;
use crate::circuit_breaker::config::CloseAt;
use crate::error::CircuitState;

/// The state of the model's circuit.
#[derive(Clone, Debug, PartialEq)]
enum ModelState {
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
    state: ModelState,
    /// The number of states entered. A call belongs to the state that admitted it.
    entered: usize,
    open_for: u64,
    hint_cap: u64,
    lease: u64,
    /// `None`: closes by time alone.
    half_open: Option<(usize, usize)>,
}

impl Model {
    fn enter(&mut self, state: ModelState) {
        self.state = state;
        self.entered += 1;
    }

    fn admit(&mut self, call: usize, now: u64) -> Result<bool, Option<u64>> {
        match self.state {
            ModelState::Open { until } if now < until => return Err(Some(until - now)),
            ModelState::Open { .. } if self.half_open.is_none() => self.enter(ModelState::Closed),
            ModelState::Open { .. } => {
                self.enter(ModelState::HalfOpen { probes: vec![], last: now });
            }
            _ => {}
        }
        let Some((most, _)) = self.half_open else {
            return Ok(false);
        };
        let ModelState::HalfOpen { probes, last } = &mut self.state else {
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
        self.enter(ModelState::HalfOpen { probes: vec![Probe::InFlight(call)], last: now });
        Ok(true)
    }

    fn open(&mut self, now: u64, asked: u64) {
        let open_for = self.open_for.max(asked.min(self.hint_cap));
        self.enter(ModelState::Open { until: now + open_for });
    }

    fn ended(&mut self, call: usize, entered: usize, count: CallResult, now: u64, asked: u64) {
        if entered != self.entered {
            return;
        }
        let ModelState::HalfOpen { probes, .. } = &mut self.state else {
            return;
        };
        let Some(at) = probes.iter().position(|probe| *probe == Probe::InFlight(call)) else {
            return;
        };
        match count {
            CallResult::Neutral => _ = probes.remove(at),
            CallResult::Failure => self.open(now, asked),
            CallResult::Success => {
                probes[at] = Probe::Succeeded;
                let enough = self.half_open.map_or(0, |(_, enough)| enough);
                if probes.iter().filter(|probe| **probe == Probe::Succeeded).count() >= enough {
                    self.enter(ModelState::Closed);
                }
            }
        }
    }

    fn state(&self) -> CircuitState {
        match self.state {
            ModelState::Closed => CircuitState::Closed,
            ModelState::Open { .. } => CircuitState::Open,
            ModelState::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Call,
    /// The call at this slot, among all that were ever let through, ends with this result.
    End(prop::sample::Index, CallResult, u64),
    /// A policy says that the call at this slot trips the circuit.
    Trip(prop::sample::Index, u64),
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let count = prop_oneof![
        4 => Just(CallResult::Success),
        2 => Just(CallResult::Neutral),
        1 => Just(CallResult::Failure),
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
    entered: usize,
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
        let config = Config {
            open_for: OpenDuration::fixed(Duration::from_millis(100)),
            hint_cap: Duration::from_millis(200),
            recovery,
            probe_lease: Duration::from_millis(lease),
            ..Config::default()
        }
        .checked()
        .unwrap();
        let start = time::now();
        let mut state_machine = StateMachine::new(start, random());
        let mut model =
            Model { state: ModelState::Closed, entered: 0, open_for: 100, hint_cap: 200, lease, half_open };
        let mut now = 0;
        let mut calls: Vec<Call> = Vec::new();

        for step in steps {
            let at = start + Duration::from_millis(now);
            let before = state_machine.state();
            let mut changed = None;
            match step {
                Step::Wait(wait) => now += wait,
                Step::Call => {
                    let expected = model.admit(calls.len(), now);
                    let (admission, transition) = state_machine.admit(&config, at);
                    changed = transition;
                    match (admission, expected) {
                        (Admission::Pass { probe }, Ok(expected)) => {
                            prop_assert_eq!(probe, expected);
                            let generation = state_machine.generation();
                            calls.push(Call { generation, probe, entered: model.entered, ended: false });
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
                        model.ended(number, call.entered, count, now, asked);
                        let hint = Some(Duration::from_millis(asked));
                        changed = state_machine.probed(&config, at, call.generation, count, hint);
                    }
                }
                Step::Trip(index, asked) if !calls.is_empty() => {
                    let call = &calls[index.index(calls.len())];
                    if !call.probe {
                        if call.entered == model.entered && model.state == ModelState::Closed {
                            model.open(now, asked);
                        }
                        let hint = Some(Duration::from_millis(asked));
                        changed = state_machine.trip(&config, at, call.generation, hint);
                    }
                }
                Step::Reset => {
                    model.enter(ModelState::Closed);
                    changed = state_machine.reset(at);
                }
                Step::End(..) | Step::Trip(..) => {}
            }
            prop_assert_eq!(state_machine.state(), model.state());
            // Every change of state is returned, and nothing else is.
            prop_assert_eq!(changed.is_some(), before != state_machine.state());
            if let Some(changed) = changed {
                prop_assert_eq!((changed.from, changed.to), (before, state_machine.state()));
            }
            if let ModelState::Open { until } = model.state {
                let seen = state_machine.until(&config).unwrap().saturating_duration_since(start);
                prop_assert_eq!(millis(seen), until);
            }
            // Never more probes at once, or succeeded, than allowed.
            if let State::HalfOpen { in_flight, succeeded, .. } = state_machine.state {
                prop_assert!(in_flight + succeeded <= config.probes());
                prop_assert!(succeeded < config.successes());
            }
        }
    }
}

#[test]
fn generations_wrap() {
    let config = Config::default().checked().unwrap();
    let now = time::now();
    let mut state_machine =
        StateMachine { generation: GENERATIONS - 1, ..StateMachine::new(now, random()) };
    state_machine.trip(&config, now, GENERATIONS - 1, None).unwrap();
    assert_eq!(state_machine.generation(), 0);
    assert_eq!(state_machine.state(), CircuitState::Open);
}

#[test]
fn the_most_probes_do_not_overflow() {
    let most = u32::MAX;
    let recovery = Recovery::HalfOpen { probes: most, close_at: CloseAt::Successes(most) };
    let config = Config { recovery, ..Config::default() }.checked().unwrap();
    let now = time::now();
    let (in_flight, succeeded, failed) = (1, u32::MAX - 2, 0);
    let state = State::HalfOpen { in_flight, succeeded, failed, last_admitted: now };
    let mut state_machine = StateMachine { state, ..StateMachine::new(now, random()) };
    assert_eq!(state_machine.admit(&config, now).0, Admission::Pass { probe: true });
    assert_eq!(state_machine.admit(&config, now).0, Admission::Reject { until: None });
    assert!(state_machine.probed(&config, now, 0, CallResult::Success, None).is_none());
    assert!(state_machine.probed(&config, now, 0, CallResult::Success, None).is_some());
}

const SECOND: Duration = Duration::from_secs(1);

/// A state machine to which the test reports failures, at a time that it moves by hand.
struct Driven {
    config: Config,
    state_machine: StateMachine,
    now: Instant,
}

impl Driven {
    fn new(config: Config) -> Self {
        let now = time::now();
        Self {
            config: config.checked().unwrap(),
            state_machine: StateMachine::new(now, random()),
            now,
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn passes(&mut self) -> bool {
        matches!(self.state_machine.admit(&self.config, self.now).0, Admission::Pass { .. })
    }

    /// Trips it, and returns for how long.
    fn trip(&mut self) -> Duration {
        let generation = self.state_machine.generation();
        self.state_machine.trip(&self.config, self.now, generation, None).unwrap().open_for
    }

    /// Lets a probe through that ends with `count`. If that opens the circuit, returns for how
    /// long.
    fn probe(&mut self, count: CallResult) -> Option<Duration> {
        assert!(self.passes());
        let generation = self.state_machine.generation();
        let changed = self.state_machine.probed(&self.config, self.now, generation, count, None);
        changed.filter(|changed| changed.to == CircuitState::Open).map(|changed| changed.open_for)
    }
}

#[test]
fn failed_probes_double_duration_until_healthy() {
    let open_for = OpenDuration::doubling(10 * SECOND).max(40 * SECOND).jitter(0.0);
    let mut circuit = Driven::new(Config { open_for, ..Config::default() });
    assert_eq!(circuit.trip(), 10 * SECOND);
    for seconds in [20, 40, 40, 40] {
        let held = circuit.state_machine.until(&circuit.config).unwrap() - circuit.now;
        circuit.wait(held);
        assert_eq!(circuit.probe(CallResult::Failure), Some(seconds * SECOND));
    }
    // No time spent closed takes no doubling back.
    circuit.wait(40 * SECOND);
    assert_eq!(circuit.probe(CallResult::Success), None);
    assert_eq!(circuit.trip(), 40 * SECOND);
    // Being closed as long as it was open takes one doubling back; twice as long, both.
    circuit.wait(40 * SECOND);
    assert_eq!(circuit.probe(CallResult::Success), None);
    circuit.wait(40 * SECOND);
    assert_eq!(circuit.trip(), 20 * SECOND);
    circuit.wait(20 * SECOND);
    assert_eq!(circuit.probe(CallResult::Success), None);
    circuit.wait(60 * SECOND);
    assert_eq!(circuit.trip(), 10 * SECOND);
    // A reset forgets.
    circuit.wait(10 * SECOND);
    assert_eq!(circuit.probe(CallResult::Failure), Some(20 * SECOND));
    circuit.state_machine.reset(circuit.now);
    assert_eq!(circuit.trip(), 10 * SECOND);
}

#[test]
fn ramp_up_share_grows_until_closed() {
    let mut circuit = Driven::new(Config { ramp: 10 * SECOND, ..Config::default() });
    circuit.trip();
    circuit.wait(30 * SECOND);
    assert_eq!(circuit.probe(CallResult::Success), None);
    assert_eq!(circuit.state_machine.state(), CircuitState::RampUp);
    for tenth in 1..10 {
        circuit.wait(SECOND);
        let passed = (0..1_000).filter(|_| circuit.passes()).count();
        // The first call's credit, and what is left of the last second's.
        assert!((tenth * 100..=tenth * 100 + 2).contains(&passed), "{passed} at {tenth}");
    }
    circuit.wait(SECOND);
    assert!((0..1_000).all(|_| circuit.passes()));
    assert_eq!(circuit.state_machine.state(), CircuitState::Closed);
}

#[test]
fn ramp_up_reopens_for_longer() {
    let open_for = OpenDuration::doubling(10 * SECOND).jitter(0.0);
    let mut circuit = Driven::new(Config {
        open_for,
        ramp: 10 * SECOND,
        recovery: Recovery::Reset,
        ..Config::default()
    });
    assert_eq!(circuit.trip(), 10 * SECOND);
    circuit.wait(10 * SECOND);
    assert!(circuit.passes());
    assert_eq!(circuit.state_machine.state(), CircuitState::RampUp);
    assert_eq!(circuit.trip(), 20 * SECOND);
}

#[test]
fn a_rate_decides_as_soon_as_it_can() {
    use CallResult::{Failure, Neutral, Success};

    let recovery = |rate| Recovery::HalfOpen { probes: 10, close_at: CloseAt::Rate(rate) };
    let run = |rate: f64, counts: &[CallResult]| {
        let mut circuit = Driven::new(Config { recovery: recovery(rate), ..Config::default() });
        circuit.trip();
        circuit.wait(30 * SECOND);
        for (index, count) in counts.iter().enumerate() {
            assert!(circuit.passes());
            assert_eq!(circuit.state_machine.state(), CircuitState::HalfOpen, "at {index}");
            let generation = circuit.state_machine.generation();
            circuit.state_machine.probed(&circuit.config, circuit.now, generation, *count, None);
        }
        circuit.state_machine.state()
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
        let mut circuit = Driven::new(Config::default());
        circuit.trip();
        assert!(circuit.state_machine.force(open, circuit.now).is_some());
        assert!(circuit.state_machine.force(open, circuit.now).is_none(), "no change");
        circuit.wait(3_600 * SECOND);
        let generation = circuit.state_machine.generation();
        let trip = circuit.state_machine.trip(&circuit.config, circuit.now, generation, None);
        assert_eq!((circuit.passes(), trip), (!open, None));
        assert!(circuit.state_machine.reset(circuit.now).is_some());
        assert!(circuit.passes());
    }
}
