use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::{CircuitEvent, CircuitState, OpenReason};
use crate::event::{Event, Listener};

/// A change of a circuit's state, as [subscribers](super::CircuitBreakerHandle::subscribe)
/// get it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitTransition {
    /// The circuit's name.
    pub circuit: Arc<str>,
    /// What it was.
    pub from: CircuitState,
    /// What it is.
    pub to: CircuitState,
    /// The number of the state, as in [`CircuitEvent::generation`].
    pub generation: u32,
    /// What opened it last; none if nothing has.
    pub reason: Option<OpenReason>,
    /// For how long at least, if it opened; zero otherwise.
    pub open_for: Duration,
}

/// Who hears of a layer's circuits: the observer that it was given, and subscribers.
#[derive(Clone, Debug)]
pub(super) struct Audience {
    listener: Listener,
    subscribers: broadcast::Sender<CircuitTransition>,
}

impl Audience {
    /// How many transitions a subscriber can be behind.
    const BEHIND: usize = 64;

    pub(super) fn new(listener: Listener) -> Self {
        Self { listener, subscribers: broadcast::Sender::new(Self::BEHIND) }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<CircuitTransition> {
        self.subscribers.subscribe()
    }

    /// Tells the observer; called without a lock.
    pub(super) fn tell<'a>(&self, event: impl FnOnce() -> CircuitEvent<'a>) {
        self.listener.tell(|| Event::CircuitBreaker(event()));
    }

    /// Tells the subscribers; called without a lock.
    pub(super) fn publish(&self, transition: impl FnOnce() -> CircuitTransition) {
        if self.subscribers.receiver_count() > 0 {
            // The last one may just have gone.
            _ = self.subscribers.send(transition());
        }
    }
}
