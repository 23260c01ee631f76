use std::num::NonZeroU64;
use std::time::Duration;

use super::bill::{Bill, Spent};
use super::ceiling::Ceiling;
use super::meter::{Meter, Paced};
use super::quota::Label;
use super::server::{Sent, Server};
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
pub(super) struct Account {
    label: Label,
    ceiling: Ceiling,
    /// Made when an answer first tells something.
    server: Option<Box<Server>>,
    /// Units that were taken and aren't sent yet.
    reserved: u64,
    /// How many units were ever sent.
    sent: u64,
    /// Those of them that never left, since the last call whose answer told something.
    unsent: Option<Unsent>,
}

/// Units that were sent and have never left.
#[derive(Debug)]
struct Unsent {
    units: u64,
    /// The smallest of the numbers on their receipts.
    first: NonZeroU64,
}

/// While a limit is unknown, one call passes per `TRY`.
const TRY: u64 = 1_000_000_000;

/// What is needed to give back units that were sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Receipt {
    /// How many units had been sent by then, with these. `None` if they passed by the lane, which
    /// doesn't count, or if nothing had been sent.
    pub(super) number: Option<NonZeroU64>,
    /// Their place in a paced quota: see [`Paced::give_back`].
    pub(super) mark: u64,
}

impl Account {
    pub(super) fn new(quota: &Quota) -> Self {
        Self {
            label: quota.label,
            ceiling: Ceiling::new(quota),
            server: None,
            reserved: 0,
            sent: 0,
            unsent: None,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.label.name()
    }

    /// Puts another quota in force from now on. Nothing that was spent is forgotten.
    pub(super) fn set_quota(&mut self, now: u64, quota: &Quota) {
        let told = self.server.as_ref().and_then(|server| server.used(now));
        self.ceiling.change(now, quota, self.sent, told);
    }

    /// The most units that can ever be taken at once, as configured. What the server tells doesn't
    /// matter here, as it may change.
    pub(super) fn capacity(&self) -> u32 {
        self.ceiling.capacity()
    }

    /// Whether `units`, at most the capacity, may be taken now. If not, the error is a time before
    /// which they can't be.
    #[inline]
    pub(super) fn admit(&self, now: u64, units: u32) -> Result<(), u64> {
        let here = match &self.ceiling {
            _ if units == 0 => return Ok(()),
            Ceiling::Known(meter) => meter.admit(now, self.reserved, units),
            Ceiling::Unknown { next, .. } if self.server.is_none() && *next > now => Err(*next),
            Ceiling::Unknown { .. } => Ok(()),
        };
        match &self.server {
            None => here,
            Some(server) => match (here, server.admit(now, self.reserved, units)) {
                (Err(here), Err(there)) => Err(here.max(there)),
                (here, there) => here.and(there),
            },
        }
    }

    /// Takes units that were admitted, and sends them.
    #[inline]
    pub(super) fn pass(&mut self, now: u64, units: u32) -> Receipt {
        if units == 0 {
            return Receipt { number: NonZeroU64::new(self.sent), mark: 0 };
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
        if let Ceiling::Unknown { next, .. } = &mut self.ceiling {
            *next = now.saturating_add(TRY);
        }
        if let Some(server) = &mut self.server {
            server.take(units);
        }
    }

    /// Units that were taken are being sent.
    pub(super) fn send(&mut self, now: u64, units: u32) -> Receipt {
        self.reserved -= u64::from(units);
        self.spend(now, units)
    }

    /// A call turned out to cost `used` units.
    pub(super) fn settle(&mut self, now: u64, bill: &mut Bill, used: u32) {
        while let Some(spent) = bill.take_off(used) {
            self.give_back(now, spent);
        }
        let units = used - bill.units();
        if units > 0 {
            bill.owe(Spent { units, at: now, receipt: self.spend(now, units) });
            if let Some(server) = &mut self.server {
                server.take(units);
            }
        }
    }

    #[inline]
    fn spend(&mut self, now: u64, units: u32) -> Receipt {
        let units = u64::from(units);
        self.sent += units;
        if let Some(server) = &mut self.server {
            server.send(now, units);
        }
        let mark = match &mut self.ceiling {
            Ceiling::Known(meter) => meter.send(now, units),
            Ceiling::Unknown { .. } => 0,
        };
        Receipt { number: NonZeroU64::new(self.sent), mark }
    }

    /// Units that were taken won't be sent.
    pub(super) fn put_back(&mut self, units: u32) {
        self.reserved -= u64::from(units);
        if let Some(server) = &mut self.server {
            server.put_back(units);
        }
    }

    /// Units that were sent turn out to have never left.
    pub(super) fn give_back(&mut self, now: u64, Spent { units, at, receipt }: Spent) {
        if units == 0 {
            return;
        }
        if let Ceiling::Known(meter) = &mut self.ceiling {
            meter.give_back(now, units, at, receipt.mark);
        }
        if let Some(server) = &mut self.server {
            server.give_back(now, units, at, receipt.number.map_or(0, NonZeroU64::get));
        }
        if let Some(number) = receipt.number {
            let unsent = self.unsent.get_or_insert(Unsent { units: 0, first: number });
            unsent.units += u64::from(units);
            unsent.first = unsent.first.min(number);
        }
    }

    /// The paced quota, if it alone decides: the server has told nothing, and all that was taken is
    /// sent.
    pub(super) fn loan(&self) -> Option<&Paced> {
        match &self.ceiling {
            Ceiling::Known(meter) if self.server.is_none() && self.reserved == 0 => {
                meter.as_paced()
            }
            _ => None,
        }
    }

    /// Takes back the arrival time that was lent, as it is now.
    pub(super) fn take_back(&mut self, arrival: u64) {
        if let Ceiling::Known(Meter::Paced(paced)) = &mut self.ceiling {
            paced.arrival = arrival;
        }
    }

    /// Takes in what the answer to a call tells of this limit.
    pub(super) fn learn(&mut self, now: u64, limits: &Limits, receipt: Receipt, longest: Duration) {
        let limits = self.label.resource().map(|resource| limits.of(resource));
        if let Some(limits) = limits.filter(|limits| !limits.is_empty()) {
            // A call that passed by the lane has no number: it counts as the last one sent. Calls
            // after it are missed at first, but their answers tell the same soon.
            let number = receipt.number.map_or(self.sent, NonZeroU64::get);
            // Units that never left are subtracted only if all of them were sent after this call.
            self.unsent.take_if(|unsent| unsent.first.get() <= number);
            let unsent = self.unsent.as_ref().map_or(0, |unsent| unsent.units);
            let after = (self.sent - number).saturating_sub(unsent) + self.reserved;
            let sent = Sent { number, after };
            let server = self.server.get_or_insert_with(|| Box::new(Server::new()));
            server.learn(now, &limits, sent, nanos(longest));
            server.keep_below(now, self.ceiling.rate());
        }
    }

    /// Forgets what the server told.
    pub(super) fn unlearn(&mut self) {
        self.server = None;
    }

    /// When `units` that come after `ahead` others can be taken, as far as is known: at `from` or
    /// later. If `units` is zero, when those others can.
    pub(super) fn available_at(&self, from: u64, ahead: u64, units: u32) -> u64 {
        let before = self.reserved.saturating_add(ahead);
        let here = match &self.ceiling {
            _ if ahead == 0 && units == 0 => return from,
            Ceiling::Known(meter) => meter.available_at(from, before, units),
            Ceiling::Unknown { next, .. } if self.server.is_none() => from.max(*next),
            Ceiling::Unknown { .. } => from,
        };
        let there = self.server.as_ref();
        there.map_or(here, |server| server.available_at(from, before, units).max(here))
    }

    /// How many units could be taken now.
    pub(super) fn remaining(&self, now: u64) -> u32 {
        let here = match &self.ceiling {
            Ceiling::Known(meter) => u64::from(meter.capacity()).saturating_sub(meter.used(now)),
            Ceiling::Unknown { next, .. } if self.server.is_none() => u64::from(*next <= now),
            Ceiling::Unknown { .. } => u64::MAX,
        };
        let here = here.saturating_sub(self.reserved);
        let there =
            self.server.as_ref().map_or(u64::MAX, |server| server.remaining(now, self.reserved));
        u32::try_from(here.min(there)).unwrap_or(u32::MAX)
    }

    pub(super) fn status(&self, now: u64) -> LimitStatus {
        let told = self.server.as_ref().map_or(u32::MAX, |server| server.capacity());
        let limit = self.capacity().min(told);
        LimitStatus { name: self.name(), remaining: self.remaining(now), limit }
    }

    /// Whether nothing would be lost if the account were forgotten now.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        let here = match &self.ceiling {
            Ceiling::Known(meter) => meter.used(now) == 0,
            Ceiling::Unknown { next, .. } => *next <= now,
        };
        here && self.reserved == 0 && self.server.as_ref().is_none_or(|server| server.is_idle(now))
    }
}
