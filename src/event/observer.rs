use std::fmt;
use std::sync::Arc;

use super::Event;

/// A receiver of the [`Event`]s of the layers that it is given to.
///
/// It is called outside locks, mostly on the caller's task; a layer's own tasks (health checks,
/// timers of alerts) call it too. It must be quick and not block: hand slow work to a bounded queue.
/// If it panics, the call that caused the event panics.
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't an observer",
    note = "wrap a closure as `observer_fn(|event: &Event<'_>| ..)`"
)]
pub trait Observer: Send + Sync + 'static {
    /// Receives one event.
    fn observe(&self, event: &Event<'_>);
}

/// Ignores all events.
impl Observer for () {
    fn observe(&self, _: &Event<'_>) {}
}

/// Passes every event to the first observer, then to the second.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn observe(&self, event: &Event<'_>) {
        self.0.observe(event);
        self.1.observe(event);
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observe(&self, event: &Event<'_>) {
        (**self).observe(event);
    }
}

/// An [`Observer`] that calls a closure. Created by [`observer_fn`].
#[derive(Clone, Copy)]
pub struct ObserverFn<F>(F);

/// Creates an observer from a closure.
pub const fn observer_fn<F>(f: F) -> ObserverFn<F>
where
    F: Fn(&Event<'_>) + Send + Sync + 'static,
{
    ObserverFn(f)
}

impl<F> fmt::Debug for ObserverFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObserverFn")
    }
}

impl<F> Observer for ObserverFn<F>
where
    F: Fn(&Event<'_>) + Send + Sync + 'static,
{
    fn observe(&self, event: &Event<'_>) {
        (self.0)(event);
    }
}

/// The observers of a layer; by default none.
#[derive(Clone, Default)]
pub(crate) struct Observers(Option<Arc<dyn Observer>>);

impl Observers {
    pub(crate) fn new(observer: impl Observer) -> Self {
        Self(Some(Arc::new(observer)))
    }

    /// Returns the observers of both; those of `self` receive each event first.
    pub(crate) fn and(self, other: &Self) -> Self {
        match (self.0, other.0.clone()) {
            (Some(one), Some(other)) => Self::new((one, other)),
            (one, other) => Self(one.or(other)),
        }
    }

    /// Emits the event, which is created only if there is an observer.
    pub(crate) fn emit<'a, E: Into<Event<'a>>>(&self, event: impl FnOnce() -> E) {
        if let Some(observer) = &self.0 {
            observer.observe(&event().into());
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Some(Observer)" } else { "None" })
    }
}
