//! What must hold in every interleaving.

use loom::sync::Arc;
use loom::thread;

use super::Quota;
use super::fast_path::{Lend, StateLock};
use super::meter::{Pace, Paced};

/// LimiterState that are a paced quota alone, and lend it unless somebody waits.
struct LimiterState {
    paced: Paced,
    waiting: bool,
}

impl Lend for LimiterState {
    fn loan(&self) -> Option<&Paced> {
        (!self.waiting).then_some(&self.paced)
    }

    fn take_back(&mut self, arrival: u64) {
        self.paced.arrival = arrival;
    }
}

/// Time stands still in every model.
const NOW: u64 = 1_000_000_000;

/// One unit a second, and so many at once.
fn state_lock(burst: u32) -> Arc<StateLock<LimiterState>> {
    let paced = Paced::since(0, Pace::new(&Quota::per_second(1), burst));
    Arc::new(StateLock::new(LimiterState { paced, waiting: false }))
}

/// A call passes by the fast_path or by the state: its mark.
fn pass(state_lock: &StateLock<LimiterState>) -> Option<u64> {
    let fast = state_lock.fast_path.as_ref().and_then(|fast_path| fast_path.pass(NOW, 1));
    fast.map(|fast_permit| fast_permit.mark).or_else(|| {
        let mut state = state_lock.state();
        state.paced.admit(NOW, 0, 1).ok()?;
        Some(state.paced.send(NOW, 1))
    })
}

/// Runs each on a thread of its own, the first on this one, and tells what they made of it.
fn on_threads<T: 'static, const N: usize>(
    state_lock: &Arc<StateLock<LimiterState>>,
    threads: [fn(&StateLock<LimiterState>) -> T; N],
) -> Vec<T> {
    let others: Vec<_> = threads[1..]
        .iter()
        .map(|other| {
            let (state_lock, other) = (Arc::clone(state_lock), *other);
            thread::spawn(move || other(&state_lock))
        })
        .collect();
    let mine = threads[0](state_lock);
    std::iter::once(mine).chain(others.into_iter().map(|other| other.join().unwrap())).collect()
}

#[test]
fn no_unit_is_lost_or_won_between_the_fast_path_and_the_state() {
    loom::model(|| {
        let state_lock = state_lock(2);
        let calls = |state_lock: &StateLock<LimiterState>| usize::from(pass(state_lock).is_some());
        let looks = |state_lock: &StateLock<LimiterState>| {
            // Somebody who looks at the state, and takes a unit in hand meanwhile.
            let mut state = state_lock.state();
            let taken = state.paced.admit(NOW, 0, 1).is_ok();
            if taken {
                state.paced.send(NOW, 1);
            }
            usize::from(taken)
        };
        let passed = on_threads(&state_lock, [calls, calls, looks]);
        assert_eq!(passed.iter().sum::<usize>(), 2);
        assert_eq!(state_lock.state().paced.used(NOW), 2);
    });
}

/// A call that never leaves.
fn refused(state_lock: &StateLock<LimiterState>) {
    if let Some(mark) = pass(state_lock) {
        state_lock.state().paced.refund(NOW, 1, NOW, Some(mark));
    }
}

#[test]
fn what_is_refunded_beside_other_calls_is_no_more_than_was_taken() {
    loom::model(|| {
        let state_lock = state_lock(2);
        let calls = |state_lock: &StateLock<LimiterState>| {
            pass(state_lock).expect("there is one for each");
        };
        on_threads(&state_lock, [refused, calls]);
        // At one moment nothing is replenished, so all of it came back.
        assert_eq!(state_lock.state().paced.used(NOW), 1);
        assert!(pass(&state_lock).is_some() && pass(&state_lock).is_none());
    });
}

#[test]
fn what_is_refunded_beside_another_that_is_comes_back_whole() {
    loom::model(|| {
        let state_lock = state_lock(2);
        on_threads(&state_lock, [refused, refused]);
        assert_eq!(state_lock.state().paced.used(NOW), 0);
    });
}

#[test]
fn none_passes_by_the_fast_path_while_a_caller_waits() {
    loom::model(|| {
        let state_lock = state_lock(3);
        let waits = |state_lock: &StateLock<LimiterState>| {
            state_lock.state().waiting = true;
            let passed = state_lock
                .fast_path
                .as_ref()
                .is_some_and(|fast_path| fast_path.pass(NOW, 1).is_some());
            state_lock.state().waiting = false;
            assert!(!passed);
        };
        let calls = |state_lock: &StateLock<LimiterState>| _ = pass(state_lock);
        on_threads(&state_lock, [waits, calls]);
        assert_eq!(state_lock.state().paced.used(NOW), 1);
    });
}
