//! Invariants of every interleaving.

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;

use super::fast_path::{Lend, LendingMutex};
use super::meter::{Pace, PacedMeter};

/// A limiter state with one paced quota, which it lends unless a call waits.
struct LimiterState {
    paced: PacedMeter,
    waiting: bool,
}

impl Lend for LimiterState {
    fn lendable(&self) -> Option<&PacedMeter> {
        (!self.waiting).then_some(&self.paced)
    }

    fn set_arrival(&mut self, arrival: u64) {
        self.paced.arrival = arrival;
    }
}

/// Time stands still in every model.
const NOW: u64 = 1_000_000_000;

/// Returns the state of a quota of one unit a second, with this burst.
fn mutex(burst: u32) -> Arc<LendingMutex<LimiterState>> {
    let paced = PacedMeter::new(0, Pace::new(1, Duration::from_secs(1), burst));
    Arc::new(LendingMutex::new(LimiterState { paced, waiting: false }))
}

/// Sends a call by the fast path or by the state. Returns its mark.
fn send(mutex: &LendingMutex<LimiterState>) -> Option<u64> {
    let fast = mutex.fast_path.as_ref().and_then(|fast_path| fast_path.try_send(NOW, 1));
    fast.map(|charge| charge.mark).or_else(|| {
        let mut state = mutex.lock();
        state.paced.admit(NOW, 0, 1).ok()?;
        Some(state.paced.send(NOW, 1))
    })
}

/// Runs the first function on this thread and each other on its own thread. Returns their results.
fn on_threads<T: 'static, const N: usize>(
    mutex: &Arc<LendingMutex<LimiterState>>,
    threads: [fn(&LendingMutex<LimiterState>) -> T; N],
) -> Vec<T> {
    let others: Vec<_> = threads[1..]
        .iter()
        .map(|other| {
            let (mutex, other) = (Arc::clone(mutex), *other);
            thread::spawn(move || other(&mutex))
        })
        .collect();
    let mine = threads[0](mutex);
    std::iter::once(mine).chain(others.into_iter().map(|other| other.join().unwrap())).collect()
}

#[test]
fn fast_path_and_state_send_each_unit_once() {
    loom::model(|| {
        let mutex = mutex(2);
        let calls = |mutex: &LendingMutex<LimiterState>| usize::from(send(mutex).is_some());
        let looks = |mutex: &LendingMutex<LimiterState>| {
            // Locks the state, and sends a unit meanwhile.
            let mut state = mutex.lock();
            let taken = state.paced.admit(NOW, 0, 1).is_ok();
            if taken {
                state.paced.send(NOW, 1);
            }
            usize::from(taken)
        };
        let sent = on_threads(&mutex, [calls, calls, looks]);
        assert_eq!(sent.iter().sum::<usize>(), 2);
        assert_eq!(mutex.lock().paced.used(NOW), 2);
    });
}

/// Sends and refunds a call.
fn refunded(mutex: &LendingMutex<LimiterState>) {
    if let Some(mark) = send(mutex) {
        mutex.lock().paced.refund(NOW, 1, NOW, Some(mark));
    }
}

#[test]
fn refund_beside_other_calls_is_its_charge() {
    loom::model(|| {
        let mutex = mutex(2);
        let calls = |mutex: &LendingMutex<LimiterState>| {
            send(mutex).expect("the burst has a unit for each call");
        };
        on_threads(&mutex, [refunded, calls]);
        // Nothing is replenished while time stands still, so the whole charge is refunded.
        assert_eq!(mutex.lock().paced.used(NOW), 1);
        assert!(send(&mutex).is_some() && send(&mutex).is_none());
    });
}

#[test]
fn refund_beside_another_refund_is_complete() {
    loom::model(|| {
        let mutex = mutex(2);
        on_threads(&mutex, [refunded, refunded]);
        assert_eq!(mutex.lock().paced.used(NOW), 0);
    });
}

#[test]
fn fast_path_sends_nothing_while_a_call_waits() {
    loom::model(|| {
        let mutex = mutex(3);
        let waits = |mutex: &LendingMutex<LimiterState>| {
            mutex.lock().waiting = true;
            let passed = mutex
                .fast_path
                .as_ref()
                .is_some_and(|fast_path| fast_path.try_send(NOW, 1).is_some());
            mutex.lock().waiting = false;
            assert!(!passed);
        };
        let calls = |mutex: &LendingMutex<LimiterState>| _ = send(mutex);
        on_threads(&mutex, [waits, calls]);
        assert_eq!(mutex.lock().paced.used(NOW), 1);
    });
}
