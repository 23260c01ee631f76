use std::sync::Arc;

use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::{self, Instant};
use crate::verdict::Verdict;

/// A bound on the load that retries add to a failing upstream.
///
/// Each logical request deposits, and each retry withdraws. When the budget is spent, failures are
/// returned instead of retried. A limit on attempts alone doesn't bound the load: with four attempts
/// per request, a failing upstream receives four times its usual load.
pub trait Budget: Send + Sync + 'static {
    /// Deposits for a logical request that starts.
    fn deposit(&self);

    /// Records an attempt that failed in a retryable way, whether or not it is retried. Default: does
    /// nothing.
    fn failed(&self, verdict: &Verdict) {
        let _ = verdict;
    }

    /// Withdraws the cost of a retry after this verdict. Returns false, and withdraws nothing, if the
    /// balance is too low.
    fn withdraw(&self, verdict: &Verdict) -> bool;

    /// Returns the cost of a retry after this verdict, because the retry was cancelled before it was
    /// sent, or was rejected locally. A retry that is dropped in a queue below counts as sent. Default:
    /// does nothing.
    fn release(&self, verdict: &Verdict) {
        let _ = verdict;
    }
}

/// One budget for several layers.
impl<B: Budget + ?Sized> Budget for Arc<B> {
    fn deposit(&self) {
        (**self).deposit();
    }

    fn failed(&self, verdict: &Verdict) {
        (**self).failed(verdict);
    }

    fn withdraw(&self, verdict: &Verdict) -> bool {
        (**self).withdraw(verdict)
    }

    fn release(&self, verdict: &Verdict) {
        (**self).release(verdict);
    }
}

/// A budget of retries for a share of the requests, plus a few per second.
///
/// Over any span of time, retries ≤ ratio × requests + rate × seconds + reserve, and so
/// sends ≤ requests × (1 + ratio) + rate × seconds + reserve. A retry that succeeds isn't refunded.
///
/// A retry counts when it is decided on, before its wait. Where many waits end together, as after one
/// `Retry-After` with little jitter, all retries decided on meanwhile are sent at once. With a
/// [failover](crate::failover) below, the bound applies to each region, since trying the next region
/// is free.
///
/// The idea is Finagle's `RetryBudget`.
///
/// ```
/// use tower_upstream::retry::RetryBudget;
///
/// // For a quota of 20 requests a minute.
/// let budget = RetryBudget::new().per_second(0.03).reserve(3);
/// assert_eq!(budget.remaining(), 3);
/// ```
#[derive(Debug)]
pub struct RetryBudget {
    /// In units of which a retry costs [`RETRY`], as are the reserve and the balance.
    deposit: u64,
    reserve: u64,
    per_second: f64,
    cost: fn(&Verdict) -> u32,
    balance: AtomicU64,
    refilled: Mutex<Instant>,
}

/// One retry, in units of the balance. The unit is fine enough for a small ratio and the fraction of
/// a refill, and coarse enough that no reserve overflows.
const RETRY: u64 = 1_000_000_000;
const RETRY_F64: f64 = 1e9;

impl RetryBudget {
    /// Creates a budget of one retry per five requests, one more every ten seconds, and a reserve of
    /// ten.
    ///
    /// The rate is a tenth of a common small quota, 60 a minute. A client that uses half of such a
    /// quota stays within it even while everything fails. For a smaller quota set the reserve to a
    /// sixth of it and the rate to a tenth.
    #[must_use]
    pub fn new() -> Self {
        Self {
            deposit: RETRY / 5,
            reserve: 10 * RETRY,
            per_second: 0.1,
            cost: |_| 1,
            balance: AtomicU64::new(10 * RETRY),
            refilled: Mutex::new(time::now()),
        }
    }

    /// Sets the retries per request. Default: 0.2, one in five. A ratio that is negative or not a
    /// number is taken as zero.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.deposit = (ratio * RETRY_F64).round() as u64;
        self
    }

    /// Sets the retries per second that are added for clients with few requests. Default: 0.1. A rate
    /// that is negative or not a number is taken as zero.
    #[must_use]
    pub fn per_second(mut self, rate: f64) -> Self {
        self.per_second = rate.max(0.0);
        self
    }

    /// Sets how many unused retries are saved at most, and the initial balance. Default: 10. With a
    /// reserve of zero there are no retries.
    #[must_use]
    pub fn reserve(mut self, reserve: u32) -> Self {
        self.reserve = u64::from(reserve) * RETRY;
        self.balance = AtomicU64::new(self.reserve);
        self
    }

    /// Sets the cost of a retry after a verdict, in retries. Default: 1 for every verdict. 0 is taken
    /// as 1, since free retries would have no bound.
    ///
    /// ```
    /// use tower_upstream::classify::{Cause, Class};
    /// use tower_upstream::retry::RetryBudget;
    ///
    /// // A timeout held a connection and may have been billed; a refused connection cost nothing.
    /// let budget = RetryBudget::new().ratio(0.5).reserve(20).cost_fn(|verdict| match verdict.class() {
    ///     Class::NotSent | Class::Throttled => 1,
    ///     _ if verdict.cause() == Cause::Timeout => 5,
    ///     _ => 2,
    /// });
    /// # let _ = budget;
    /// ```
    #[must_use]
    pub fn cost_fn(mut self, cost: fn(&Verdict) -> u32) -> Self {
        self.cost = cost;
        self
    }

    /// Returns the number of retries that could be made now, at a cost of 1 each.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.refill(time::now());
        u32::try_from(self.balance.load(Ordering::Relaxed) / RETRY).unwrap_or(u32::MAX)
    }

    fn cost(&self, verdict: &Verdict) -> u64 {
        u64::from((self.cost)(verdict).max(1)) * RETRY
    }

    fn add(&self, units: u64) {
        // A full balance needs no write.
        if self.balance.load(Ordering::Relaxed) < self.reserve {
            let add = |balance: u64| Some(balance.saturating_add(units).min(self.reserve));
            _ = self.balance.fetch_update(Ordering::AcqRel, Ordering::Relaxed, add);
        }
    }

    /// Adds the retries of the time since the last refill.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
    fn refill(&self, now: Instant) {
        let mut refilled = self.refilled.lock();
        let elapsed = now.saturating_duration_since(*refilled);
        let units = elapsed.as_secs_f64() * self.per_second * RETRY_F64;
        if units >= 1.0 {
            *refilled = now;
            self.add(units as u64);
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl Budget for RetryBudget {
    fn deposit(&self) {
        self.add(self.deposit);
    }

    fn withdraw(&self, verdict: &Verdict) -> bool {
        self.refill(time::now());
        let cost = self.cost(verdict);
        let subtract = |balance: u64| balance.checked_sub(cost);
        self.balance.fetch_update(Ordering::AcqRel, Ordering::Relaxed, subtract).is_ok()
    }

    fn release(&self, verdict: &Verdict) {
        self.add(self.cost(verdict));
    }
}

/// Retry throttling as in gRPC: stops all retries while the upstream fails more than it succeeds.
///
/// It is a bucket of tokens, full at first. Each failed attempt takes a token, even if it isn't
/// retried, and each request adds a fraction of one. Retries are made while the bucket is more than
/// half full. Unlike a [`RetryBudget`] it doesn't bound the load that retries add while few attempts
/// fail.
///
/// From gRFC A6, "Throttling Retry Attempts and Hedged RPCs". Difference: a request adds its fraction
/// when it starts, not when it succeeds, so that a success costs nothing.
///
/// ```
/// use tower_upstream::RetryLayer;
/// use tower_upstream::retry::RetryThrottle;
///
/// let throttle = RetryThrottle::new().max_tokens(100).token_ratio(0.5);
/// let retry = RetryLayer::builder().budget(throttle).build()?;
/// # let _ = retry;
/// # Ok::<_, tower_upstream::InvalidConfig>(())
/// ```
#[derive(Debug)]
pub struct RetryThrottle {
    /// In thousandths of a token, as are the others: gRPC uses three decimals of the ratio.
    max: u64,
    ratio: u64,
    tokens: AtomicU64,
}

const TOKEN: u64 = 1000;
const TOKEN_F64: f64 = 1000.0;

impl RetryThrottle {
    /// Creates a bucket of 10 tokens, to which each request adds a tenth of a token.
    #[must_use]
    pub fn new() -> Self {
        Self { max: 10 * TOKEN, ratio: TOKEN / 10, tokens: AtomicU64::new(10 * TOKEN) }
    }

    /// Sets the size of the bucket, gRPC's `maxTokens`. Default: 10. With zero tokens there are no
    /// retries.
    #[must_use]
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.max = u64::from(tokens) * TOKEN;
        self.tokens = AtomicU64::new(self.max);
        self
    }

    /// Sets the tokens that each request adds, gRPC's `tokenRatio`. Default: 0.1. A ratio that is
    /// negative or not a number is taken as zero.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
    pub fn token_ratio(mut self, ratio: f64) -> Self {
        self.ratio = (ratio * TOKEN_F64).round() as u64;
        self
    }

    /// Returns whether retries are made now.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.tokens.load(Ordering::Relaxed) > self.max / 2
    }
}

impl Default for RetryThrottle {
    fn default() -> Self {
        Self::new()
    }
}

impl Budget for RetryThrottle {
    fn deposit(&self) {
        // A full bucket needs no write.
        if self.tokens.load(Ordering::Relaxed) < self.max {
            let add = |tokens: u64| Some(tokens.saturating_add(self.ratio).min(self.max));
            _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    fn failed(&self, _: &Verdict) {
        let take = |tokens: u64| Some(tokens.saturating_sub(TOKEN));
        _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
    }

    fn withdraw(&self, _: &Verdict) -> bool {
        self.allows()
    }
}

/// One of tower's budgets, such as its `TpsBudget`, for a [`RetryLayer`](super::RetryLayer).
///
/// Tower's trait has no kinds of failure and no refund: every failure costs the same, and a retry that
/// is cancelled before it is sent stays paid for. Each request deposits when it starts; with tower's
/// own policies most deposit when they succeed.
///
/// ```
/// use std::time::Duration;
/// use tower::retry::budget::TpsBudget;
/// use tower_upstream::RetryLayer;
/// use tower_upstream::retry::TowerBudget;
///
/// let budget = TpsBudget::new(Duration::from_secs(10), 1, 0.2);
/// let retry = RetryLayer::builder().budget(TowerBudget::new(budget)).build()?;
/// # let _ = retry;
/// # Ok::<_, tower_upstream::InvalidConfig>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TowerBudget<B>(B);

impl<B> TowerBudget<B> {
    /// Wraps one of tower's budgets.
    pub const fn new(budget: B) -> Self {
        Self(budget)
    }
}

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

#[cfg(test)]
mod tests;

#[cfg(test)]
mod throttle_tests {
    use super::*;

    fn fail(throttle: &RetryThrottle, times: u32) {
        (0..times).for_each(|_| throttle.failed(&Verdict::transient()));
    }

    #[test]
    fn throttle_half_empty_stops_retries() {
        let throttle = RetryThrottle::new().max_tokens(10).token_ratio(0.1);
        fail(&throttle, 4);
        assert!(throttle.withdraw(&Verdict::transient()), "a withdrawal takes no token");
        assert!(throttle.allows());
        fail(&throttle, 1);
        assert!(!throttle.withdraw(&Verdict::transient()));
    }

    #[test]
    fn throttle_deposits_allow_retries_again() {
        let throttle = RetryThrottle::new().max_tokens(10).token_ratio(0.125);
        fail(&throttle, 1_000);
        (0..40).for_each(|_| throttle.deposit());
        assert!(!throttle.allows(), "5 of 10 tokens are not more than half");
        throttle.deposit();
        assert!(throttle.allows());
        (0..10_000).for_each(|_| throttle.deposit());
        fail(&throttle, 5);
        assert!(!throttle.allows(), "the bucket holds at most 10");
    }

    #[test]
    fn throttle_extreme_settings_stay_in_bounds() {
        assert!(!RetryThrottle::new().max_tokens(0).token_ratio(1.0).allows());
        for ratio in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0] {
            let throttle = RetryThrottle::new().max_tokens(1).token_ratio(ratio);
            fail(&throttle, 1);
            throttle.deposit();
            assert!(!throttle.allows(), "{ratio}");
        }
        let throttle = RetryThrottle::new().max_tokens(u32::MAX).token_ratio(f64::INFINITY);
        fail(&throttle, 1);
        throttle.deposit();
        assert!(throttle.allows());
    }
}
