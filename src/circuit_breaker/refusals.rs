use crate::sync::{AtomicU64, Ordering};
use crate::time::{self, TimeOrigin};

/// When a credential was last refused, while that matters.
#[derive(Debug)]
pub(super) struct CredentialRejections {
    start: TimeOrigin,
    /// In nanoseconds from `start`, plus one; 0: not lately.
    last: AtomicU64,
}

impl CredentialRejections {
    pub(super) fn new() -> Self {
        Self { start: TimeOrigin::new(time::now()), last: AtomicU64::new(0) }
    }

    #[inline]
    pub(super) fn any(&self) -> bool {
        self.last.load(Ordering::Acquire) != 0
    }

    /// A credential was refused.
    #[cold]
    pub(super) fn notice(&self) {
        self.last.fetch_max(self.now(), Ordering::AcqRel);
    }

    /// Which credential_rejection was the last one, and for how many nanoseconds none has come.
    pub(super) fn last(&self) -> (u64, u64) {
        let last = self.last.load(Ordering::Acquire);
        (last, self.now().saturating_sub(last))
    }

    /// From now on there were none, unless another one has come since `last`.
    pub(super) fn clear(&self, last: u64) {
        _ = self.last.compare_exchange(last, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    fn now(&self) -> u64 {
        self.start.nanos(time::now()).saturating_add(1)
    }
}
