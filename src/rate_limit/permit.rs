use std::mem;
use std::sync::Arc;

use http::HeaderMap;

use super::cost::{Costs, Settle};
use super::fast_path::FastPermit;
use super::limiter::{Arrival, Limiter, WaitLimit};
use super::queue::QueuedCall;
use super::quota_state::{Charge, Spent};
use super::state::Charges;
use crate::classify::Classify;
use crate::error::{BoxError, InvalidConfig};
use crate::event::PermitSettled;
use crate::hint::Limits;
use crate::sharded::ShardRef;
use crate::sync::Mutex;
use crate::time;
use crate::verdict::Verdict;

/// What was taken for a call that isn't sent yet. If this is dropped before the call is sent, the
/// units are given back.
#[derive(Debug)]
pub(super) struct Reservation {
    limiter: ShardRef<Limiter>,
    costs: Costs,
    wait_limit: WaitLimit,
}

/// What was taken for a call that was sent.
#[derive(Debug)]
pub(super) struct Permit {
    limiter: ShardRef<Limiter>,
    taken: Taken,
}

#[derive(Clone, Copy, Debug)]
enum Taken {
    Fast { units: u32, fast_permit: FastPermit },
    Locked { costs: Costs, charges: Charges },
}

impl Reservation {
    pub(super) fn new(limiter: ShardRef<Limiter>, costs: Costs, wait_limit: WaitLimit) -> Self {
        Self { limiter, costs, wait_limit }
    }

    /// The call is being sent: from here on only its answer can tell that it never left.
    /// `None`: the gate has closed since it was let through.
    pub(super) fn send(&mut self) -> Option<Permit> {
        let charges = self.limiter.state_lock.state().send(self.limiter.now(), &self.costs)?;
        let costs = mem::take(&mut self.costs);
        Some(Permit::locked(self.limiter.clone(), costs, charges))
    }

    /// Gives back what was taken, and lines up again with the wait limit that is left.
    pub(super) fn line_up_anew(&mut self) -> Result<QueuedCall, BoxError> {
        let (limiter, costs) = (self.limiter.clone(), self.costs);
        self.restore();
        Arrival { limiter, costs, at: time::now() }.wait(self.wait_limit)
    }

    fn restore(&mut self) {
        let costs = mem::take(&mut self.costs);
        if !costs.are_nothing() {
            self.limiter.change(|state| state.restore(&costs));
            self.limiter.refunded(&costs);
        }
    }

    /// Takes in why the call isn't sent.
    pub(super) fn settle(&self, verdict: &Verdict) {
        self.limiter.apply_verdict(verdict);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.restore();
    }
}

impl Permit {
    #[inline]
    pub(super) fn fast(limiter: ShardRef<Limiter>, costs: &Costs, fast_permit: FastPermit) -> Self {
        Self { limiter, taken: Taken::Fast { units: costs.units[0], fast_permit } }
    }

    #[inline]
    pub(super) fn locked(limiter: ShardRef<Limiter>, costs: Costs, charges: Charges) -> Self {
        Self { limiter, taken: Taken::Locked { costs, charges } }
    }

    /// What was sent, and what is needed to give it back.
    fn charges(&self) -> (Costs, Charges) {
        match self.taken {
            Taken::Fast { units, fast_permit } => (Costs::of(units), fast_permit.into()),
            Taken::Locked { costs, charges } => (costs, charges),
        }
    }

    /// Takes in what a response tells.
    #[inline]
    pub(super) fn take_in<Res, C, W>(&self, response: &mut Res, classifier: &C, cost: &W)
    where
        C: Classify<Res>,
        W: Settle<Res>,
    {
        let verdict = classifier.classify(Ok(response));
        if !verdict.is_success() {
            self.settle(&verdict);
        }
        if let Some(headers) = classifier.headers(response) {
            self.learn(headers);
        }
        if !verdict.is_unsent() {
            cost.settle(response, || self.usage());
        }
    }

    /// Takes in how the call failed.
    #[cold]
    pub(super) fn settle(&self, verdict: &Verdict) {
        let limiter = &self.limiter;
        limiter.apply_verdict(verdict);
        if verdict.is_unsent() {
            let (costs, charges) = self.charges();
            if !costs.are_nothing() {
                limiter.change(|state| state.refund(limiter.now(), &costs, &charges));
                limiter.refunded(&costs);
            }
        }
    }

    /// Takes in the limits that the answer's headers tell.
    #[inline]
    fn learn(&self, headers: &HeaderMap) {
        if !headers.is_empty() && self.limiter.config.settings.taught {
            self.learn_limits(headers);
        }
    }

    fn learn_limits(&self, headers: &HeaderMap) {
        let limits = Limits::from_headers(headers);
        if !limits.is_empty() {
            let (_, charges) = self.charges();
            let (now, longest) = (self.limiter.now(), self.limiter.config.settings.max_pause);
            // By `change`, which wakes the head of the queue: there may be more to take than it
            // knew, or less.
            self.limiter.change(|state| state.learn(now, &limits, &charges, longest));
        }
    }

    /// What was taken for a call that was answered, to be settled when its true cost is known.
    fn usage(&self) -> Usage {
        let (costs, charges) = self.charges();
        Usage::new(self.limiter.clone(), &costs, &charges)
    }
}

/// What was taken for a call that has been answered, to be settled when its true cost is known:
/// what was too much is given back, what was too little is owed. Until then, and
/// where it is never known, what was taken stays spent.
///
/// It can go wherever the cost will be known: into the response's extensions, into
/// the task that reads its body.
#[derive(Clone, Debug)]
pub struct Usage(Arc<SettledCall>);

#[derive(Debug)]
struct SettledCall {
    limiter: ShardRef<Limiter>,
    charges: Mutex<[Charge; Costs::MOST]>,
}

impl Usage {
    pub(super) fn new(limiter: ShardRef<Limiter>, costs: &Costs, charges: &Charges) -> Self {
        let charge = |limit: usize| {
            let (units, charge) = (costs.units[limit], charges.limits[limit]);
            Charge::new(Spent { units, at: charges.at, charge })
        };
        Self(Arc::new(SettledCall { limiter, charges: Mutex::new(std::array::from_fn(charge)) }))
    }

    /// Tells that the call cost `used` units of the quotas that have this name, or count the
    /// resource of this name (`tokens`). If this is observed again, the last number counts.
    ///
    /// # Errors
    ///
    /// If the layer has no quota of that name.
    pub fn settle(&self, quota: &str, used: u32) -> Result<(), InvalidConfig> {
        let SettledCall { limiter, charges } = &*self.0;
        let mut places = limiter.config.places_of(quota).peekable();
        if places.peek().is_none() {
            return Err(limiter.config.none_of(quota));
        }
        for limit in places {
            let mut charges = charges.lock();
            let charge = &mut charges[limit];
            let taken = charge.units();
            limiter.change(|state| state.settle(limiter.now(), limit, charge, used));
            drop(charges);
            if used != taken {
                let limit = limiter.config.name_of(limit);
                limiter.emit(|| PermitSettled::new(&limiter.name, limit, taken, used));
            }
        }
        Ok(())
    }
}
