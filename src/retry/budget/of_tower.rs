use super::Budget;
use crate::verdict::Verdict;

/// A budget of tower's, such as its `TpsBudget`, for a retry of this crate.
///
/// Tower's trait knows no kinds of failure and no refund: every failure costs the same, and a retry
/// that is called off before it is sent (its caller gave up) stays paid for. Each request deposits
/// when it begins; with tower's own policies most deposit when they succeed.
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
