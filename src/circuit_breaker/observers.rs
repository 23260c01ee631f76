use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::shared_state::StateChange;
use super::state_machine::Transition;
use crate::error::{CircuitState, OpenReason};
use crate::event::{CircuitChanged, Event, Observers};
use crate::verdict::Cause;

/// A change of a circuit's state, as [subscribers](super::CircuitBreakerHandle::subscribe)
/// get it.
///
/// With the feature `serde` it can be serialised: names in kebab-case, and `open_for` as whole
/// milliseconds, or null if it is held open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitTransition {
    /// The circuit's name.
    pub circuit: Arc<str>,
    /// The state before.
    pub from: CircuitState,
    /// The state after.
    pub to: CircuitState,
    /// The number of the new state, as in [`CircuitChanged::generation`].
    pub generation: u32,
    /// What opened the circuit last; `None` if nothing has.
    pub reason: Option<OpenReason>,
    /// How long it stays open at least, if it opened: [`Duration::MAX`] if it is held open. Zero
    /// for other changes.
    pub open_for: Duration,
}

/// The observer and the subscribers of a layer's circuits.
#[derive(Clone, Debug)]
pub(super) struct CircuitObservers {
    observers: Observers,
    subscribers: broadcast::Sender<CircuitTransition>,
}

impl CircuitObservers {
    /// How many transitions a subscriber can lag behind before it misses the oldest.
    const BEHIND: usize = 64;

    pub(super) fn new(observers: Observers) -> Self {
        Self { observers, subscribers: broadcast::Sender::new(Self::BEHIND) }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<CircuitTransition> {
        self.subscribers.subscribe()
    }

    /// Emits an event to the observer. The caller holds no lock.
    pub(super) fn emit<'a, E: Into<Event<'a>>>(&self, event: impl FnOnce() -> E) {
        self.observers.emit(event);
    }

    /// Emits a change of state to subscribers and the observer. The caller holds no lock.
    pub(super) fn emit_change(
        &self,
        circuit: &Arc<str>,
        StateChange { transition, open_cause }: StateChange,
    ) {
        let Some(transition) = transition else { return };
        let Transition { from, to, generation, open_for } = transition;
        let reason = open_cause.map(|open_cause| open_cause.reason);
        // Subscribers first: an observer may change the state itself, and subscribers must receive
        // that change after this one.
        if self.subscribers.receiver_count() > 0 {
            let circuit = Arc::clone(circuit);
            let transition = CircuitTransition { circuit, from, to, generation, reason, open_for };
            // Fails only if the last subscriber has just gone.
            _ = self.subscribers.send(transition);
        }
        let cause = open_cause.map_or(Cause::Unknown, |open_cause| open_cause.cause);
        self.emit(|| CircuitChanged::new(circuit, from, to, generation, reason, cause, open_for));
    }
}
