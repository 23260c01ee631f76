use std::fmt;
use std::sync::Arc;

use super::cost::{AndCost, Cost, CostFn, Costs, MAX_QUOTAS, Sealed, UnitCost};
use super::fast_path::FastCharge;
use super::limiter::Limiter;
use super::quota_state::Charge;
use super::state::Charges;
use crate::classify::Classify;
use crate::error::InvalidConfig;
use crate::event::PermitSettled;
use crate::hint::Limits;
use crate::sharded::ShardRef;
use crate::sync::Mutex;
use crate::verdict::Verdict;

/// The units that a call in flight has spent.
#[derive(Debug)]
pub(super) struct Permit {
    limiter: ShardRef<Limiter>,
    spent: Spent,
}

#[derive(Clone, Copy, Debug)]
enum Spent {
    Fast { units: u32, charge: FastCharge },
    Locked(Charges),
}

impl Permit {
    pub(super) fn fast(limiter: ShardRef<Limiter>, units: u32, charge: FastCharge) -> Self {
        Self { limiter, spent: Spent::Fast { units, charge } }
    }

    pub(super) fn locked(limiter: ShardRef<Limiter>, charges: Charges) -> Self {
        Self { limiter, spent: Spent::Locked(charges) }
    }

    fn charges(&self) -> Charges {
        match self.spent {
            Spent::Fast { units, charge: FastCharge { at, mark } } => {
                let mut charges = Charges::default();
                charges[0] = Charge::fast(units, at, mark);
                charges
            }
            Spent::Locked(charges) => charges,
        }
    }

    /// Applies what a response means for the limiter and for the call's cost.
    #[inline]
    pub(super) fn on_response<Res, C, W>(&self, response: &mut Res, classifier: &C, cost: &W)
    where
        C: Classify<Res>,
        W: Settle<Res>,
    {
        let verdict = classifier.classify(Ok(response));
        if !verdict.is_success() {
            self.on_failure(&verdict);
        }
        let settings = &self.limiter.config.settings;
        if settings.learns_limits
            && let Some(headers) = classifier.headers(response)
        {
            let limits = Limits::from_headers(headers);
            if !limits.is_empty() {
                let (now, charges) = (self.limiter.now(), self.charges());
                // By `change`, as more or fewer units may be available than the head of the queue
                // expects.
                self.limiter
                    .change(|state| state.learn(now, &limits, &charges, settings.max_pause));
            }
        }
        if !verdict.is_unsent() {
            cost.settle(response, || Usage::new(self.limiter.clone(), self.charges()));
        }
    }

    /// Applies the verdict of a failed call. Refunds its units if it was never sent.
    pub(super) fn on_failure(&self, verdict: &Verdict) {
        let limiter = &self.limiter;
        limiter.apply_verdict(verdict);
        let charges = self.charges();
        if verdict.is_unsent() && charges.iter().any(|charge| charge.units > 0) {
            // The clock is read under the lock, so that no earlier `send` has a later time.
            limiter.change(|state| state.refund(limiter.now(), &charges));
            limiter.emit_refunded(charges[0].units);
        }
    }
}

/// The units that a finished call has spent, to be settled once the real cost is known: excess units
/// are refunded, missing units are owed. Units of a call that is never settled stay spent.
///
/// It can be stored wherever the cost will be known: in the response's extensions, or in the task
/// that reads its body.
#[derive(Clone, Debug)]
pub struct Usage(Arc<SpentUnits>);

#[derive(Debug)]
struct SpentUnits {
    limiter: ShardRef<Limiter>,
    /// The charges of each quota. The first one is the call's, later ones settle it.
    charges: Mutex<[Vec<Charge>; MAX_QUOTAS]>,
}

impl Usage {
    fn new(limiter: ShardRef<Limiter>, charges: Charges) -> Self {
        let charges = charges
            .map(|charge| Some(charge).filter(|charge| charge.units > 0).into_iter().collect());
        Self(Arc::new(SpentUnits { limiter, charges: Mutex::new(charges) }))
    }

    /// Sets the call's real cost: `used` units of each quota that has this name or counts the
    /// resource of this name (`tokens`). Of several calls, the last one counts.
    ///
    /// # Errors
    ///
    /// If the layer has no quota of that name.
    pub fn settle(&self, quota: &str, used: u32) -> Result<(), InvalidConfig> {
        let SpentUnits { limiter, charges } = &*self.0;
        let config = &limiter.config;
        let mut indices = config.indices(quota).peekable();
        if indices.peek().is_none() {
            return Err(config.unknown_name(quota));
        }
        for index in indices {
            let mut charges = charges.lock();
            let before = limiter
                .change(|state| state.settle(limiter.now(), index, &mut charges[index], used));
            drop(charges);
            if used != before {
                limiter
                    .emit(|| PermitSettled::new(&limiter.name, &config.names[index], before, used));
            }
        }
        Ok(())
    }
}

/// Settles the cost of a call when its response arrives. Sealed; implemented by closures through
/// [`settle_fn`](super::RateLimitBuilder::settle_fn).
pub trait Settle<Res>: Sealed {
    /// Settles the call's `usage`, or stores it. Default: does nothing.
    fn settle(&self, response: &mut Res, usage: impl FnOnce() -> Usage) {
        _ = (response, usage);
    }
}

impl<Res> Settle<Res> for UnitCost {}

impl<F, Res> Settle<Res> for CostFn<F> {}

/// Settles in the same way whether `and` or `settle_fn` was called first.
impl<W: Settle<Res>, F, Res> Settle<Res> for AndCost<W, F> {
    fn settle(&self, response: &mut Res, usage: impl FnOnce() -> Usage) {
        self.costs.settle(response, usage);
    }
}

/// Costs that a closure settles when the response arrives. Created by
/// [`settle_fn`](super::RateLimitBuilder::settle_fn).
#[derive(Clone, Copy)]
pub struct SettledCost<W, G> {
    pub(super) costs: W,
    pub(super) settle_fn: G,
}

impl<W, G> Sealed for SettledCost<W, G> {}

impl<W: Cost<Req>, G, Req> Cost<Req> for SettledCost<W, G> {
    fn costs(&self, request: &Req) -> Costs {
        self.costs.costs(request)
    }
}

impl<W, G, Res> Settle<Res> for SettledCost<W, G>
where
    G: Fn(&mut Res, Usage),
{
    fn settle(&self, response: &mut Res, usage: impl FnOnce() -> Usage) {
        (self.settle_fn)(response, usage());
    }
}

impl<W: fmt::Debug, G> fmt::Debug for SettledCost<W, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettledCost").field("costs", &self.costs).finish_non_exhaustive()
    }
}
