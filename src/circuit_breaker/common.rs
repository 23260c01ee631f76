use std::time::Duration;

use super::rules::Rules;
use crate::event::Listener;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use crate::time::{self, Instant};

/// What all circuits of one layer share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) rules: Rules,
    pub(super) listener: Listener,
    /// How many circuits aren't closed, those that rest apart: while none is,
    /// nobody looks further.
    tripped: AtomicUsize,
    start: Instant,
    /// When circuits that nobody calls are looked for next, in nanoseconds from `start`.
    next_look: AtomicU64,
}

impl Common {
    /// How often circuits that nobody calls are looked for.
    const LOOK_EVERY: Duration = Duration::from_secs(60);

    pub(super) fn new(rules: Rules, listener: Listener) -> Self {
        let (tripped, next_look) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { rules, listener, tripped, start: time::now(), next_look }
    }

    /// Whether a circuit isn't closed, those that nobody calls apart.
    #[inline]
    pub(super) fn is_any_tripped(&self) -> bool {
        self.tripped.load(Ordering::Acquire) > 0
    }

    /// Counts a circuit in or out.
    pub(super) fn count_tripped(&self, before: bool, now: bool) {
        match (before, now) {
            (false, true) => _ = self.tripped.fetch_add(1, Ordering::AcqRel),
            (true, false) => _ = self.tripped.fetch_sub(1, Ordering::AcqRel),
            _ => {}
        }
    }

    /// Whether it is this caller's turn to look for circuits that nobody calls.
    pub(super) fn looks_for_rest(&self, now: Instant) -> bool {
        let now = time::nanos(now.saturating_duration_since(self.start));
        let due = self.next_look.load(Ordering::Acquire);
        let next = now.saturating_add(time::nanos(Self::LOOK_EVERY));
        now >= due
            && self
                .next_look
                .compare_exchange(due, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }
}
