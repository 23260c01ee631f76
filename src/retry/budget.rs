use std::sync::Arc;

use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::{self, Instant};
use crate::verdict::Verdict;

/// Bounds how much a client adds to the load of an upstream that is failing.
///
/// Each logical request deposits, and each retry withdraws. When nothing is left,
/// failures are returned instead of retried. A limit on attempts alone doesn't bound the load: with
/// four attempts per request, an upstream that fails gets four times its load.
pub trait Budget: Send + Sync + 'static {
    /// A logical request has begun.
    fn deposit(&self);

    /// An attempt has failed in a way that is worth a retry, whether or not one is made. By default
    /// this costs nothing.
    fn failed(&self, verdict: &Verdict) {
        let _ = verdict;
    }

    /// Takes what a retry after this verdict costs. Returns false, and takes nothing, if there isn't
    /// enough.
    fn withdraw(&self, verdict: &Verdict) -> bool;

    /// Gives back what a retry after this verdict cost, as the retry was called off before
    /// it was sent, or was turned away on this side. A retry that is dropped in the queue of a layer
    /// below counts as sent. By default nothing is given back.
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

/// Allows retries for a share of the requests, plus a few per second.
///
/// Over any span of time, retries ≤ ratio × requests + rate × seconds +
/// reserve, and so sends ≤ requests × (1 + ratio) + rate × seconds + reserve. A retry that succeeds
/// gives nothing back.
///
/// A retry counts when it is decided on, before its wait. Where many waits end together, as after one
/// `Retry-After` with little jitter, more retries than that can be sent at once: all that were decided
/// on meanwhile. With a [failover](crate::failover) below, the bound holds for each region, as trying
/// the next region costs nothing.
///
/// The idea is Finagle's `RetryBudget`.
#[derive(Debug)]
pub struct RetryBudget {
    /// Counted in units of which a retry is [`RETRY`], as are the reserve and the balance.
    deposit: u64,
    reserve: u64,
    per_second: f64,
    cost: fn(&Verdict) -> u32,
    balance: AtomicU64,
    refilled: Mutex<Instant>,
}

/// One retry, in units of the balance. The unit is fine enough to keep a small ratio and the
/// fraction of a refill, and coarse enough that no reserve overflows.
const RETRY: u64 = 1_000_000_000;
const RETRY_F64: f64 = 1e9;

impl RetryBudget {
    /// Allows `ratio` retries per request, where 0.2 is one in five, and `per_second` retries per
    /// second, for clients with few requests. Up to `reserve` unused ones are saved, and it starts
    /// with as many.
    ///
    /// What doesn't fit in the reserve is lost, so with a reserve of zero there are
    /// no retries. A ratio or rate that is negative or not a number is taken as zero.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
    pub fn new(ratio: f64, per_second: f64, reserve: u32) -> Self {
        let reserve = u64::from(reserve) * RETRY;
        Self {
            deposit: ((ratio * RETRY_F64).round() as u64).min(reserve),
            reserve,
            per_second: if per_second > 0.0 { per_second } else { 0.0 },
            cost: |_| 1,
            balance: AtomicU64::new(reserve),
            refilled: Mutex::new(time::now()),
        }
    }

    /// What a retry after a verdict costs, in retries. Default: 1 for every verdict. 0 is taken as
    /// 1, since retries without a cost would have no bound.
    ///
    /// ```
    /// use tower_upstream::classify::{Cause, Class};
    /// use tower_upstream::retry::RetryBudget;
    ///
    /// // A timeout held a connection and may have been billed; a refusal cost nothing.
    /// let budget = RetryBudget::new(0.5, 0.1, 20).cost_fn(|verdict| match verdict.class() {
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

    /// Returns how many retries could be made now, at a cost of 1 each.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.refill(time::now());
        u32::try_from(self.balance.load(Ordering::Relaxed) / RETRY).unwrap_or(u32::MAX)
    }

    fn cost(&self, verdict: &Verdict) -> u64 {
        u64::from((self.cost)(verdict).max(1)) * RETRY
    }

    fn add(&self, units: u64) {
        // Most of the time it is full, and nothing needs to be written.
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

/// Allows retries for a fifth of the requests, one more every ten seconds, and a reserve of ten.
///
/// The rate is a tenth of a common small quota, 60 a minute. A client that uses half of such a quota
/// stays within it even while everything fails. For a smaller quota set the reserve to a sixth of it and the
/// rate to a tenth: `RetryBudget::new(0.2, 0.03, 3)` for 20 a minute.
impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(0.2, 0.1, 10)
    }
}

impl Budget for RetryBudget {
    fn deposit(&self) {
        self.add(self.deposit);
    }

    fn withdraw(&self, verdict: &Verdict) -> bool {
        self.refill(time::now());
        let cost = self.cost(verdict);
        let take = |balance: u64| balance.checked_sub(cost);
        self.balance.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).is_ok()
    }

    fn release(&self, verdict: &Verdict) {
        self.add(self.cost(verdict));
    }
}

#[cfg(test)]
mod tests;

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
/// let retry = RetryLayer::builder().budget(TowerBudget(budget)).build()?;
/// # let _ = retry;
/// # Ok::<_, tower_upstream::InvalidConfig>(())
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

/// Stops all retries while the upstream fails more than it answers: gRPC's retry throttling.
///
/// It is a bucket of tokens, full at first. Each failed attempt takes a token, even if it isn't
/// retried, and each request adds a fraction of one. Retries are made while the bucket is more than
/// half full. Unlike a [`RetryBudget`](super::RetryBudget) it doesn't bound the load that retries add
/// while few attempts fail.
///
/// From gRFC A6, "Throttling Retry Attempts and Hedged RPCs". Differs: a request adds its
/// fraction when it begins, not when it succeeds, so that a success costs nothing.
///
/// ```
/// use tower_upstream::RetryLayer;
/// use tower_upstream::retry::RetryThrottle;
///
/// let retry = RetryLayer::builder().budget(RetryThrottle::new(10, 0.1)).build()?;
/// # let _ = retry;
/// # Ok::<_, tower_upstream::InvalidConfig>(())
/// ```
#[derive(Debug)]
pub struct RetryThrottle {
    /// Counted in thousandths of a token, as are the others: gRPC uses three decimals of the ratio.
    max: u64,
    ratio: u64,
    tokens: AtomicU64,
}

const TOKEN: u64 = 1000;
const TOKEN_F64: f64 = 1000.0;

impl RetryThrottle {
    /// A bucket of `max_tokens` tokens, to which each request adds `token_ratio` tokens: gRPC's
    /// `maxTokens` and `tokenRatio`.
    ///
    /// With zero tokens there are no retries. A ratio that is negative or not a number is taken as zero.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
    pub fn new(max_tokens: u32, token_ratio: f64) -> Self {
        let max = u64::from(max_tokens) * TOKEN;
        let ratio = ((token_ratio * TOKEN_F64).round() as u64).min(max);
        Self { max, ratio, tokens: AtomicU64::new(max) }
    }

    /// Returns whether retries are made now.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.tokens.load(Ordering::Relaxed) > self.max / 2
    }
}

impl Budget for RetryThrottle {
    fn deposit(&self) {
        // Most of the time it is full, and nothing needs to be written.
        if self.tokens.load(Ordering::Relaxed) < self.max {
            let add = |tokens: u64| Some((tokens + self.ratio).min(self.max));
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

#[cfg(test)]
mod throttle_tests {
    use super::*;

    fn fail(throttle: &RetryThrottle, times: u32) {
        (0..times).for_each(|_| throttle.failed(&Verdict::transient()));
    }

    #[test]
    fn retries_stop_at_half() {
        let throttle = RetryThrottle::new(10, 0.1);
        fail(&throttle, 4);
        assert!(throttle.withdraw(&Verdict::transient()), "asking takes nothing");
        assert!(throttle.allows());
        fail(&throttle, 1);
        assert!(!throttle.withdraw(&Verdict::transient()));
    }

    #[test]
    fn requests_bring_them_back() {
        let throttle = RetryThrottle::new(10, 0.125);
        fail(&throttle, 1_000);
        (0..40).for_each(|_| throttle.deposit());
        assert!(!throttle.allows(), "five tokens are half");
        throttle.deposit();
        assert!(throttle.allows());
        (0..10_000).for_each(|_| throttle.deposit());
        fail(&throttle, 5);
        assert!(!throttle.allows(), "there are never more than ten");
    }

    #[test]
    fn extremes() {
        assert!(!RetryThrottle::new(0, 1.0).allows());
        for ratio in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0] {
            let throttle = RetryThrottle::new(1, ratio);
            fail(&throttle, 1);
            throttle.deposit();
            assert!(!throttle.allows(), "{ratio}");
        }
        let throttle = RetryThrottle::new(u32::MAX, f64::INFINITY);
        fail(&throttle, 1);
        throttle.deposit();
        assert!(throttle.allows());
    }
}
