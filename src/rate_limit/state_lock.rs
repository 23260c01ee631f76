use std::ops::{Deref, DerefMut};

use super::fast_path::FastPath;
use super::meter::Paced;
use crate::sync::{Mutex, MutexGuard};

/// The state under their lock, and the fast_path beside it.
#[derive(Debug)]
pub(super) struct StateLock<B: Lend> {
    /// `None` if there was nothing to lend when this was made.
    pub(super) fast_path: Option<FastPath>,
    state: Mutex<B>,
}

/// LimiterState that can lend their one number to the fast_path.
pub(super) trait Lend {
    /// The paced quota, if it alone decides.
    fn loan(&self) -> Option<&Paced>;

    /// Takes back the arrival time that was lent, as it is now.
    fn take_back(&mut self, arrival: u64);
}

/// The state, with nothing lent. On drop the paced number is lent to the fast_path again, if it alone
/// decides.
pub(super) struct Open<'a, B: Lend> {
    fast_path: Option<&'a FastPath>,
    state: MutexGuard<'a, B>,
}

impl<B: Lend> StateLock<B> {
    pub(super) fn new(state: B) -> Self {
        let fast_path = state.loan().map(|loan| FastPath::new(loan.pace()));
        let state_lock = Self { fast_path, state: Mutex::new(state) };
        drop(state_lock.state());
        state_lock
    }

    #[inline]
    pub(super) fn state(&self) -> Open<'_, B> {
        let mut state = self.state.lock();
        if let Some(fast_path) = &self.fast_path
            && let Some(arrival) = fast_path.take_back()
        {
            state.take_back(arrival);
        }
        Open { fast_path: self.fast_path.as_ref(), state }
    }
}

impl<B: Lend> Drop for Open<'_, B> {
    #[inline]
    fn drop(&mut self) {
        if let Some(fast_path) = self.fast_path
            && let Some(loan) = self.state.loan()
        {
            fast_path.lend(loan);
        }
    }
}

impl<B: Lend> Deref for Open<'_, B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.state
    }
}

impl<B: Lend> DerefMut for Open<'_, B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.state
    }
}
