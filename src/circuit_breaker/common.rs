use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::audience::Audience;
use super::refusals::Refusals;
use super::rules::Rules;
use super::tripped::Tripped;
use crate::random::RandomSource;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::{self, Instant, TimeOrigin};

/// What all circuits of one layer share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) rules: Rules,
    pub(super) audience: Audience,
    pub(super) refusals: Arc<Refusals>,
    pub(super) tripped: Arc<Tripped>,
    /// Notified when a circuit opens: wakes tasks that wait in `poll_ready` for the inner service.
    pub(super) opened: Arc<Notify>,
    /// How circuits of new keys are held: open (`true`), closed (`false`) or neither.
    forced: Mutex<Option<bool>>,
    chance: RandomSource,
    start: TimeOrigin,
    /// When circuits that nobody calls are looked for next, in nanoseconds from `start`.
    next_look: AtomicU64,
}

impl Common {
    /// How often circuits that nobody calls are looked for.
    const LOOK_EVERY: Duration = Duration::from_secs(60);

    pub(super) fn new(
        rules: Rules,
        audience: Audience,
        chance: RandomSource,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self {
            rules,
            audience,
            refusals,
            tripped: Arc::new(Tripped::new()),
            opened: Arc::new(Notify::new()),
            forced: Mutex::default(),
            chance,
            start: TimeOrigin::new(time::now()),
            next_look: AtomicU64::new(0),
        }
    }

    /// Whether it is this caller's turn to look for circuits that nobody calls.
    pub(super) fn is_turn_to_look(&self, now: Instant) -> bool {
        let now = self.start.nanos(now);
        let due = self.next_look.load(Ordering::Acquire);
        let next = now.saturating_add(time::nanos(Self::LOOK_EVERY));
        now >= due
            && self
                .next_look
                .compare_exchange(due, next, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    /// How new circuits are held: open (`true`), closed (`false`) or neither.
    pub(super) fn forced(&self) -> Option<bool> {
        *self.forced.lock()
    }

    pub(super) fn force(&self, open: Option<bool>) {
        *self.forced.lock() = open;
    }

    /// A source of random numbers for one circuit.
    pub(super) fn random(&self) -> fastrand::Rng {
        self.chance.draw(fastrand::Rng::fork)
    }
}
