use std::time::Duration;

use super::Quota;
use super::account::{Account, Receipt};
use super::bill::{Bill, Spent};
use super::cost::Costs;
use super::desk::Lend;
use super::gate::Gate;
use super::lane::Passage;
use super::meter::Paced;
use crate::hint::Limits;

/// All that a limiter keeps under its one lock: its limits, the gate that the server closes, and a
/// count of the waiting calls. Plain functions of what happens and when, in nanoseconds from the
/// limiter's start.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) accounts: Box<[Account]>,
    pub(super) gate: Gate,
    pub(super) line: Waiting,
    /// The latest moment that was seen. A thread may get the lock late, with an earlier moment.
    latest: u64,
    /// Retired: the registry has dropped this limiter, so callers must look their key up again.
    retired: bool,
}

/// The waiting calls.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) calls: usize,
    /// The units that they will take, of each limit.
    units: [u64; Costs::MOST],
    /// How long the call that was served last had waited.
    pub(super) last_wait: Option<Duration>,
}

/// Why a call doesn't pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// When it may pass, as far as is known.
    pub(super) at: u64,
    /// The limit that binds; `None`: the server's pause.
    pub(super) limit: Option<&'static str>,
}

/// A cost that can never be taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Above {
    pub(super) cost: u32,
    pub(super) capacity: u32,
    pub(super) limit: &'static str,
}

/// What is needed to give back units that were sent, for each limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipts {
    /// When they were sent.
    pub(super) at: u64,
    pub(super) limits: [Receipt; Costs::MOST],
}

impl From<Passage> for Receipts {
    fn from(Passage { at, mark }: Passage) -> Self {
        let mut limits = <[Receipt; Costs::MOST]>::default();
        limits[0].mark = mark;
        Self { at, limits }
    }
}

impl Books {
    pub(super) fn new(quotas: &[Quota]) -> Self {
        Self {
            accounts: quotas.iter().map(Account::new).collect(),
            gate: Gate::default(),
            line: Waiting::default(),
            latest: 0,
            retired: false,
        }
    }

    /// The cost that is above what its limit can ever pass at once, if one is.
    pub(super) fn above(&self, costs: &Costs) -> Option<Above> {
        self.accounts.iter().zip(costs.units).find_map(|(account, cost)| {
            let capacity = account.capacity();
            (cost > capacity).then(|| Above { cost, capacity, limit: account.name() })
        })
    }

    /// Takes and sends a call's units in one step. `None` if the call doesn't pass: also while
    /// others wait, and once this has retired.
    #[inline]
    pub(super) fn pass(&mut self, now: u64, costs: &Costs) -> Option<Receipts> {
        // A call that costs nothing takes nothing from waiting calls.
        if self.retired || self.line.calls > 0 && !costs.are_nothing() {
            return None;
        }
        let now = self.no_earlier(now);
        self.admit(now, costs).ok()?;
        Some(self.note(now, costs, |account, units| account.pass(now, units)))
    }

    /// Takes units of all limits, or of none.
    pub(super) fn take(&mut self, now: u64, costs: &Costs) -> Result<(), Refusal> {
        let now = self.no_earlier(now);
        self.admit(now, costs)?;
        for (account, units) in self.accounts.iter_mut().zip(costs.units) {
            account.take(now, units);
        }
        Ok(())
    }

    /// Lets a call through the gate if all limits admit it.
    #[inline]
    fn admit(&mut self, now: u64, costs: &Costs) -> Result<(), Refusal> {
        self.gate.admit(now).map_err(|at| Refusal { at, limit: None })?;
        let mut refusal: Option<Refusal> = None;
        for (account, units) in self.accounts.iter().zip(costs.units) {
            if let Err(at) = account.admit(now, units)
                && refusal.is_none_or(|binding| at > binding.at)
            {
                refusal = Some(Refusal { at, limit: Some(account.name()) });
            }
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        self.gate.pass();
        Ok(())
    }

    /// Sends what was taken. `None` if the gate has closed since.
    pub(super) fn send(&mut self, now: u64, costs: &Costs) -> Option<Receipts> {
        let now = self.no_earlier(now);
        let open = self.gate.closed_until(now).is_none();
        open.then(|| self.note(now, costs, |account, units| account.send(now, units)))
    }

    /// Sends units of all limits, and returns the receipts.
    #[inline]
    fn note(
        &mut self,
        at: u64,
        costs: &Costs,
        send: impl Fn(&mut Account, u32) -> Receipt,
    ) -> Receipts {
        let mut receipts = Receipts { at, limits: Default::default() };
        let places = receipts.limits.iter_mut().zip(costs.units);
        for (account, (receipt, units)) in self.accounts.iter_mut().zip(places) {
            *receipt = send(account, units);
        }
        receipts
    }

    /// Puts back what was taken and won't be sent.
    pub(super) fn put_back(&mut self, costs: &Costs) {
        for (account, units) in self.accounts.iter_mut().zip(costs.units) {
            account.put_back(units);
        }
    }

    /// Puts another quota in the place of this limit's, from now on.
    pub(super) fn set_quota(&mut self, now: u64, limit: usize, quota: &Quota) {
        let now = self.no_earlier(now);
        self.accounts[limit].set_quota(now, quota);
    }

    /// Gives back what was sent but never left.
    pub(super) fn give_back(&mut self, now: u64, costs: &Costs, receipts: &Receipts) {
        let now = self.no_earlier(now);
        let given = costs.units.into_iter().zip(receipts.limits);
        for (account, (units, receipt)) in self.accounts.iter_mut().zip(given) {
            account.give_back(now, Spent { units, at: receipts.at, receipt });
        }
    }

    /// A call turned out to cost `used` units of this limit.
    pub(super) fn settle(&mut self, now: u64, limit: usize, bill: &mut Bill, used: u32) {
        let now = self.no_earlier(now);
        self.accounts[limit].settle(now, bill, used);
    }

    /// Takes in the limits that an answer tells.
    pub(super) fn learn(
        &mut self,
        now: u64,
        limits: &Limits,
        receipts: &Receipts,
        longest: Duration,
    ) {
        let now = self.no_earlier(now);
        for (account, receipt) in self.accounts.iter_mut().zip(receipts.limits) {
            account.learn(now, limits, receipt, longest);
        }
    }

    /// When a call that joins the line would pass, as far as is known, and what it would wait for.
    pub(super) fn foresee(&mut self, now: u64, costs: &Costs) -> Refusal {
        let now = self.no_earlier(now);
        let calls = u64::try_from(self.line.calls).unwrap_or(u64::MAX);
        self.foresee_behind(now, calls, &self.line.units, costs)
    }

    /// The same for a call that waits already: as if it stood behind all others.
    pub(super) fn foresee_waiting(&mut self, now: u64, costs: &Costs) -> Refusal {
        let mut before = self.line.units;
        for (units, own) in before.iter_mut().zip(costs.units) {
            *units = units.saturating_sub(own.into());
        }
        let now = self.no_earlier(now);
        let calls = u64::try_from(self.line.calls).unwrap_or(u64::MAX);
        self.foresee_behind(now, calls.saturating_sub(1), &before, costs)
    }

    fn foresee_behind(
        &self,
        now: u64,
        calls: u64,
        before: &[u64; Costs::MOST],
        costs: &Costs,
    ) -> Refusal {
        let from = self.gate.closed_until(now).unwrap_or(now);
        let mut refusal = Refusal { at: self.gate.admits_at(calls).max(now), limit: None };
        for (account, (ahead, units)) in self.accounts.iter().zip(before.iter().zip(costs.units)) {
            let at = account.available_at(from, *ahead, units);
            if at > refusal.at {
                refusal = Refusal { at, limit: Some(account.name()) };
            }
        }
        refusal
    }

    /// A call joins the line.
    pub(super) fn join(&mut self, costs: &Costs) {
        self.line.calls += 1;
        for (units, own) in self.line.units.iter_mut().zip(costs.units) {
            *units += u64::from(own);
        }
    }

    /// A call leaves the line.
    pub(super) fn leave(&mut self, costs: &Costs) {
        self.line.calls -= 1;
        for (units, own) in self.line.units.iter_mut().zip(costs.units) {
            *units -= u64::from(own);
        }
    }

    /// Retires, if nothing is lost by forgetting all this now: no call passes any more. Returns
    /// whether it did.
    pub(super) fn retire(&mut self, now: u64) -> bool {
        self.retired = self.line.calls == 0
            && self.gate.is_open(now)
            && self.accounts.iter().all(|account| account.is_idle(now));
        self.retired
    }

    fn lends(&self) -> bool {
        self.line.calls == 0 && self.gate.is_open(self.latest) && !self.retired
    }

    #[inline]
    fn no_earlier(&mut self, now: u64) -> u64 {
        self.latest = self.latest.max(now);
        self.latest
    }
}

impl Lend for Books {
    /// The number of the only limit, while no call waits and the gate is wide open.
    fn loan(&self) -> Option<&Paced> {
        match &*self.accounts {
            [only] if self.lends() => only.loan(),
            _ => None,
        }
    }

    fn take_back(&mut self, arrival: u64) {
        self.accounts[0].take_back(arrival);
    }
}
