//! Where a layer gets further handles on its inner service.
//!
//! `poll_ready` readies the inner service, and `call` uses that readiness in
//! place. Two things need another handle on the inner service: a call that is
//! turned away must let go of the readiness that was taken for it (tower's
//! `ConcurrencyLimit` holds a permit with it, a `Buffer` a place), and a future
//! that calls later must ready a handle of its own.
//!
//! Cloning the inner service for each call would do, but it costs a counted reference for each
//! layer below. Instead one spare handle, never readied, is kept behind a lock that only the slow
//! paths take.

use crate::sync::Mutex;

/// A handle on the inner service that is never readied, only cloned.
#[derive(Debug)]
pub(crate) struct Spare<S>(Mutex<S>);

impl<S: Clone> Spare<S> {
    pub(crate) fn new(inner: &S) -> Self {
        Self(Mutex::new(inner.clone()))
    }

    /// Returns a new handle, which isn't ready.
    pub(crate) fn fresh(&self) -> S {
        self.0.lock().clone()
    }

    /// Makes later handles clones of this one.
    pub(crate) fn replace(&self, inner: &S) {
        *self.0.lock() = inner.clone();
    }
}
