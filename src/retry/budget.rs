use std::sync::Arc;

use crate::classify::Verdict;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::{self, Instant};

mod of_tower;
mod throttle;

pub use self::of_tower::TowerBudget;
pub use self::throttle::RetryThrottle;

/// Bounds how much a client adds to the load of an upstream that is failing.
///
/// Each logical request deposits, each retry withdraws; when nothing is left,
/// failures are returned instead of retried. Attempts alone don't bound
/// anything: with four attempts a request, an upstream that fails gets four
/// times its load.
pub trait Budget: Send + Sync + 'static {
    /// A logical request has begun.
    fn deposit(&self);

    /// An attempt has failed in a way that is worth another one, which may be refused yet. By
    /// default that alone costs nothing.
    fn failed(&self, verdict: &Verdict) {
        let _ = verdict;
    }

    /// Takes what a retry after this verdict costs; false if there isn't enough,
    /// and nothing is taken.
    fn withdraw(&self, verdict: &Verdict) -> bool;

    /// Gives back what a retry after this verdict cost that was called off before
    /// it was sent, or turned away on this side. One that is dropped while a layer below has it in a queue
    /// counts as sent. By default nothing comes back.
    fn give_back(&self, verdict: &Verdict) {
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

    fn give_back(&self, verdict: &Verdict) {
        (**self).give_back(verdict);
    }
}

/// A share of the requests, plus a few a second.
///
/// Over any span of time, retries ≤ ratio × requests + rate × seconds +
/// reserve, and so sends ≤ requests × (1 + ratio) + rate × seconds + reserve. A retry's own success
/// gives nothing back.
///
/// Requests and retries count in this when they are made and decided on, which a retry is before it waits:
/// where waits end together, as those for one `Retry-After` do but for their jitter, the retries of the time
/// in which they were decided on are sent together. With a [failover](crate::failover) below, the bound is
/// that of each region, as it costs nothing to try the next one.
///
/// The idea is Finagle's `RetryBudget`.
#[derive(Debug)]
pub struct RetryBudget {
    /// In the units of [`RETRY`], as are the reserve and the balance.
    deposit: u64,
    reserve: u64,
    per_second: f64,
    cost: fn(&Verdict) -> u32,
    balance: AtomicU64,
    refilled: Mutex<Instant>,
}

/// A retry, in the units of the balance: so fine that neither a small ratio nor
/// the fraction left over by a refill is lost, and no reserve overflows.
const RETRY: u64 = 1_000_000_000;
const RETRY_F64: f64 = 1e9;

impl RetryBudget {
    /// `ratio` of the requests may be retried, 0.2 being a fifth; besides
    /// `per_second` a second, for clients with few requests; and `reserve` can be
    /// saved up.
    ///
    /// What doesn't fit in the reserve is lost: with a reserve of zero there are
    /// no retries. A ratio or rate that is negative or not a number is taken for zero.
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

    /// What a retry after this verdict costs, in retries. Default: 1, whatever it is. 0 is taken for
    /// 1: what costs nothing has no bound.
    ///
    /// ```
    /// use tower_upstream::classify::{Cause, Class};
    /// use tower_upstream::retry::RetryBudget;
    ///
    /// // A timeout held a connection all the while and was billed, maybe; a refusal cost nobody anything.
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

    /// How many retries could be made now, each at a cost of 1.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.refill(time::now());
        u32::try_from(self.balance.load(Ordering::Relaxed) / RETRY).unwrap_or(u32::MAX)
    }

    fn cost(&self, verdict: &Verdict) -> u64 {
        u64::from((self.cost)(verdict).max(1)) * RETRY
    }

    fn add(&self, units: u64) {
        // Mostly it is full, and then there is nothing to write.
        if self.balance.load(Ordering::Relaxed) < self.reserve {
            let add = |balance: u64| Some(balance.saturating_add(units).min(self.reserve));
            _ = self.balance.fetch_update(Ordering::AcqRel, Ordering::Relaxed, add);
        }
    }

    /// Adds what the time since the last refill is worth.
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

/// A fifth of the requests, one every ten seconds, and a reserve of ten.
///
/// The rate is a tenth of a common small quota, 60 a minute: a client that uses half of that stays
/// within it also while everything fails. For a smaller one give a sixth of it as the reserve, and a
/// tenth as the rate: `RetryBudget::new(0.2, 0.03, 3)` for 20 a minute.
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

    fn give_back(&self, verdict: &Verdict) {
        self.add(self.cost(verdict));
    }
}

#[cfg(test)]
mod tests;
