use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;

use crate::rate_limit::Quota;
use crate::rate_limit::clock::{TokioClock, nanos};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// Never more than the limit in any window: a ring of slots, each of which
/// governor frees a window after it was taken.
///
/// A limit above [`MAX_SLOTS`](Self::MAX_SLOTS) shares it among so many slots: a
/// slot then stands for several units and is as old as its youngest, which
/// makes the window stricter by less than a unit in ten thousand.
#[derive(Debug)]
pub(super) struct Strict {
    limiter: RateLimiter<usize, Slots, TokioClock, NoOpMiddleware<Nanos>>,
    slots: Slots,
    units_per_slot: u64,
    window: u64,
    clock: TokioClock,
    /// Of all units ever taken, the number of the next one.
    next: Mutex<u64>,
}

/// When each slot is free, in nanoseconds from the clock's start. Changed only
/// under the lock on [`Strict::next`]; in ring order the times never fall.
#[derive(Clone, Debug)]
struct Slots(Arc<[AtomicU64]>);

impl Slots {
    fn get(&self, slot: usize) -> u64 {
        self.0[slot].load(Ordering::Relaxed)
    }

    fn set(&self, slot: usize, free_at: u64) {
        self.0[slot].store(free_at, Ordering::Relaxed);
    }
}

impl StateStore for Slots {
    type Key = usize;

    fn measure_and_replace<T, F, E>(&self, slot: &usize, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (answer, free_at) = decide(Some(Nanos::new(self.get(*slot))))?;
        self.set(*slot, free_at.as_u64());
        Ok(answer)
    }
}

impl Strict {
    const MAX_SLOTS: u32 = 1 << 14;

    /// Below this no sum of governor's overflows, in whatever century.
    const LONGEST: Duration = Duration::from_nanos(1 << 61);

    pub(super) fn new(quota: &Quota, clock: TokioClock) -> Self {
        let limit = quota.limit.max(1);
        let units_per_slot = limit.div_ceil(Self::MAX_SLOTS);
        let window = quota.kept_window().clamp(Duration::from_nanos(1), Self::LONGEST);
        let slots = Slots((0..limit / units_per_slot).map(|_| AtomicU64::new(0)).collect());
        let once = governor::Quota::with_period(window)
            .unwrap_or(governor::Quota::per_second(NonZeroU32::MIN))
            .allow_burst(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::new(once, slots.clone(), clock.clone()),
            slots,
            units_per_slot: units_per_slot.into(),
            window: nanos(window).as_u64(),
            clock,
            next: Mutex::new(0),
        }
    }

    pub(super) fn capacity(&self) -> u32 {
        u32::try_from(self.size() * self.units_per_slot).unwrap_or(u32::MAX)
    }

    pub(super) fn take(&self, units: u32) -> Result<Nanos, Nanos> {
        if units == 0 {
            return Ok(Nanos::new(0));
        }
        if units > self.capacity() {
            return Err(Nanos::new(u64::MAX));
        }
        let mut next = self.next.lock();
        let end = *next + u64::from(units);
        let entered = self.unentered(*next)..self.unentered(end);
        let free_at = if entered.is_empty() {
            self.clock.now().as_u64().saturating_add(self.window)
        } else {
            // The last slot is the youngest: where it is free, so are the others.
            let last = self.index(entered.end - 1);
            self.limiter.check_key(&last).map_err(|not| not.earliest_possible())?;
            self.slots.get(last)
        };
        for slot in *next / self.units_per_slot..entered.end {
            self.slots.set(self.index(slot), free_at);
        }
        *next = end;
        Ok(Nanos::new(free_at))
    }

    /// The first slot that none of the units before `unit` has entered.
    fn unentered(&self, unit: u64) -> u64 {
        unit.div_ceil(self.units_per_slot)
    }

    /// Takes the units out of the ring again: those that came after move up.
    ///
    /// Where slots stand for several units, parts of an older slot can't be
    /// taken out; they come back when their window has passed.
    pub(super) fn give_back(&self, units: u32, free_at: Nanos) {
        let mut next = self.next.lock();
        let mut left = u64::from(units);
        if self.units_per_slot > 1 {
            let from_head = left.min(*next % self.units_per_slot);
            *next -= from_head;
            left -= from_head;
        }
        let end = self.unentered(*next);
        let oldest = end.saturating_sub(self.size());
        let stamp = |slot| self.slots.get(self.index(slot));
        // From the youngest back, since a refund mostly follows soon.
        let mut younger =
            (oldest..end).rev().skip_while(|slot| stamp(*slot) > free_at.as_u64()).peekable();
        let Some(youngest) = younger.peek().copied() else { return };
        let same = younger.take_while(|slot| stamp(*slot) == free_at.as_u64()).count() as u64;
        let removed = same.min(left / self.units_per_slot);
        for slot in youngest + 1 - removed..end - removed {
            self.slots.set(self.index(slot), stamp(slot + removed));
        }
        for slot in end - removed..end {
            self.slots.set(self.index(slot), 0);
        }
        *next -= removed * self.units_per_slot;
    }

    pub(super) fn available_at(&self, ahead: u64, units: u32) -> u64 {
        let next = *self.next.lock();
        let first = self.unentered(next);
        let end = self.unentered(next.saturating_add(ahead).saturating_add(units.into()));
        let Some(beyond) = (end - first).checked_sub(1) else { return 0 };
        let free_at = self.slots.get(self.index(first + beyond));
        free_at.saturating_add(self.window.saturating_mul(beyond / self.size()))
    }

    pub(super) fn remaining(&self, now: u64) -> u32 {
        let next = *self.next.lock();
        let first = self.unentered(next);
        let begun = first * self.units_per_slot - next;
        let entered = u64::from(begun > 0);
        let free = (first..first + self.size() - entered)
            .take_while(|slot| self.slots.get(self.index(*slot)) <= now)
            .count() as u64;
        u32::try_from(free * self.units_per_slot + begun).unwrap_or(u32::MAX)
    }

    fn size(&self) -> u64 {
        self.slots.0.len() as u64
    }

    #[allow(clippy::cast_possible_truncation)] // less than MAX_SLOTS
    fn index(&self, slot: u64) -> usize {
        (slot % self.size()) as usize
    }
}
