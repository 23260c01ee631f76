//! The machine against a model of it that shares none of its representation:
//! a list of the probes of this round, and plain milliseconds.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

/// What a model's circuit is.
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
    /// How often the phase has begun anew: a call belongs to one beginning.
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
    /// The call at this place among those that were ever let through ends so.
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
                probes: NonZeroU32::new(u32::try_from(probes).unwrap()).unwrap(),
                successes: NonZeroU32::new(u32::try_from(successes).unwrap()).unwrap(),
            },
        };
        let rules = Rules {
            open_for: Duration::from_millis(100),
            hint_cap: Duration::from_millis(200),
            recovery,
            probe_lease: Duration::from_millis(lease),
            ..Rules::default()
        }
        .checked()
        .unwrap();
        let start = time::now();
        let mut machine = Machine::new(start);
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
                        (Admission::Reject { retry_after }, Err(expected)) => {
                            prop_assert_eq!(retry_after.map(millis), expected);
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
                let seen = machine.until().unwrap().saturating_duration_since(start);
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
    let mut machine = Machine { state: State::Closed, generation: GENERATIONS - 1, since: now };
    machine.trip(&rules, now, GENERATIONS - 1, None).unwrap();
    assert_eq!(machine.generation(), 0);
    assert_eq!(machine.state(), CircuitState::Open);
}

#[test]
fn the_most_probes_do_not_overflow() {
    let most = NonZeroU32::MAX;
    let recovery = Recovery::HalfOpen { probes: most, successes: most };
    let rules = Rules { recovery, ..Rules::default() }.checked().unwrap();
    let now = time::now();
    let state = State::HalfOpen { in_flight: 1, succeeded: u32::MAX - 2, last_admitted: now };
    let mut machine = Machine { state, generation: 0, since: now };
    assert_eq!(machine.admit(&rules, now).0, Admission::Pass { probe: true });
    assert_eq!(machine.admit(&rules, now).0, Admission::Reject { retry_after: None });
    assert!(machine.probed(&rules, now, 0, Count::Success, None).is_none());
    assert!(machine.probed(&rules, now, 0, Count::Success, None).is_some());
}
