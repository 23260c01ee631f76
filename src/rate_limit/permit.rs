use std::sync::Arc;

use http::HeaderMap;

use super::RateLimitEventKind;
use super::books::Receipts;
use super::cost::Costs;
use super::limiter::Limiter;
use crate::classify::Verdict;
use crate::error::InvalidConfig;
use crate::hint::Limits;
use crate::sync::Mutex;

/// What was taken for one call. Dropped before it was sent, it is given back.
#[derive(Debug)]
pub(super) struct Permit {
    limiter: Arc<Limiter>,
    costs: Costs,
    /// Once it was sent.
    receipts: Option<Receipts>,
}

impl Permit {
    /// Of a call that passes at once.
    #[inline]
    pub(super) fn sent_at_once(limiter: Arc<Limiter>, costs: Costs, receipts: Receipts) -> Self {
        Self { limiter, costs, receipts: Some(receipts) }
    }

    /// Of a call that waited, and isn't sent yet.
    pub(super) fn taken(limiter: Arc<Limiter>, costs: Costs) -> Self {
        Self { limiter, costs, receipts: None }
    }

    /// The call is being sent: from here on only its answer can tell that it never left.
    pub(super) fn sent(&mut self) {
        if self.receipts.is_none() {
            let now = self.limiter.now();
            self.receipts = Some(self.limiter.books.lock().send(now, &self.costs));
        }
    }

    /// Takes in how the call ended.
    #[inline]
    pub(super) fn settle(&self, verdict: &Verdict) {
        if !verdict.is_success() {
            self.settle_failure(verdict);
        }
    }

    #[cold]
    fn settle_failure(&self, verdict: &Verdict) {
        self.limiter.obey(verdict);
        if let Some(receipts) = &self.receipts
            && verdict.never_left()
            && !self.costs.are_nothing()
        {
            self.limiter.change(|books| books.give_back(&self.costs, receipts));
            self.limiter.refunded(&self.costs);
        }
    }

    /// Takes in the limits that the answer's headers tell.
    #[inline]
    pub(super) fn learn(&self, headers: &HeaderMap) {
        if self.limiter.rules.settings.taught && Limits::may_be_in(headers) {
            self.learn_limits(&Limits::from_headers(headers));
        }
    }

    fn learn_limits(&self, limits: &Limits) {
        let Some(receipts) = self.receipts.as_ref().filter(|_| !limits.is_empty()) else {
            return;
        };
        let (now, longest) = (self.limiter.now(), self.limiter.rules.settings.max_pause);
        // There may be more to take than was known, or less.
        self.limiter.change(|books| books.learn(now, limits, receipts, longest));
    }

    /// The call cost this much of that limit; what had been taken for it.
    fn settle_cost(&mut self, limit: usize, used: u32) -> u32 {
        let taken = std::mem::replace(&mut self.costs.units[limit], used);
        if let Some(receipts) = &self.receipts {
            let now = self.limiter.now();
            self.limiter.change(|books| books.settle(now, taken, used, receipts, limit));
        }
        taken
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.receipts.is_none() && !self.costs.are_nothing() {
            self.limiter.change(|books| books.put_back(&self.costs));
            self.limiter.refunded(&self.costs);
        }
    }
}

/// What was taken for a call that has been answered, to be settled when its true cost is known:
/// what was too much is given back, what was too little is owed. Until then, and
/// where it is never known, what was taken stays spent.
///
/// It can go wherever the cost will be known: into the response's extensions, into
/// the task that reads its body.
#[derive(Clone, Debug)]
pub struct Usage(Arc<Mutex<Permit>>);

impl Usage {
    pub(super) fn new(permit: Permit) -> Self {
        Self(Arc::new(Mutex::new(permit)))
    }

    /// The call cost this much of the quota that has this name, or counts the resource of this
    /// name (`tokens`). Told again, the last number counts.
    ///
    /// # Errors
    ///
    /// If the layer has no quota of that name.
    pub fn settle(&self, quota: &str, used: u32) -> Result<(), InvalidConfig> {
        let mut permit = self.0.lock();
        let limiter = Arc::clone(&permit.limiter);
        let taken = permit.settle_cost(limiter.rules.place_of(quota)?, used);
        drop(permit);
        if used != taken {
            limiter.tell(|| RateLimitEventKind::Settled { taken, used });
        }
        Ok(())
    }
}
