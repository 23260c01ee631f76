use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};

use super::meter::{Gcra, Pace, PacedMeter, set_arrival};
use crate::sync::{AtomicU64, CachePadded, Mutex, MutexGuard, Ordering};

/// The lock-free path of a limiter whose only decision is one number: the theoretical arrival time
/// of its only quota, a paced one.
///
/// The state lends that number to an atomic, on which governor then decides. A thread that locks the
/// state first takes the number back, in one swap. The swap leaves a time that is so late that
/// governor rejects every call; those calls lock the state. So a call passes by the atomic or by the
/// state, never by both.
#[derive(Debug)]
pub(super) struct FastPath {
    pace: Pace,
    gcra: Gcra<AtomicArrival>,
    arrival: AtomicArrival,
}

/// What is needed to refund units that passed by the fast path.
#[derive(Clone, Copy, Debug)]
pub(super) struct FastCharge {
    pub(super) at: u64,
    /// See [`PacedMeter::refund`].
    pub(super) mark: u64,
}

/// The number that is lent, as governor's state store.
#[derive(Clone, Debug)]
struct AtomicArrival(Arc<Lent>);

#[derive(Debug)]
struct Lent {
    /// The theoretical arrival time, or [`NOT_LENT`]. Every call writes it. Most calls only read the
    /// other fields, so it has a cache line of its own.
    arrival: CachePadded<AtomicU64>,
    /// [`PacedMeter::refunded`], which makes a mark of an arrival time.
    refunded: AtomicU64,
}

/// Later than any time at which a call passes, and small enough for governor to add to it without
/// overflow.
const NOT_LENT: u64 = 1 << 63;

impl FastPath {
    fn new(pace: Pace) -> Self {
        let arrival = CachePadded(AtomicU64::new(NOT_LENT));
        let arrival = AtomicArrival(Arc::new(Lent { arrival, refunded: AtomicU64::new(0) }));
        Self { pace, gcra: Gcra::new(pace, arrival.clone()), arrival }
    }

    /// Takes and sends units in one step, if the number is lent and governor admits them.
    #[inline]
    pub(super) fn try_send(&self, now: u64, units: u32) -> Option<FastCharge> {
        let units = NonZeroU32::new(units).filter(|units| *units <= self.pace.burst)?;
        // Read before the decision. If other units are refunded in between, the mark is too small.
        // That makes the refund of this call smaller, by at most the time between its decision and
        // its refund.
        let refunded = self.arrival.0.refunded.load(Ordering::Acquire);
        let arrival = self.gcra.decide(now, units).ok()?;
        Some(FastCharge { at: now, mark: arrival.wrapping_add(refunded) })
    }

    /// Lends the number of a meter that has this pace.
    fn lend(&self, meter: &PacedMeter) {
        if meter.pace() == self.pace {
            self.arrival.0.refunded.store(meter.refunded, Ordering::Relaxed);
            self.arrival.0.arrival.0.store(meter.arrival, Ordering::Release);
        }
    }

    /// Takes the number back, if it is lent.
    fn take_back(&self) -> Option<u64> {
        let arrival = self.arrival.0.arrival.0.swap(NOT_LENT, Ordering::AcqRel);
        (arrival != NOT_LENT).then_some(arrival)
    }
}

impl StateStore for AtomicArrival {
    type Key = NotKeyed;

    #[inline]
    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let atomic = &self.0.arrival.0;
        let mut before = atomic.load(Ordering::Acquire);
        loop {
            let (decision, after) = decide(Some(Nanos::new(before)))?;
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match atomic.compare_exchange_weak(before, after.as_u64(), success, failure) {
                Ok(_) => {
                    set_arrival(after);
                    return Ok(decision);
                }
                Err(changed) => before = changed,
            }
        }
    }
}

/// A state that can lend one number to the fast path.
pub(super) trait Lend {
    /// Returns the paced meter, if it alone decides.
    fn lendable(&self) -> Option<&PacedMeter>;

    /// Sets the arrival time of the meter that was lent.
    fn set_arrival(&mut self, arrival: u64);
}

/// A state behind its lock, with the fast path beside it.
#[derive(Debug)]
pub(super) struct LendingMutex<T: Lend> {
    /// `None` if the state has nothing to lend at first.
    pub(super) fast_path: Option<FastPath>,
    state: Mutex<T>,
}

/// A locked state, which has lent nothing. It lends its number when the guard is dropped.
pub(super) struct StateGuard<'a, T: Lend> {
    fast_path: Option<&'a FastPath>,
    state: MutexGuard<'a, T>,
}

impl<T: Lend> LendingMutex<T> {
    pub(super) fn new(state: T) -> Self {
        let fast_path = state.lendable().map(|meter| FastPath::new(meter.pace()));
        let mutex = Self { fast_path, state: Mutex::new(state) };
        // Unlocking lends the number for the first time.
        drop(mutex.lock());
        mutex
    }

    pub(super) fn lock(&self) -> StateGuard<'_, T> {
        let mut state = self.state.lock();
        if let Some(fast_path) = &self.fast_path
            && let Some(arrival) = fast_path.take_back()
        {
            state.set_arrival(arrival);
        }
        StateGuard { fast_path: self.fast_path.as_ref(), state }
    }
}

impl<T: Lend> Drop for StateGuard<'_, T> {
    fn drop(&mut self) {
        if let Some(fast_path) = self.fast_path
            && let Some(meter) = self.state.lendable()
        {
            fast_path.lend(meter);
        }
    }
}

impl<T: Lend> Deref for StateGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T: Lend> DerefMut for StateGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}
