use std::time::Duration;

use super::Quota;
use super::cost::Costs;
use super::fast_path::{FastPermit, Lend};
use super::meter::Paced;
use super::quota_state::{Charge, QuotaCharge, QuotaState, Spent};
use crate::hint::Limits;

/// All that a limiter keeps under its one lock: its limits, the gate that the server closes, and a
/// count of the waiting calls. Plain functions of what happens and when, in nanoseconds from the
/// limiter's start.
#[derive(Debug)]
pub(super) struct LimiterState {
    pub(super) quotas: Box<[QuotaState]>,
    pub(super) gate: ThrottleGate,
    pub(super) queue: WaitingCall,
    /// The latest moment that was seen. A thread may get the lock late, with an earlier moment.
    latest: u64,
    /// Retired: the registry has dropped this limiter, so callers must look their key up again.
    retired: bool,
}

/// The waiting calls.
#[derive(Debug, Default)]
pub(super) struct WaitingCall {
    pub(super) calls: usize,
    /// The units that they will take, of each limit.
    units: [u64; Costs::MOST],
    /// How long the call that was served last had waited.
    pub(super) last_wait: Option<Duration>,
}

/// Why a call doesn't pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// When it may pass, as far as is known.
    pub(super) at: u64,
    /// The limit that binds; `None`: the server's pause.
    pub(super) limit: Option<&'static str>,
}

/// A cost that can never be taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AboveCapacity {
    pub(super) cost: u32,
    pub(super) capacity: u32,
    pub(super) limit: &'static str,
}

/// What is needed to give back units that were sent, for each limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charges {
    /// When they were sent.
    pub(super) at: u64,
    pub(super) limits: [QuotaCharge; Costs::MOST],
}

impl From<FastPermit> for Charges {
    fn from(FastPermit { at, mark }: FastPermit) -> Self {
        let mut limits = <[QuotaCharge; Costs::MOST]>::default();
        limits[0].mark = mark;
        Self { at, limits }
    }
}

impl LimiterState {
    pub(super) fn new(quotas: &[Quota]) -> Self {
        Self {
            quotas: quotas.iter().map(QuotaState::new).collect(),
            gate: ThrottleGate::default(),
            queue: WaitingCall::default(),
            latest: 0,
            retired: false,
        }
    }

    /// The cost that is above what its limit can ever pass at once, if one is.
    pub(super) fn above_capacity(&self, costs: &Costs) -> Option<AboveCapacity> {
        self.quotas.iter().zip(costs.units).find_map(|(quota_state, cost)| {
            let capacity = quota_state.capacity();
            (cost > capacity).then(|| AboveCapacity { cost, capacity, limit: quota_state.name() })
        })
    }

    /// Takes and sends a call's units in one step. `None` if the call doesn't pass: also while
    /// others wait, and once this has retired.
    #[inline]
    pub(super) fn pass(&mut self, now: u64, costs: &Costs) -> Option<Charges> {
        // A call that costs nothing takes nothing from waiting calls.
        if self.retired || self.queue.calls > 0 && !costs.are_nothing() {
            return None;
        }
        let now = self.no_earlier(now);
        self.admit(now, costs).ok()?;
        Some(self.note(now, costs, |quota_state, units| quota_state.pass(now, units)))
    }

    /// Takes units of all limits, or of none.
    pub(super) fn take(&mut self, now: u64, costs: &Costs) -> Result<(), Rejection> {
        let now = self.no_earlier(now);
        self.admit(now, costs)?;
        for (quota_state, units) in self.quotas.iter_mut().zip(costs.units) {
            quota_state.take(now, units);
        }
        Ok(())
    }

    /// Lets a call through the gate if all limits admit it.
    #[inline]
    fn admit(&mut self, now: u64, costs: &Costs) -> Result<(), Rejection> {
        self.gate.admit(now).map_err(|at| Rejection { at, limit: None })?;
        let mut rejection: Option<Rejection> = None;
        for (quota_state, units) in self.quotas.iter().zip(costs.units) {
            if let Err(at) = quota_state.admit(now, units)
                && rejection.is_none_or(|binding| at > binding.at)
            {
                rejection = Some(Rejection { at, limit: Some(quota_state.name()) });
            }
        }
        if let Some(rejection) = rejection {
            return Err(rejection);
        }
        self.gate.pass();
        Ok(())
    }

    /// Sends what was taken. `None` if the gate has closed since.
    pub(super) fn send(&mut self, now: u64, costs: &Costs) -> Option<Charges> {
        let now = self.no_earlier(now);
        let open = self.gate.closed_until(now).is_none();
        open.then(|| self.note(now, costs, |quota_state, units| quota_state.send(now, units)))
    }

    /// Sends units of all limits, and returns the charges.
    #[inline]
    fn note(
        &mut self,
        at: u64,
        costs: &Costs,
        send: impl Fn(&mut QuotaState, u32) -> QuotaCharge,
    ) -> Charges {
        let mut charges = Charges { at, limits: Default::default() };
        let places = charges.limits.iter_mut().zip(costs.units);
        for (quota_state, (charge, units)) in self.quotas.iter_mut().zip(places) {
            *charge = send(quota_state, units);
        }
        charges
    }

    /// Puts back what was taken and won't be sent.
    pub(super) fn restore(&mut self, costs: &Costs) {
        for (quota_state, units) in self.quotas.iter_mut().zip(costs.units) {
            quota_state.restore(units);
        }
    }

    /// Puts another quota in the entry of this limit's, from now on.
    pub(super) fn set_quota(&mut self, now: u64, limit: usize, quota: &Quota) {
        let now = self.no_earlier(now);
        self.quotas[limit].set_quota(now, quota);
    }

    /// Gives back what was sent but never left.
    pub(super) fn refund(&mut self, now: u64, costs: &Costs, charges: &Charges) {
        let now = self.no_earlier(now);
        let given = costs.units.into_iter().zip(charges.limits);
        for (quota_state, (units, charge)) in self.quotas.iter_mut().zip(given) {
            quota_state.refund(now, Spent { units, at: charges.at, charge });
        }
    }

    /// A call turned out to cost `used` units of this limit.
    pub(super) fn settle(&mut self, now: u64, limit: usize, charge: &mut Charge, used: u32) {
        let now = self.no_earlier(now);
        self.quotas[limit].settle(now, charge, used);
    }

    /// Takes in the limits that an answer tells.
    pub(super) fn learn(
        &mut self,
        now: u64,
        limits: &Limits,
        charges: &Charges,
        longest: Duration,
    ) {
        let now = self.no_earlier(now);
        for (quota_state, charge) in self.quotas.iter_mut().zip(charges.limits) {
            quota_state.learn(now, limits, charge, longest);
        }
    }

    /// When a call that joins the queue would pass, as far as is known, and what it would wait for.
    pub(super) fn predict(&mut self, now: u64, costs: &Costs) -> Rejection {
        let now = self.no_earlier(now);
        let calls = u64::try_from(self.queue.calls).unwrap_or(u64::MAX);
        self.foresee_behind(now, calls, &self.queue.units, costs)
    }

    /// The same for a call that waits already: as if it stood behind all others.
    pub(super) fn predict_queued(&mut self, now: u64, costs: &Costs) -> Rejection {
        let mut before = self.queue.units;
        for (units, own) in before.iter_mut().zip(costs.units) {
            *units = units.saturating_sub(own.into());
        }
        let now = self.no_earlier(now);
        let calls = u64::try_from(self.queue.calls).unwrap_or(u64::MAX);
        self.foresee_behind(now, calls.saturating_sub(1), &before, costs)
    }

    fn foresee_behind(
        &self,
        now: u64,
        calls: u64,
        before: &[u64; Costs::MOST],
        costs: &Costs,
    ) -> Rejection {
        let from = self.gate.closed_until(now).unwrap_or(now);
        let mut rejection = Rejection { at: self.gate.admits_at(calls).max(now), limit: None };
        for (quota_state, (ahead, units)) in self.quotas.iter().zip(before.iter().zip(costs.units))
        {
            let at = quota_state.available_at(from, *ahead, units);
            if at > rejection.at {
                rejection = Rejection { at, limit: Some(quota_state.name()) };
            }
        }
        rejection
    }

    /// A call joins the queue.
    pub(super) fn join(&mut self, costs: &Costs) {
        self.queue.calls += 1;
        for (units, own) in self.queue.units.iter_mut().zip(costs.units) {
            *units += u64::from(own);
        }
    }

    /// A call leaves the queue.
    pub(super) fn leave(&mut self, costs: &Costs) {
        self.queue.calls -= 1;
        for (units, own) in self.queue.units.iter_mut().zip(costs.units) {
            *units -= u64::from(own);
        }
    }

    /// Retires, if nothing is lost by forgetting all this now: no call passes any more. Returns
    /// whether it did.
    pub(super) fn retire(&mut self, now: u64) -> bool {
        self.retired = self.queue.calls == 0
            && self.gate.is_open(now)
            && self.quotas.iter().all(|quota_state| quota_state.is_idle(now));
        self.retired
    }

    fn lends(&self) -> bool {
        self.queue.calls == 0 && self.gate.is_open(self.latest) && !self.retired
    }

    #[inline]
    fn no_earlier(&mut self, now: u64) -> u64 {
        self.latest = self.latest.max(now);
        self.latest
    }
}

impl Lend for LimiterState {
    /// The number of the only limit, while no call waits and the gate is wide open.
    fn loan(&self) -> Option<&Paced> {
        match &*self.quotas {
            [only] if self.lends() => only.loan(),
            _ => None,
        }
    }

    fn take_back(&mut self, arrival: u64) {
        self.quotas[0].take_back(arrival);
    }
}

/// The gate that a server closes for a time, and the ramp behind it.
///
/// Without the ramp all waiting calls would pass when it opens, in every process at the same
/// moment. So only one call passes then, and the number that may have passed doubles with each of
/// ten steps; after the last step the gate is open to all. Whoever closes the gate says how long
/// the ramp is, so that processes can differ.
#[derive(Debug, Default)]
pub(super) struct ThrottleGate {
    opens: u64,
    ramp: u64,
    passed: u64,
}

const STEPS: u64 = 10;

impl ThrottleGate {
    /// Closes it until `opens`, unless it is closed for longer already. Returns whether this keeps
    /// it closed for longer.
    pub(super) fn close(&mut self, opens: u64, ramp: u64) -> bool {
        let later = opens > self.opens;
        if later {
            *self = Self { opens, ramp, passed: 0 };
        }
        later
    }

    /// Opens it now, without a ramp.
    pub(super) fn open(&mut self) {
        *self = Self::default();
    }

    /// Until when no call passes, if it is closed.
    pub(super) fn closed_until(&self, now: u64) -> Option<u64> {
        (now < self.opens).then_some(self.opens)
    }

    /// Whether all calls may pass.
    #[inline]
    pub(super) fn is_open(&self, now: u64) -> bool {
        now >= self.opens.saturating_add(self.ramp)
    }

    /// Whether a call may pass. If not, the error is when one may at the earliest.
    #[inline]
    pub(super) fn admit(&self, now: u64) -> Result<(), u64> {
        if self.is_open(now) {
            return Ok(());
        }
        match self.admits_at(0) {
            at if at <= now => Ok(()),
            at => Err(at),
        }
    }

    /// When a call passes that comes after `before` others.
    pub(super) fn admits_at(&self, before: u64) -> u64 {
        let passed = self.passed.saturating_add(before);
        // The first step after which more than these may have passed.
        let step = u64::from(u64::BITS - passed.leading_zeros());
        let into = self.ramp.saturating_mul(step.min(STEPS)) / STEPS;
        self.opens.saturating_add(into)
    }

    /// A call passes.
    #[inline]
    pub(super) fn pass(&mut self) {
        self.passed = self.passed.saturating_add(1);
    }
}

#[cfg(test)]
mod gate_tests {
    use super::*;

    /// When `count` calls pass, if all wait from the start.
    fn passes(gate: &mut ThrottleGate, count: usize) -> Vec<u64> {
        let mut now = 0;
        let mut passed = Vec::new();
        while passed.len() < count {
            match gate.admit(now) {
                Ok(()) => {
                    gate.pass();
                    passed.push(now);
                }
                Err(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
        }
        passed
    }

    #[test]
    fn it_opens_to_one_then_two_then_four() {
        let mut gate = ThrottleGate::default();
        assert!(gate.close(1_000, 100));
        assert_eq!(gate.closed_until(999), Some(1_000));
        assert_eq!(gate.closed_until(1_000), None);
        let predicted: Vec<_> = (0..9).map(|before| gate.admits_at(before)).collect();
        let passed = passes(&mut gate, 9);
        assert_eq!(passed, [1_000, 1_010, 1_020, 1_020, 1_030, 1_030, 1_030, 1_030, 1_040]);
        assert_eq!(predicted, passed);
        // A thousand have passed by the last step, and then it is open.
        let mut gate = ThrottleGate::default();
        gate.close(1_000, 100);
        let passed = passes(&mut gate, 5_000);
        assert_eq!((passed[511], passed[512], passed[4_999]), (1_090, 1_100, 1_100));
    }

    #[test]
    fn it_only_closes_for_longer() {
        let mut gate = ThrottleGate::default();
        assert!(gate.close(50, 10));
        assert!(!gate.close(50, 10) && !gate.close(40, 10));
        assert!(gate.close(60, 10));
        assert_eq!(gate.closed_until(0), Some(60));
        gate.open();
        assert_eq!(gate.admit(0), Ok(()));
    }

    #[test]
    fn nothing_overflows_at_the_ends_of_the_numbers() {
        for (opens, ramp) in [(0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
            let mut gate = ThrottleGate::default();
            gate.close(opens, ramp);
            assert!(gate.admits_at(u64::MAX) >= opens);
            gate.pass();
            _ = gate.admit(u64::MAX);
        }
    }
}
