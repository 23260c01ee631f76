use super::Budget;
use crate::classify::Verdict;

/// A budget of tower's, such as its `TpsBudget`, for a retry of this crate.
///
/// What tower's trait can't say, it doesn't do: every kind of failure costs the same, and a retry that
/// is called off before it is sent (its caller gave up) stays paid for. It is deposited to when a
/// request begins; tower's own policies mostly do so when one succeeds.
///
/// ```
/// use std::time::Duration;
/// use tower::retry::budget::TpsBudget;
/// use tower_upstream::RetryLayer;
/// use tower_upstream::retry::TowerBudget;
///
/// let budget = TpsBudget::new(Duration::from_secs(10), 1, 0.2);
/// let retry = RetryLayer::new().budget(TowerBudget(budget));
/// # let _ = retry;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TowerBudget<B>(pub B);

impl<B> Budget for TowerBudget<B>
where
    B: tower::retry::budget::Budget + Send + Sync + 'static,
{
    fn deposit(&self) {
        self.0.deposit();
    }

    fn withdraw(&self, _: &Verdict) -> bool {
        self.0.withdraw()
    }
}
