use std::time::Duration;

use super::Quota;
use super::learned::{LearnedLimit, Position};
use super::meter::{Meter, PacedMeter, Rate};
use crate::hint::{Limits, Resource};
use crate::time::nanos;

/// The state of one quota: its configured limit, and the limit that the server reported.
///
/// Units are spent in two steps, as a call may have to wait for the inner service after it was
/// admitted. First they are *taken*, which reserves them. They count in time only from when they are
/// *sent*. Otherwise calls that were admitted in several windows could all be sent in one.
#[derive(Debug)]
pub(super) struct QuotaState {
    resource: Option<Resource>,
    configured: ConfiguredLimit,
    /// `Some` once a response has reported a limit.
    learned: Option<Box<LearnedLimit>>,
    /// Units that are taken and not sent yet.
    reserved: u64,
    /// The number of units that were ever sent.
    sent: u64,
    /// Units that were refunded since the call whose response reported a limit last.
    refunded: Option<RefundedUnits>,
}

#[derive(Debug)]
struct RefundedUnits {
    units: u64,
    /// The smallest [`Charge::sent`] of the refunded charges.
    first_sent: u64,
}

/// The interval at which calls probe an unknown limit, in nanoseconds.
const PROBE_INTERVAL: u64 = 1_000_000_000;

/// The units that one call spent of one quota, and what is needed to refund them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Charge {
    pub(super) units: u32,
    /// When they were sent.
    pub(super) at: u64,
    /// The number of units that had been sent by then, these included. 0 if they passed by the fast
    /// path, which doesn't count them.
    sent: u64,
    /// The mark of a paced meter: see [`PacedMeter::refund`].
    mark: u64,
}

impl Charge {
    /// Creates the charge of a call that passed by the fast path.
    pub(super) fn fast(units: u32, at: u64, mark: u64) -> Self {
        Self { units, at, sent: 0, mark }
    }
}

impl QuotaState {
    pub(super) fn new(quota: &Quota) -> Self {
        Self {
            resource: quota.unit.resource(),
            configured: ConfiguredLimit::new(quota),
            learned: None,
            reserved: 0,
            sent: 0,
            refunded: None,
        }
    }

    /// Replaces the quota from `now` on. What was spent stays spent.
    pub(super) fn set_quota(&mut self, now: u64, quota: &Quota) {
        let observed = self.learned.as_ref().and_then(|learned| learned.used(now));
        self.configured.set_quota(now, quota, self.sent, observed);
    }

    /// Returns the configured capacity: the largest number of units that can ever be taken at once. A
    /// learned limit doesn't count, as it may change.
    pub(super) fn capacity(&self) -> u32 {
        self.configured.capacity()
    }

    /// Returns whether `units`, at most the capacity, may be taken now. The error is a time before
    /// which they can't be taken.
    pub(super) fn admit(&self, now: u64, units: u32) -> Result<(), u64> {
        let configured = match &self.configured {
            _ if units == 0 => return Ok(()),
            ConfiguredLimit::Known(meter) => meter.admit(now, self.reserved, units),
            ConfiguredLimit::Unknown { probe_at, .. }
                if self.learned.is_none() && *probe_at > now =>
            {
                Err(*probe_at)
            }
            ConfiguredLimit::Unknown { .. } => Ok(()),
        };
        match &self.learned {
            None => configured,
            Some(learned) => match (configured, learned.admit(now, self.reserved, units)) {
                (Err(configured), Err(learned)) => Err(configured.max(learned)),
                (configured, learned) => configured.and(learned),
            },
        }
    }

    /// Takes units that were admitted.
    pub(super) fn take(&mut self, now: u64, units: u32) {
        if units == 0 {
            return;
        }
        self.reserved += u64::from(units);
        if let ConfiguredLimit::Unknown { probe_at, .. } = &mut self.configured {
            *probe_at = now.saturating_add(PROBE_INTERVAL);
        }
        if let Some(learned) = &mut self.learned {
            learned.take(units);
        }
    }

    /// Releases units that were taken and won't be sent.
    pub(super) fn release(&mut self, units: u32) {
        self.reserved -= u64::from(units);
        if let Some(learned) = &mut self.learned {
            learned.release(units);
        }
    }

    /// Spends units that were taken, as their call is being sent.
    pub(super) fn send(&mut self, now: u64, units: u32) -> Charge {
        self.reserved -= u64::from(units);
        self.spend(now, units)
    }

    fn spend(&mut self, now: u64, units: u32) -> Charge {
        let mut mark = 0;
        if units > 0 {
            self.sent += u64::from(units);
            if let Some(learned) = &mut self.learned {
                learned.send(now, units.into());
            }
            if let ConfiguredLimit::Known(meter) = &mut self.configured {
                mark = meter.send(now, units.into());
            }
        }
        Charge { units, at: now, sent: self.sent, mark }
    }

    /// Refunds units of a call that was never sent.
    pub(super) fn refund(&mut self, now: u64, charge: Charge) {
        let Charge { units, at, sent, mark } = charge;
        if units == 0 {
            return;
        }
        if let ConfiguredLimit::Known(meter) = &mut self.configured {
            meter.refund(now, units, at, mark);
        }
        if let Some(learned) = &mut self.learned {
            learned.refund(now, units, at, sent);
        }
        if sent > 0 {
            let refunded =
                self.refunded.get_or_insert(RefundedUnits { units: 0, first_sent: sent });
            refunded.units += u64::from(units);
            refunded.first_sent = refunded.first_sent.min(sent);
        }
    }

    /// Adjusts the sum of a call's charges to `used` units: refunds the latest charges, or adds one.
    /// Returns the sum before.
    pub(super) fn settle(&mut self, now: u64, charges: &mut Vec<Charge>, used: u32) -> u32 {
        let before: u32 = charges.iter().map(|charge| charge.units).sum();
        let mut excess = before.saturating_sub(used);
        while excess > 0
            && let Some(last) = charges.last_mut()
        {
            let refund = Charge { units: excess.min(last.units), ..*last };
            last.units -= refund.units;
            excess -= refund.units;
            if last.units == 0 {
                charges.pop();
            }
            self.refund(now, refund);
        }
        let owed = used.saturating_sub(before);
        if owed > 0 {
            charges.push(self.spend(now, owed));
            if let Some(learned) = &mut self.learned {
                learned.take(owed);
            }
        }
        before
    }

    /// Returns the paced meter if it alone decides: no limit is learned, and nothing is reserved.
    pub(super) fn sole_meter(&self) -> Option<&PacedMeter> {
        match &self.configured {
            ConfiguredLimit::Known(Meter::Paced(paced))
                if self.learned.is_none() && self.reserved == 0 =>
            {
                Some(paced)
            }
            _ => None,
        }
    }

    /// Sets the arrival time of the paced meter that was lent to the fast path.
    pub(super) fn set_arrival(&mut self, arrival: u64) {
        if let ConfiguredLimit::Known(Meter::Paced(paced)) = &mut self.configured {
            paced.arrival = arrival;
        }
    }

    /// Learns the limits of this quota's resource from the response to a call.
    pub(super) fn learn(&mut self, now: u64, limits: &Limits, charge: Charge, max_pause: Duration) {
        let limits = self.resource.map(|resource| limits.of(resource));
        let Some(limits) = limits.filter(|limits| !limits.is_empty()) else {
            return;
        };
        // A call that passed by the fast path counts as the last one sent. Calls after it are missed
        // at first, but their responses soon report the same.
        let sent = if charge.sent == 0 { self.sent } else { charge.sent };
        // Refunded units are subtracted only if all of them were sent after this call.
        self.refunded.take_if(|refunded| refunded.first_sent <= sent);
        let refunded = self.refunded.as_ref().map_or(0, |refunded| refunded.units);
        let after = (self.sent - sent).saturating_sub(refunded) + self.reserved;
        let learned = self.learned.get_or_insert_default();
        learned.learn(now, &limits, Position { sent, after }, nanos(max_pause));
        learned.update_pace(now, self.configured.rate());
    }

    /// Discards the learned limit.
    pub(super) fn reset_learned(&mut self) {
        self.learned = None;
    }

    /// Estimates when `units` that come after `ahead` other units can be taken: `from` or later. If
    /// `units` is zero, returns when those other units can be taken.
    pub(super) fn available_at(&self, from: u64, ahead: u64, units: u32) -> u64 {
        let ahead_of_all = self.reserved.saturating_add(ahead);
        let configured = match &self.configured {
            _ if ahead == 0 && units == 0 => return from,
            ConfiguredLimit::Known(meter) => meter.available_at(from, ahead_of_all, units),
            ConfiguredLimit::Unknown { probe_at, .. } if self.learned.is_none() => {
                from.max(*probe_at)
            }
            ConfiguredLimit::Unknown { .. } => from,
        };
        self.learned.as_ref().map_or(configured, |learned| {
            learned.available_at(from, ahead_of_all, units).max(configured)
        })
    }

    /// Returns the number of units that could be taken now.
    pub(super) fn remaining(&self, now: u64) -> u32 {
        let configured = match &self.configured {
            ConfiguredLimit::Known(meter) => {
                u64::from(meter.capacity()).saturating_sub(meter.used(now))
            }
            ConfiguredLimit::Unknown { probe_at, .. } if self.learned.is_none() => {
                u64::from(*probe_at <= now)
            }
            ConfiguredLimit::Unknown { .. } => u64::MAX,
        };
        let configured = configured.saturating_sub(self.reserved);
        let learned =
            self.learned.as_ref().map_or(u64::MAX, |learned| learned.remaining(now, self.reserved));
        u32::try_from(configured.min(learned)).unwrap_or(u32::MAX)
    }

    /// Returns the largest number of units that pass at once, learned limit included.
    pub(super) fn limit(&self) -> u32 {
        let learned = self.learned.as_ref().map_or(u32::MAX, |learned| learned.capacity());
        self.capacity().min(learned)
    }

    /// Returns whether the state equals that of a new quota, so that evicting it loses nothing.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        let configured = match &self.configured {
            ConfiguredLimit::Known(meter) => meter.used(now) == 0,
            ConfiguredLimit::Unknown { probe_at, .. } => *probe_at <= now,
        };
        configured
            && self.reserved == 0
            && self.learned.as_ref().is_none_or(|learned| learned.is_idle(now))
    }
}

/// The limit that is configured.
#[derive(Debug)]
enum ConfiguredLimit {
    Known(Meter),
    /// The limit is unknown. Until a response reports it, one call passes per [`PROBE_INTERVAL`].
    Unknown {
        probe_at: u64,
        /// The meter of the quota before this one, as it was when it was replaced.
        previous: Option<Box<Meter>>,
        /// [`QuotaState::sent`] at that time.
        sent: u64,
    },
}

impl ConfiguredLimit {
    fn new(quota: &Quota) -> Self {
        if quota.is_learned {
            Self::Unknown { probe_at: 0, previous: None, sent: 0 }
        } else {
            Self::Known(Meter::new(0, quota))
        }
    }

    fn capacity(&self) -> u32 {
        match self {
            Self::Known(meter) => meter.capacity(),
            Self::Unknown { .. } => u32::MAX,
        }
    }

    fn rate(&self) -> Option<Rate> {
        match self {
            Self::Known(meter) => Some(meter.rate()),
            Self::Unknown { .. } => None,
        }
    }

    /// Replaces the quota from `now` on. `sent` units were ever sent, of which the learned limit, if
    /// there is one, still counts `observed`.
    fn set_quota(&mut self, now: u64, quota: &Quota, sent: u64, observed: Option<u64>) {
        match (&mut *self, quota.is_learned) {
            (Self::Unknown { .. }, true) => {}
            (Self::Known(meter), false) => meter.set_quota(now, quota),
            (Self::Known(meter), true) => {
                let previous = std::mem::replace(meter, Meter::new(now, quota));
                *self = Self::Unknown { probe_at: 0, previous: Some(Box::new(previous)), sent };
            }
            (Self::Unknown { previous, sent: sent_before, .. }, false) => {
                let mut meter = match previous.take() {
                    Some(mut previous) => {
                        previous.set_quota(now, quota);
                        *previous
                    }
                    None => Meter::new(now, quota),
                };
                // It isn't known when the units since then were sent. They count as sent now, which
                // is the latest possible time, and as at most the capacity.
                let since = observed.unwrap_or(u64::MAX).min(sent - *sent_before);
                meter.send(now, since.min(meter.capacity().into()));
                *self = Self::Known(meter);
            }
        }
    }
}
