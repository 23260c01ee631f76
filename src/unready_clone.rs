//! Fresh, unready clones of an inner service.
//!
//! `poll_ready` readies the inner service, and `call` uses that readiness in place. Two cases need
//! another clone: a rejected call must release the readiness that was acquired for it (tower's
//! `ConcurrencyLimit` holds a permit with it, a `Buffer` a slot), and a future that calls later
//! must ready a clone of its own.
//!
//! Cloning the inner service for each call, as tower's retry does, increments a reference count
//! for each layer below. Instead, one clone that is never readied is kept behind a lock that only
//! these cases acquire.

use crate::sync::Mutex;

/// A clone of the inner service that is never readied, only cloned.
#[derive(Debug)]
pub(crate) struct UnreadyClone<S>(Mutex<S>);

impl<S: Clone> UnreadyClone<S> {
    pub(crate) fn new(inner: &S) -> Self {
        Self(Mutex::new(inner.clone()))
    }

    /// Returns a new clone, which isn't ready.
    pub(crate) fn unready_clone(&self) -> S {
        self.0.lock().clone()
    }

    /// Replaces the service that later clones are made of.
    pub(crate) fn replace(&self, inner: &S) {
        *self.0.lock() = inner.clone();
    }
}
