use std::sync::Arc;

use super::bill::{Bill, Spent};
use super::books::Receipts;
use super::cost::Costs;
use super::limiter::Limiter;
use crate::error::InvalidConfig;
use crate::event::PermitSettled;
use crate::sharded::ShardRef;
use crate::sync::Mutex;

/// What was taken for a call that has been answered, to be settled when its true cost is known:
/// what was too much is given back, what was too little is owed. Until then, and
/// where it is never known, what was taken stays spent.
///
/// It can go wherever the cost will be known: into the response's extensions, into
/// the task that reads its body.
#[derive(Clone, Debug)]
pub struct Usage(Arc<Answered>);

#[derive(Debug)]
struct Answered {
    limiter: ShardRef<Limiter>,
    bills: Mutex<[Bill; Costs::MOST]>,
}

impl Usage {
    pub(super) fn new(limiter: ShardRef<Limiter>, costs: &Costs, receipts: &Receipts) -> Self {
        let bill = |limit: usize| {
            let (units, receipt) = (costs.units[limit], receipts.limits[limit]);
            Bill::new(Spent { units, at: receipts.at, receipt })
        };
        Self(Arc::new(Answered { limiter, bills: Mutex::new(std::array::from_fn(bill)) }))
    }

    /// Tells that the call cost `used` units of the quotas that have this name, or count the
    /// resource of this name (`tokens`). If this is told again, the last number counts.
    ///
    /// # Errors
    ///
    /// If the layer has no quota of that name.
    pub fn settle(&self, quota: &str, used: u32) -> Result<(), InvalidConfig> {
        let Answered { limiter, bills } = &*self.0;
        let mut places = limiter.rules.places_of(quota).peekable();
        if places.peek().is_none() {
            return Err(limiter.rules.none_of(quota));
        }
        for limit in places {
            let mut bills = bills.lock();
            let bill = &mut bills[limit];
            let taken = bill.units();
            limiter.change(|books| books.settle(limiter.now(), limit, bill, used));
            drop(bills);
            if used != taken {
                let limit = limiter.rules.name_of(limit);
                limiter.emit(|| PermitSettled::new(&limiter.name, limit, taken, used));
            }
        }
        Ok(())
    }
}
