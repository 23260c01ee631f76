use crate::sync::{AtomicUsize, Ordering};

/// How many circuits of a layer aren't closed, except those that nobody has called for long. While
/// there are none, `poll_ready` looks no further.
#[derive(Debug)]
pub(super) struct OpenCircuitCount(AtomicUsize);

impl OpenCircuitCount {
    pub(super) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    #[inline]
    pub(super) fn is_any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    /// Counts a circuit in or out.
    pub(super) fn count(&self, before: bool, now: bool) {
        match (before, now) {
            (false, true) => _ = self.0.fetch_add(1, Ordering::AcqRel),
            (true, false) => _ = self.0.fetch_sub(1, Ordering::AcqRel),
            _ => {}
        }
    }
}
