use std::sync::Arc;
use std::time::Duration;

use super::budget::Budget;
use super::decision::is_turned_away;
use crate::classify::{Class, Verdict};
use crate::error::BoxError;

/// What a call remembers of the attempts that have failed. Most calls have none, so it is boxed.
pub(super) struct Past<Res> {
    /// How many attempts an open circuit here turned away.
    pub(super) turned_away: u32,
    pub(super) last_wait: Option<Duration>,
    /// What the last attempt came to that was sent, if no retry was paid for since.
    pub(super) owed: Option<Verdict>,
    /// What the attempt has cost that is in flight, or comes next.
    pub(super) withdrawal: Option<Withdrawal>,
    /// What the last attempt that wasn't turned away came to, for when none follows.
    pub(super) answer: Option<Result<Res, BoxError>>,
}

impl<Res> Past<Res> {
    /// The next attempt is made, and has cost what it costs.
    pub(super) fn spend(&mut self) {
        if let Some(withdrawal) = &mut self.withdrawal {
            withdrawal.spent = true;
        }
    }

    /// Takes in that an attempt has ended so. One whose service failed to get ready has cost as
    /// much as another; what one that was turned away has cost is there for the next one.
    pub(super) fn takes_in(&mut self, verdict: &Verdict) {
        if verdict.class() == Class::CircuitOpen {
            self.turned_away = self.turned_away.saturating_add(1);
        }
        let spent = !is_turned_away(verdict);
        if spent {
            self.owed = Some(*verdict);
        }
        if let Some(mut withdrawal) = self.withdrawal.take() {
            withdrawal.spent = spent;
            self.withdrawal = (!spent).then_some(withdrawal);
        }
    }

    /// Lets go of a response. An error holds nothing.
    pub(super) fn let_go(&mut self) {
        self.answer.take_if(|answer| answer.is_ok());
    }
}

impl<Res> Default for Past<Res> {
    fn default() -> Self {
        Self { turned_away: 0, last_wait: None, owed: None, withdrawal: None, answer: None }
    }
}

/// Taken from the budget for an attempt; given back if that is never made.
pub(super) struct Withdrawal {
    budget: Arc<dyn Budget>,
    verdict: Verdict,
    spent: bool,
}

impl Withdrawal {
    /// What a retry after this verdict costs, if there is enough.
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
            self.budget.give_back(&self.verdict);
        }
    }
}
