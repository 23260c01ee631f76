//! What each thread knows of open circuits.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::circuit::rejection;
use super::config::OpenCause;
use crate::error::{CircuitOpen, CircuitState};
use crate::time::Instant;

/// How many open circuits a thread remembers. A circuit whose slot another one has isn't
/// remembered.
const SLOTS: usize = 16;

thread_local! {
    static CACHE: RefCell<[Option<CachedRejection>; SLOTS]> =
        const { RefCell::new([const { None }; SLOTS]) };
}

/// A circuit's slot in what each thread remembers.
///
/// A thread that remembers the circuit turns calls away without its lock, and without a reference
/// count that other threads write: an open circuit may get as many calls as ever.
#[derive(Debug)]
pub(super) struct RejectionCache {
    /// No other circuit has the same.
    id: u64,
}

/// What a thread knows of an open circuit. It holds until its time is up, or a new generation
/// begins.
#[derive(Debug)]
struct CachedRejection {
    id: u64,
    generation: u32,
    until: Instant,
    open_cause: Option<OpenCause>,
    /// The thread's own copy, which its errors share.
    name: Arc<str>,
}

impl RejectionCache {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// Returns the rejection of a call, if this thread knows that the circuit is open in this
    /// generation.
    #[inline]
    pub(super) fn reject(&self, generation: u32, now: Instant) -> Option<Box<CircuitOpen>> {
        let reject = |known: &CachedRejection| {
            let is_it = known.id == self.id && known.generation == generation;
            (is_it && now < known.until).then(|| known.rejection(now))
        };
        // A thread that is ending remembers nothing.
        CACHE.try_with(|known| known.borrow()[self.slot()].as_ref().and_then(reject)).ok()?
    }

    /// Remembers the open circuit for the next calls of this thread, unless another open circuit
    /// has its slot. If the slot were taken over, two circuits that are called in turns would be
    /// written down anew each time.
    pub(super) fn remember(
        &self,
        generation: u32,
        (now, until): (Instant, Instant),
        open_cause: Option<OpenCause>,
        name: &str,
    ) {
        let remember = |slot: &mut Option<CachedRejection>| {
            if slot.as_ref().is_none_or(|known| known.id == self.id || known.until <= now) {
                *slot = Some(CachedRejection {
                    id: self.id,
                    generation,
                    until,
                    open_cause,
                    name: name.into(),
                });
            }
        };
        _ = CACHE.try_with(|known| remember(&mut known.borrow_mut()[self.slot()]));
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // only the last bits matter
    fn slot(&self) -> usize {
        self.id as usize % SLOTS
    }
}

impl CachedRejection {
    #[inline]
    fn rejection(&self, now: Instant) -> Box<CircuitOpen> {
        rejection(&self.name, CircuitState::Open, self.open_cause, now, Some(self.until))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time;

    #[test]
    fn it_rejects_in_its_time_and_generation_alone() {
        let (now, second) = (time::now(), Duration::from_secs(1));
        let rejection_cache = RejectionCache::new();
        assert!(rejection_cache.reject(1, now).is_none(), "nothing is known yet");
        rejection_cache.remember(1, (now, now + second), None, "a");
        let open = rejection_cache.reject(1, now).unwrap();
        assert_eq!((open.circuit(), open.retry_after()), ("a", Some(second)));
        assert_eq!(open.state(), CircuitState::Open);
        assert!(rejection_cache.reject(2, now).is_none());
        assert!(rejection_cache.reject(1, now + second).is_none());
    }

    #[test]
    fn of_circuits_that_share_a_place_the_first_has_it_for_its_time() {
        let (now, second) = (time::now(), Duration::from_secs(1));
        let all: Vec<_> = (0..=SLOTS).map(|_| RejectionCache::new()).collect();
        let (first, late) = (&all[0], &all[SLOTS]);
        first.remember(1, (now, now + second), None, "first");
        late.remember(1, (now, now + second), None, "late");
        assert!(first.reject(1, now).is_some());
        assert!(late.reject(1, now).is_none());
        let (now, until) = (now + second, now + 2 * second);
        late.remember(1, (now, until), None, "late");
        assert!(late.reject(1, now).is_some());
    }
}
