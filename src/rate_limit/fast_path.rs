use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};

use super::meter::{Judge, Pace, Paced, allowed};
use crate::sync::{AtomicU64, CachePadded, Mutex, MutexGuard, Ordering};

/// Where calls pass without the state' lock, while one number alone decides about them: the
/// theoretical arrival time of the only quota, a paced one.
///
/// The state lend that number to an atomic word, on which governor then decides. A thread that
/// takes the state' lock takes the number back first, in one swap. It leaves a time in the word
/// that is so late that governor refuses every call; those calls come to the state. So a call
/// passes by the word or by the state, never by both.
#[derive(Debug)]
pub(super) struct FastPath {
    pace: Pace,
    judge: Judge<Word>,
    word: Word,
}

/// What is needed to give back units that passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct FastPermit {
    pub(super) at: u64,
    /// See [`Paced::refund`].
    pub(super) mark: u64,
}

#[derive(Clone, Debug)]
struct Word(Arc<Lent>);

#[derive(Debug)]
struct Lent {
    /// The number, or [`AWAY`]. Every call writes it, while most calls only read what else is here.
    arrival: CachePadded<AtomicU64>,
    /// What makes up a [mark](Paced::send) together with the number. Written while that is with the
    /// state.
    refunded: AtomicU64,
}

/// Later than any time at which something may pass, and so far from the largest number that
/// governor can add to it without overflow.
const AWAY: u64 = 1 << 63;

impl FastPath {
    /// A fast path for quotas of this pace. At first its number is with the state.
    pub(super) fn new(pace: Pace) -> Self {
        let lent = Lent { arrival: CachePadded(AtomicU64::new(AWAY)), refunded: AtomicU64::new(0) };
        let word = Word(Arc::new(lent));
        Self { pace, judge: pace.judge(word.clone()), word }
    }

    /// Takes and sends units in one step, if governor allows it on what was lent.
    #[inline]
    pub(super) fn pass(&self, now: u64, units: u32) -> Option<FastPermit> {
        let units = NonZeroU32::new(units).filter(|units| *units <= self.pace.burst)?;
        let lent = &*self.word.0;
        // Read before governor decides. If others are refunded in between, the mark is too small.
        // That only makes this call's own refund smaller, by no more than the time from its state
        // to its refund.
        let refunded = lent.refunded.load(Ordering::Acquire);
        let arrival = self.judge.ask(now, units).ok()?;
        Some(FastPermit { at: now, mark: arrival.wrapping_add(refunded) })
    }

    /// Lends the number, if its quota has this fast path's pace.
    pub(super) fn lend(&self, paced: &Paced) {
        if paced.pace() == self.pace {
            let lent = &*self.word.0;
            lent.refunded.store(paced.refunded, Ordering::Relaxed);
            lent.arrival.0.store(paced.arrival, Ordering::Release);
        }
    }

    /// Takes the number back, if it was lent.
    pub(super) fn take_back(&self) -> Option<u64> {
        let arrival = self.word.0.arrival.0.swap(AWAY, Ordering::AcqRel);
        (arrival != AWAY).then_some(arrival)
    }
}

impl StateStore for Word {
    type Key = NotKeyed;

    #[inline]
    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let word = &self.0.arrival.0;
        let mut arrival = word.load(Ordering::Acquire);
        loop {
            let (answer, after) = decide(Some(Nanos::new(arrival)))?;
            let next = after.as_u64();
            match word.compare_exchange_weak(arrival, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    allowed(after);
                    return Ok(answer);
                }
                Err(changed) => arrival = changed,
            }
        }
    }
}

/// The state under their lock, and the fast path beside it.
#[derive(Debug)]
pub(super) struct StateLock<B: Lend> {
    /// `None` if there was nothing to lend when this was made.
    pub(super) fast_path: Option<FastPath>,
    state: Mutex<B>,
}

/// LimiterState that can lend their one number to the fast path.
pub(super) trait Lend {
    /// The paced quota, if it alone decides.
    fn loan(&self) -> Option<&Paced>;

    /// Takes back the arrival time that was lent, as it is now.
    fn take_back(&mut self, arrival: u64);
}

/// The state, with nothing lent. On drop the paced number is lent to the fast path again, if it alone
/// decides.
pub(super) struct Open<'a, B: Lend> {
    fast_path: Option<&'a FastPath>,
    state: MutexGuard<'a, B>,
}

impl<B: Lend> StateLock<B> {
    pub(super) fn new(state: B) -> Self {
        let fast_path = state.loan().map(|loan| FastPath::new(loan.pace()));
        let state_lock = Self { fast_path, state: Mutex::new(state) };
        drop(state_lock.state());
        state_lock
    }

    #[inline]
    pub(super) fn state(&self) -> Open<'_, B> {
        let mut state = self.state.lock();
        if let Some(fast_path) = &self.fast_path
            && let Some(arrival) = fast_path.take_back()
        {
            state.take_back(arrival);
        }
        Open { fast_path: self.fast_path.as_ref(), state }
    }
}

impl<B: Lend> Drop for Open<'_, B> {
    #[inline]
    fn drop(&mut self) {
        if let Some(fast_path) = self.fast_path
            && let Some(loan) = self.state.loan()
        {
            fast_path.lend(loan);
        }
    }
}

impl<B: Lend> Deref for Open<'_, B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.state
    }
}

impl<B: Lend> DerefMut for Open<'_, B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.state
    }
}
