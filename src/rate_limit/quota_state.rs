use std::num::NonZeroU64;
use std::time::Duration;

use super::learned::{LearnedLimit, Sent};
use super::meter::{Meter, Paced, Rate};
use super::quota::Label;
use super::{LimitStatus, Quota};
use crate::hint::Limits;
use crate::time::nanos;

/// One of a limiter's limits: what is configured, and what the server tells of it.
///
/// Units are spent in two steps, since a call may have to wait for the inner service between the
/// decision and the state. First they are *taken*, which keeps them from other calls. They count
/// in time only from when they are *sent*: otherwise calls that were let through in several windows
/// could all be sent in one.
#[derive(Debug)]
pub(super) struct QuotaState {
    label: Label,
    configured: ConfiguredLimit,
    /// Made when an answer first tells something.
    learned: Option<Box<LearnedLimit>>,
    /// Units that were taken and aren't sent yet.
    reserved: u64,
    /// How many units were ever sent.
    sent: u64,
    /// Those of them that never left, since the last call whose answer observed something.
    unsent: Option<Unsent>,
}

/// Units that were sent and have never left.
#[derive(Debug)]
struct Unsent {
    units: u64,
    /// The smallest of the numbers on their charges.
    first: NonZeroU64,
}

/// While a limit is unknown, one call passes per `TRY`.
const TRY: u64 = 1_000_000_000;

/// What is needed to give back units that were sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QuotaCharge {
    /// How many units had been sent by then, with these. `None` if they passed by the fast path, which
    /// doesn't count, or if nothing had been sent.
    pub(super) number: Option<NonZeroU64>,
    /// Their entry in a paced quota: see [`Paced::refund`].
    pub(super) mark: u64,
}

impl QuotaState {
    pub(super) fn new(quota: &Quota) -> Self {
        Self {
            label: quota.label,
            configured: ConfiguredLimit::new(quota),
            learned: None,
            reserved: 0,
            sent: 0,
            unsent: None,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.label.name()
    }

    /// Puts another quota in force from now on. Nothing that was spent is evicted.
    pub(super) fn set_quota(&mut self, now: u64, quota: &Quota) {
        let observed = self.learned.as_ref().and_then(|learned| learned.used(now));
        self.configured.change(now, quota, self.sent, observed);
    }

    /// The most units that can ever be taken at once, as configured. What the server tells doesn't
    /// matter here, as it may change.
    pub(super) fn capacity(&self) -> u32 {
        self.configured.capacity()
    }

    /// Whether `units`, at most the capacity, may be taken now. If not, the error is a time before
    /// which they can't be.
    #[inline]
    pub(super) fn admit(&self, now: u64, units: u32) -> Result<(), u64> {
        let here = match &self.configured {
            _ if units == 0 => return Ok(()),
            ConfiguredLimit::Known(meter) => meter.admit(now, self.reserved, units),
            ConfiguredLimit::Unknown { next, .. } if self.learned.is_none() && *next > now => {
                Err(*next)
            }
            ConfiguredLimit::Unknown { .. } => Ok(()),
        };
        match &self.learned {
            None => here,
            Some(learned) => match (here, learned.admit(now, self.reserved, units)) {
                (Err(here), Err(there)) => Err(here.max(there)),
                (here, there) => here.and(there),
            },
        }
    }

    /// Takes units that were admitted, and sends them.
    #[inline]
    pub(super) fn pass(&mut self, now: u64, units: u32) -> QuotaCharge {
        if units == 0 {
            return QuotaCharge { number: NonZeroU64::new(self.sent), mark: 0 };
        }
        self.note_taken(now, units);
        self.spend(now, units)
    }

    /// Takes units that were admitted.
    pub(super) fn take(&mut self, now: u64, units: u32) {
        if units > 0 {
            self.reserved += u64::from(units);
            self.note_taken(now, units);
        }
    }

    #[inline]
    fn note_taken(&mut self, now: u64, units: u32) {
        if let ConfiguredLimit::Unknown { next, .. } = &mut self.configured {
            *next = now.saturating_add(TRY);
        }
        if let Some(learned) = &mut self.learned {
            learned.take(units);
        }
    }

    /// Units that were taken are being sent.
    pub(super) fn send(&mut self, now: u64, units: u32) -> QuotaCharge {
        self.reserved -= u64::from(units);
        self.spend(now, units)
    }

    /// A call turned out to cost `used` units.
    pub(super) fn settle(&mut self, now: u64, charge: &mut Charge, used: u32) {
        while let Some(spent) = charge.take_off(used) {
            self.refund(now, spent);
        }
        let units = used - charge.units();
        if units > 0 {
            charge.owe(Spent { units, at: now, charge: self.spend(now, units) });
            if let Some(learned) = &mut self.learned {
                learned.take(units);
            }
        }
    }

    #[inline]
    fn spend(&mut self, now: u64, units: u32) -> QuotaCharge {
        let units = u64::from(units);
        self.sent += units;
        if let Some(learned) = &mut self.learned {
            learned.send(now, units);
        }
        let mark = match &mut self.configured {
            ConfiguredLimit::Known(meter) => meter.send(now, units),
            ConfiguredLimit::Unknown { .. } => 0,
        };
        QuotaCharge { number: NonZeroU64::new(self.sent), mark }
    }

    /// Units that were taken won't be sent.
    pub(super) fn restore(&mut self, units: u32) {
        self.reserved -= u64::from(units);
        if let Some(learned) = &mut self.learned {
            learned.restore(units);
        }
    }

    /// Units that were sent turn out to have never left.
    pub(super) fn refund(&mut self, now: u64, Spent { units, at, charge }: Spent) {
        if units == 0 {
            return;
        }
        if let ConfiguredLimit::Known(meter) = &mut self.configured {
            meter.refund(now, units, at, charge.mark);
        }
        if let Some(learned) = &mut self.learned {
            learned.refund(now, units, at, charge.number.map_or(0, NonZeroU64::get));
        }
        if let Some(number) = charge.number {
            let unsent = self.unsent.get_or_insert(Unsent { units: 0, first: number });
            unsent.units += u64::from(units);
            unsent.first = unsent.first.min(number);
        }
    }

    /// The paced quota, if it alone decides: the server has observed nothing, and all that was taken is
    /// sent.
    pub(super) fn loan(&self) -> Option<&Paced> {
        match &self.configured {
            ConfiguredLimit::Known(meter) if self.learned.is_none() && self.reserved == 0 => {
                meter.as_paced()
            }
            _ => None,
        }
    }

    /// Takes back the arrival time that was lent, as it is now.
    pub(super) fn take_back(&mut self, arrival: u64) {
        if let ConfiguredLimit::Known(Meter::Paced(paced)) = &mut self.configured {
            paced.arrival = arrival;
        }
    }

    /// Takes in what the answer to a call tells of this limit.
    pub(super) fn learn(
        &mut self,
        now: u64,
        limits: &Limits,
        charge: QuotaCharge,
        longest: Duration,
    ) {
        let limits = self.label.resource().map(|resource| limits.of(resource));
        if let Some(limits) = limits.filter(|limits| !limits.is_empty()) {
            // A call that passed by the fast path has no number: it counts as the last one sent. Calls
            // after it are missed at first, but their answers tell the same soon.
            let number = charge.number.map_or(self.sent, NonZeroU64::get);
            // Units that never left are subtracted only if all of them were sent after this call.
            self.unsent.take_if(|unsent| unsent.first.get() <= number);
            let unsent = self.unsent.as_ref().map_or(0, |unsent| unsent.units);
            let after = (self.sent - number).saturating_sub(unsent) + self.reserved;
            let sent = Sent { number, after };
            let learned = self.learned.get_or_insert_with(|| Box::new(LearnedLimit::new()));
            learned.learn(now, &limits, sent, nanos(longest));
            learned.keep_below(now, self.configured.rate());
        }
    }

    /// Forgets what the server observed.
    pub(super) fn clear_learned(&mut self) {
        self.learned = None;
    }

    /// When `units` that come after `ahead` others can be taken, as far as is known: at `from` or
    /// later. If `units` is zero, when those others can.
    pub(super) fn available_at(&self, from: u64, ahead: u64, units: u32) -> u64 {
        let before = self.reserved.saturating_add(ahead);
        let here = match &self.configured {
            _ if ahead == 0 && units == 0 => return from,
            ConfiguredLimit::Known(meter) => meter.available_at(from, before, units),
            ConfiguredLimit::Unknown { next, .. } if self.learned.is_none() => from.max(*next),
            ConfiguredLimit::Unknown { .. } => from,
        };
        let there = self.learned.as_ref();
        there.map_or(here, |learned| learned.available_at(from, before, units).max(here))
    }

    /// How many units could be taken now.
    pub(super) fn remaining(&self, now: u64) -> u32 {
        let here = match &self.configured {
            ConfiguredLimit::Known(meter) => {
                u64::from(meter.capacity()).saturating_sub(meter.used(now))
            }
            ConfiguredLimit::Unknown { next, .. } if self.learned.is_none() => {
                u64::from(*next <= now)
            }
            ConfiguredLimit::Unknown { .. } => u64::MAX,
        };
        let here = here.saturating_sub(self.reserved);
        let there =
            self.learned.as_ref().map_or(u64::MAX, |learned| learned.remaining(now, self.reserved));
        u32::try_from(here.min(there)).unwrap_or(u32::MAX)
    }

    pub(super) fn status(&self, now: u64) -> LimitStatus {
        let observed = self.learned.as_ref().map_or(u32::MAX, |learned| learned.capacity());
        let limit = self.capacity().min(observed);
        LimitStatus { name: self.name(), remaining: self.remaining(now), limit }
    }

    /// Whether nothing would be lost if the quota were evicted now.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        let here = match &self.configured {
            ConfiguredLimit::Known(meter) => meter.used(now) == 0,
            ConfiguredLimit::Unknown { next, .. } => *next <= now,
        };
        here && self.reserved == 0
            && self.learned.as_ref().is_none_or(|learned| learned.is_idle(now))
    }
}

/// A limit as it is configured.
#[derive(Debug)]
pub(super) enum ConfiguredLimit {
    Known(Meter),
    /// No limit is configured. Until the server tells one, a call passes once in a while.
    Unknown {
        next: u64,
        /// The meter of the quota before this, as it was then.
        before: Option<Box<Meter>>,
        /// How many units had been sent by then.
        sent: u64,
    },
}

impl ConfiguredLimit {
    pub(super) fn new(quota: &Quota) -> Self {
        if quota.taught {
            Self::Unknown { next: 0, before: None, sent: 0 }
        } else {
            Self::Known(Meter::since(0, quota))
        }
    }

    /// How many units may be taken at once.
    pub(super) fn capacity(&self) -> u32 {
        match self {
            Self::Known(meter) => meter.capacity(),
            Self::Unknown { .. } => u32::MAX,
        }
    }

    /// How many units pass in what time, in the long run, if that is known.
    pub(super) fn rate(&self) -> Option<Rate> {
        match self {
            Self::Known(meter) => Some(meter.rate()),
            Self::Unknown { .. } => None,
        }
    }

    /// Puts another quota in force from now on. `sent` units were ever sent; of them the server's
    /// limit, if it is known, still counts `observed`.
    pub(super) fn change(&mut self, now: u64, quota: &Quota, sent: u64, observed: Option<u64>) {
        match (&mut *self, quota.taught) {
            (Self::Unknown { .. }, true) => {}
            (Self::Known(meter), false) => meter.change(now, quota),
            (Self::Known(meter), true) => {
                let before = std::mem::replace(meter, Meter::since(now, quota));
                *self = Self::Unknown { next: 0, before: Some(Box::new(before)), sent };
            }
            (Self::Unknown { before, sent: known, .. }, false) => {
                let mut meter = match before.take() {
                    Some(mut before) => {
                        before.change(now, quota);
                        *before
                    }
                    None => Meter::since(now, quota),
                };
                // When the units since then were sent isn't known. They count as sent now, which is
                // the latest possible, and as no more than the capacity.
                let meanwhile = observed.unwrap_or(u64::MAX).min(sent - *known);
                meter.send(now, meanwhile.min(meter.capacity().into()));
                *self = Self::Known(meter);
            }
        }
    }
}

/// What one call has spent of one quota.
#[derive(Debug)]
pub(super) struct Charge {
    taken: Spent,
    /// What was spent on top, as the answer observed a higher cost.
    owed: Vec<Spent>,
    /// The sum of both.
    units: u32,
}

/// Units that were spent together, and what is needed to give them back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    pub(super) units: u32,
    /// When they were sent.
    pub(super) at: u64,
    pub(super) charge: QuotaCharge,
}

impl Charge {
    pub(super) fn new(taken: Spent) -> Self {
        Self { taken, owed: Vec::new(), units: taken.units }
    }

    pub(super) fn units(&self) -> u32 {
        self.units
    }

    /// Adds what was spent on top.
    pub(super) fn owe(&mut self, spent: Spent) {
        self.units += spent.units;
        self.owed.push(spent);
    }

    /// If the charge is above `to`, takes units off what was spent last, and returns them. It may
    /// take several calls to get down to `to`.
    pub(super) fn take_off(&mut self, to: u32) -> Option<Spent> {
        let over = self.units.checked_sub(to).filter(|over| *over > 0)?;
        let last = self.owed.last_mut().unwrap_or(&mut self.taken);
        let off = Spent { units: over.min(last.units), ..*last };
        last.units -= off.units;
        self.units -= off.units;
        self.owed.pop_if(|last| last.units == 0);
        Some(off)
    }
}
