//! What must hold in every interleaving.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::config::OpenCause;
use super::config::{CloseAt, Config, Recovery};
use super::shared_state::OpenCircuitCount;
use super::shared_state::{AtomicState, StateChange, StateSnapshot};
use super::state_machine::Admission;
use super::{CallResult, CircuitState, FailureRate, OpenDuration, OpenReason};
use crate::classify::Cause;
use crate::time::{self, Instant};

/// A circuit that its threads drive as the layer does.
struct Circuit {
    shared_state: AtomicState,
    config: Config,
    open_circuits: Arc<OpenCircuitCount>,
    now: Instant,
}

impl Circuit {
    /// It is open for no time at all, so that time stands still in every model.
    fn new(config: Config) -> Arc<Self> {
        let config =
            Config { open_for: OpenDuration::fixed(Duration::ZERO), ..config }.checked().unwrap();
        let (now, open_circuits) = (time::now(), Arc::new(OpenCircuitCount::new()));
        let random = fastrand::Rng::with_seed(0);
        let shared_state = AtomicState::new(&config, Arc::clone(&open_circuits), random, now);
        Arc::new(Self { shared_state, config, open_circuits, now })
    }

    /// One that has opened.
    fn open(config: Config) -> Arc<Self> {
        let circuit = Self::new(config);
        assert!(circuit.trip());
        circuit
    }

    /// A policy says that it must open; whether it did.
    fn trip(&self) -> bool {
        self.shared_state.trip(&self.config, 0, WHY, self.now).transition.is_some()
    }

    fn admit(&self) -> Option<(u32, bool)> {
        let admitted = match self.shared_state.passes_all() {
            Some(generation) => return Some((generation, false)),
            None => self.shared_state.admit(&self.config, self.now),
        };
        match admitted.admission {
            Admission::Pass { probe } => Some((admitted.generation, probe)),
            Admission::Reject { .. } => None,
        }
    }

    /// A call of this generation ends; whether that changed the state.
    fn end(&self, (generation, probe): (u32, bool), count: CallResult) -> bool {
        let StateChange { transition, .. } = if probe {
            self.shared_state.probed(&self.config, generation, (count, None), Some(WHY), self.now)
        } else if self
            .shared_state
            .count(&self.config, generation, (count, false), || self.now)
            .is_some()
        {
            self.shared_state.trip(&self.config, generation, WHY, self.now)
        } else {
            return false;
        };
        transition.is_some()
    }

    /// A call of this generation succeeds: the short way if nothing has failed, as the layer does.
    /// Whether that changed the state.
    fn succeed(&self, generation: u32) -> bool {
        !self.shared_state.succeed(generation, || self.now)
            && self.end((generation, false), CallResult::Success)
    }

    fn state(&self) -> CircuitState {
        self.shared_state.snapshot(&self.config).state
    }

    /// Whether it is counted as open is what its state says.
    fn assert_counted(&self) {
        let closed = matches!(self.state(), CircuitState::Closed | CircuitState::ForcedClosed);
        assert_eq!(self.open_circuits.is_any(), !closed);
    }
}

const WHY: OpenCause = OpenCause { reason: OpenReason::Consecutive, cause: Cause::Unknown };

fn consecutive(failures: u32) -> Config {
    let mut config = Config::default();
    config.counts.consecutive = Some(failures);
    config
}

fn probes(probes: u32, successes: u32) -> Config {
    let close_at = CloseAt::Successes(successes);
    Config { recovery: Recovery::HalfOpen { probes, close_at }, ..consecutive(1) }
}

/// Runs `f` on `threads` threads, and tells what each made of it.
fn on_threads<T: 'static>(
    circuit: &Arc<Circuit>,
    threads: usize,
    f: impl Fn(&Circuit, usize) -> T + Copy + 'static,
) -> Vec<T> {
    let others: Vec<_> = (1..threads)
        .map(|thread| {
            let circuit = Arc::clone(circuit);
            thread::spawn(move || f(&circuit, thread))
        })
        .collect();
    let mine = f(circuit, 0);
    std::iter::once(mine).chain(others.into_iter().map(|other| other.join().unwrap())).collect()
}

#[test]
fn no_failure_is_lost_and_it_opens_once() {
    loom::model(|| {
        let circuit = Circuit::new(consecutive(3));
        let opened = on_threads(&circuit, 3, |circuit, _| {
            // While it is closed it lets everybody through.
            circuit.admit().is_some_and(|permit| circuit.end(permit, CallResult::Failure))
        });
        assert_eq!(opened.into_iter().filter(|opened| *opened).count(), 1);
        assert_eq!(circuit.state(), CircuitState::Open);
        circuit.assert_counted();
    });
}

#[test]
fn concurrent_failures_open_for_longest_hint() {
    loom::model(|| {
        let circuit = Circuit::new(consecutive(3));
        assert!(!circuit.end((0, false), CallResult::Failure));
        let asked = Duration::from_secs(60);
        on_threads(&circuit, 2, move |circuit, thread| {
            let asked = (thread == 0).then_some(asked);
            circuit.shared_state.note(&circuit.config, 0, asked, circuit.now);
            circuit.end((0, false), CallResult::Failure);
        });
        let StateSnapshot { state, until, .. } = circuit.shared_state.snapshot(&circuit.config);
        assert_eq!((state, until), (CircuitState::Open, Some(circuit.now + asked)));
    });
}

#[test]
fn concurrent_success_is_counted_once() {
    loom::model(|| {
        let circuit = Circuit::new(consecutive(3));
        let counts = [CallResult::Failure, CallResult::Success, CallResult::Failure];
        on_threads(&circuit, 3, move |circuit, thread| circuit.end((0, false), counts[thread]));
        let counts = circuit.shared_state.snapshot(&circuit.config).counts;
        // None, one or two failures came after the success.
        assert!(counts.consecutive <= 2);
        assert_eq!(circuit.state(), CircuitState::Closed);
    });
}

#[test]
fn a_late_result_neither_opens_nor_closes() {
    loom::model(|| {
        let circuit = Circuit::new(Config { recovery: probes(1, 1).recovery, ..consecutive(2) });
        on_threads(&circuit, 2, |circuit, thread| {
            if thread == 0 {
                assert!(circuit.trip());
                let permit = circuit.admit().unwrap();
                assert!(permit.1);
                assert!(circuit.end(permit, CallResult::Success));
            } else {
                assert!(!circuit.end((0, false), CallResult::Failure));
            }
        });
        // Opened, half-open, closed; and the failure from before isn't counted.
        let snapshot = circuit.shared_state.snapshot(&circuit.config);
        assert_eq!((snapshot.state, snapshot.generation), (CircuitState::Closed, 3));
        assert_eq!(snapshot.counts.consecutive, 0);
        circuit.assert_counted();
    });
}

#[test]
fn a_late_probe_neither_opens_nor_closes() {
    loom::model(|| {
        let circuit = Circuit::open(probes(2, 2));
        let permits = [circuit.admit().unwrap(), circuit.admit().unwrap()];
        on_threads(&circuit, 2, move |circuit, thread| {
            if thread == 0 {
                assert!(circuit.end(permits[0], CallResult::Failure));
                let permit = circuit.admit().unwrap();
                assert!(!circuit.end(permit, CallResult::Success), "one success of two");
            } else {
                assert!(!circuit.end(permits[1], CallResult::Success));
            }
        });
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        circuit.assert_counted();
    });
}

#[test]
fn probes_concurrent_never_exceed_or_lose_slots() {
    loom::model(|| {
        let circuit = Circuit::open(probes(1, 1));
        let in_flight = Arc::new(AtomicUsize::new(0));
        let others: Vec<_> = (0..2)
            .map(|_| (Arc::clone(&circuit), Arc::clone(&in_flight)))
            .map(|(circuit, in_flight)| thread::spawn(move || probe(&circuit, &in_flight)))
            .collect();
        probe(&circuit, &in_flight);
        others.into_iter().for_each(|other| other.join().unwrap());
        // Its slot was given back, however often.
        let last = circuit.admit().expect("a slot");
        assert!(circuit.end(last, CallResult::Success));
        assert_eq!(circuit.state(), CircuitState::Closed);
    });

    fn probe(circuit: &Circuit, in_flight: &AtomicUsize) {
        if let Some(permit) = circuit.admit() {
            assert_eq!(in_flight.fetch_add(1, Ordering::SeqCst), 0);
            in_flight.fetch_sub(1, Ordering::SeqCst);
            circuit.end(permit, CallResult::Neutral);
        }
    }
}

#[test]
fn half_open_failed_probe_reopens() {
    loom::model(|| {
        let circuit = Circuit::open(probes(2, 2));
        let permits = [circuit.admit().unwrap(), circuit.admit().unwrap()];
        on_threads(&circuit, 2, move |circuit, thread| {
            circuit.end(permits[thread], [CallResult::Success, CallResult::Failure][thread]);
        });
        assert_eq!(circuit.state(), CircuitState::Open);
        circuit.assert_counted();
    });
}

#[test]
fn window_holds_only_results_of_its_generation() {
    loom::model(|| {
        let rate = FailureRate::over_calls(2).at(1.0);
        let circuit = Circuit::new(Config { rate: Some(rate), ..Config::default() });
        on_threads(&circuit, 3, |circuit, thread| {
            if thread == 2 {
                circuit.shared_state.reset(circuit.now);
            } else {
                circuit.end((0, false), CallResult::Failure);
            }
        });
        // Whether or not it opened before the reset, it is closed and has forgotten.
        let permit = circuit.admit().unwrap();
        assert!(!permit.1);
        assert!(!circuit.end(permit, CallResult::Failure));
        assert!(circuit.end(permit, CallResult::Failure), "two of two in this generation");
    });
}

#[test]
fn fast_success_is_ordered_before_failures_or_counted() {
    loom::model(|| {
        let circuit = Circuit::new(consecutive(2));
        on_threads(&circuit, 2, |circuit, thread| {
            if thread == 0 {
                assert!(!circuit.succeed(0));
            } else {
                circuit.end((0, false), CallResult::Failure);
                circuit.end((0, false), CallResult::Failure);
            }
        });
        // In a row, unless the success came between the two.
        let StateSnapshot { state, counts, .. } = circuit.shared_state.snapshot(&circuit.config);
        assert!(state == CircuitState::Open || counts.consecutive == 1);
        circuit.assert_counted();
    });
}

#[test]
fn fast_success_counts_only_in_its_generation() {
    loom::model(|| {
        let rate = FailureRate::over_calls(3).at(1.0).min_calls(2);
        let circuit = Circuit::new(Config { rate: Some(rate), ..Config::default() });
        on_threads(&circuit, 2, |circuit, thread| {
            if thread == 0 {
                assert!(!circuit.succeed(0));
            } else {
                circuit.shared_state.reset(circuit.now);
            }
        });
        let permit = circuit.admit().unwrap();
        assert!(!circuit.end(permit, CallResult::Failure));
        assert!(circuit.end(permit, CallResult::Failure), "two of two in this generation");
    });
}

#[test]
fn fast_success_is_counted_in_window() {
    loom::model(|| {
        let rate = FailureRate::over_calls(2).at(1.0);
        let circuit = Circuit::new(Config { rate: Some(rate), ..Config::default() });
        let opened = on_threads(&circuit, 2, |circuit, thread| {
            if thread == 0 {
                return circuit.succeed(0);
            }
            circuit.end((0, false), CallResult::Failure)
        });
        assert_eq!(opened, [false, false], "one of two");
        assert!(!circuit.succeed(0));
        assert!(!circuit.end((0, false), CallResult::Failure), "one of two");
        assert!(circuit.end((0, false), CallResult::Failure), "two of two");
    });
}

#[test]
fn a_window_opens_whoever_fills_it() {
    loom::model(|| {
        let rate = FailureRate::over_calls(2).at(0.5);
        let circuit = Circuit::new(Config { rate: Some(rate), ..Config::default() });
        let opened = on_threads(&circuit, 2, |circuit, thread| match thread {
            0 => circuit.succeed(0),
            _ => circuit.end((0, false), CallResult::Failure),
        });
        assert_eq!(opened.into_iter().filter(|opened| *opened).count(), 1);
        assert_eq!(circuit.state(), CircuitState::Open);
    });
}

#[test]
fn full_window_skipped_success_precedes_failures() {
    loom::model(|| {
        let rate = FailureRate::over_calls(2).at(1.0);
        let circuit = Circuit::new(Config { rate: Some(rate), ..Config::default() });
        assert!(!circuit.succeed(0) && !circuit.succeed(0));
        let opened = on_threads(&circuit, 2, |circuit, thread| {
            if thread == 0 {
                return circuit.succeed(0);
            }
            circuit.end((0, false), CallResult::Failure);
            circuit.end((0, false), CallResult::Failure)
        });
        // Two of two, unless the success came between them.
        let opens = || circuit.end((0, false), CallResult::Failure);
        assert!(opened[1] || opens(), "the window still slides");
    });
}

#[test]
fn no_failure_is_lost_at_the_end_of_a_ramp() {
    loom::model(|| {
        let ramp = Duration::from_secs(1);
        let config = Config { ramp, recovery: Recovery::Reset, ..consecutive(2) };
        let circuit = Circuit::open(config);
        let ramping = circuit.admit().unwrap();
        let closed = on_threads(&circuit, 2, move |circuit, thread| {
            if thread == 0 {
                // In the ramp and counted, or late.
                assert!(!circuit.end(ramping, CallResult::Failure));
                return None;
            }
            let later = circuit.now + Duration::from_secs(1);
            Some(circuit.shared_state.admit(&circuit.config, later).generation)
        });
        let StateSnapshot { state, counts, .. } = circuit.shared_state.snapshot(&circuit.config);
        assert_eq!(state, CircuitState::Closed);
        let closed = (closed[1].unwrap(), false);
        assert_eq!(circuit.end(closed, CallResult::Failure), counts.consecutive == 1);
        assert!(counts.consecutive == 1 || circuit.end(closed, CallResult::Failure));
        assert_eq!(circuit.state(), CircuitState::Open);
        circuit.assert_counted();
    });
}

#[test]
fn open_circuit_count_matches_states() {
    loom::model(|| {
        let circuit = Circuit::new(consecutive(1));
        on_threads(&circuit, 3, |circuit, thread| match thread {
            0 => _ = circuit.shared_state.force(true, WHY, circuit.now),
            1 => _ = circuit.shared_state.reset(circuit.now),
            _ => _ = circuit.end((0, false), CallResult::Failure),
        });
        circuit.assert_counted();
        // One that is forgotten counts no more.
        let open_circuits = Arc::clone(&circuit.open_circuits);
        drop(circuit);
        assert!(!open_circuits.is_any());
    });
}
