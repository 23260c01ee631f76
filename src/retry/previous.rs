use std::sync::Arc;
use std::time::Duration;

use super::budget::Budget;
use super::decision::is_rejected_locally;
use crate::error::BoxError;
use crate::verdict::{Class, Verdict};

/// What a call remembers of the attempts that have failed. Most calls have none, so it is boxed.
pub(super) struct PreviousResult<Res> {
    /// How many attempts an open circuit here turned away.
    pub(super) rejected_locally: u32,
    pub(super) last_wait: Option<Duration>,
    /// The verdict on the last attempt that was sent, if the budget paid for no retry since.
    pub(super) owed: Option<Verdict>,
    /// What the budget paid for the attempt that is in flight or comes next.
    pub(super) withdrawal: Option<Withdrawal>,
    /// The answer to the last attempt that wasn't turned away, for when no other follows.
    pub(super) answer: Option<Result<Res, BoxError>>,
}

impl<Res> PreviousResult<Res> {
    /// Notes that the next attempt is made, so that its cost isn't given back.
    pub(super) fn spend(&mut self) {
        if let Some(withdrawal) = &mut self.withdrawal {
            withdrawal.spent = true;
        }
    }

    /// Takes in the verdict on an attempt. An attempt whose service failed to get ready costs as much
    /// as any other; the cost of an attempt that was turned away is saved for the next one.
    pub(super) fn takes_in(&mut self, verdict: &Verdict) {
        if verdict.class() == Class::CircuitOpen {
            self.rejected_locally = self.rejected_locally.saturating_add(1);
        }
        let spent = !is_rejected_locally(verdict);
        if spent {
            self.owed = Some(*verdict);
        }
        if let Some(mut withdrawal) = self.withdrawal.take() {
            withdrawal.spent = spent;
            self.withdrawal = (!spent).then_some(withdrawal);
        }
    }

    /// Drops a response, but not an error, which holds nothing.
    pub(super) fn let_go(&mut self) {
        self.answer.take_if(|answer| answer.is_ok());
    }
}

impl<Res> Default for PreviousResult<Res> {
    fn default() -> Self {
        Self { rejected_locally: 0, last_wait: None, owed: None, withdrawal: None, answer: None }
    }
}

/// What the budget paid for an attempt. Given back if that is never made.
pub(super) struct Withdrawal {
    budget: Arc<dyn Budget>,
    verdict: Verdict,
    spent: bool,
}

impl Withdrawal {
    /// Takes what a retry after this verdict costs from the budget, if there is enough.
    pub(super) fn from(budget: &Arc<dyn Budget>, verdict: &Verdict) -> Option<Self> {
        budget.withdraw(verdict).then(|| Self {
            budget: Arc::clone(budget),
            verdict: *verdict,
            spent: false,
        })
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if !self.spent {
            self.budget.release(&self.verdict);
        }
    }
}
