use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::config::Config;
use super::observers::CircuitObservers;
use super::refusals::CredentialRejections;
use super::tripped::OpenCircuitCount;
use crate::random::RandomSource;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::{self, Instant, TimeOrigin};

/// What all circuits of one layer share.
#[derive(Debug)]
pub(super) struct SharedConfig {
    pub(super) config: Config,
    pub(super) observers: CircuitObservers,
    pub(super) refusals: Arc<CredentialRejections>,
    pub(super) tripped: Arc<OpenCircuitCount>,
    /// Notified when a circuit opens: wakes tasks that wait in `poll_ready` for the inner service.
    pub(super) opened: Arc<Notify>,
    /// How circuits of new keys are held: open (`true`), closed (`false`) or neither.
    forced: Mutex<Option<bool>>,
    random: RandomSource,
    start: TimeOrigin,
    /// When circuits that nobody calls are looked for next, in nanoseconds from `start`.
    next_look: AtomicU64,
}

impl SharedConfig {
    /// How often circuits that nobody calls are looked for.
    const LOOK_EVERY: Duration = Duration::from_secs(60);

    pub(super) fn new(
        config: Config,
        observers: CircuitObservers,
        random: RandomSource,
        refusals: Arc<CredentialRejections>,
    ) -> Self {
        Self {
            config,
            observers,
            refusals,
            tripped: Arc::new(OpenCircuitCount::new()),
            opened: Arc::new(Notify::new()),
            forced: Mutex::default(),
            random,
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
        self.random.draw(fastrand::Rng::fork)
    }
}
