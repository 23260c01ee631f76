use std::sync::Arc;

use super::charge::{Charge, Spent};
use super::cost::Costs;
use super::limiter::Limiter;
use super::state::Charges;
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
