use std::time::Duration;

use super::Quota;
use super::cost::{Costs, MAX_QUOTAS};
use super::fast_path::Lend;
use super::meter::PacedMeter;
use super::quota_state::{Charge, QuotaState};
use crate::hint::Limits;

/// The state of one limiter: its quotas, its throttle gate, and a count of the waiting calls.
///
/// Its methods are plain functions of events and their time, in nanoseconds since the limiter's
/// start.
#[derive(Debug)]
pub(super) struct LimiterState {
    pub(super) quotas: Box<[QuotaState]>,
    pub(super) gate: ThrottleGate,
    /// The number of waiting calls.
    pub(super) waiting: usize,
    /// The units that waiting calls will take from each quota.
    waiting_units: [u64; MAX_QUOTAS],
    /// How long the waiting call that was admitted last had waited.
    pub(super) last_wait: Option<Duration>,
    /// The latest time that was passed in. A thread may acquire the lock late, with an earlier time.
    latest: u64,
    /// Whether the registry has evicted this limiter, so that callers must look up their key again.
    is_retired: bool,
}

/// Why a call isn't admitted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// The estimated time at which it would be admitted.
    pub(super) at: u64,
    /// The index of the quota that rejects it. `None` is the throttle gate.
    pub(super) quota: Option<usize>,
}

/// What one call spent of each quota.
pub(super) type Charges = [Charge; MAX_QUOTAS];

impl LimiterState {
    pub(super) fn new(quotas: &[Quota]) -> Self {
        Self {
            quotas: quotas.iter().map(QuotaState::new).collect(),
            gate: ThrottleGate::default(),
            waiting: 0,
            waiting_units: [0; MAX_QUOTAS],
            last_wait: None,
            latest: 0,
            is_retired: false,
        }
    }

    /// Takes and sends a call's units. Returns `None` if the call isn't admitted, if other calls
    /// wait, or if the limiter is retired.
    #[inline]
    pub(super) fn try_send(&mut self, now: u64, costs: &Costs) -> Option<Charges> {
        // A call without a cost takes nothing from waiting calls.
        if self.is_retired || self.waiting > 0 && !costs.is_zero() {
            return None;
        }
        self.take(now, costs).ok()?;
        Some(self.charge(costs))
    }

    /// Takes units from all quotas, or from none.
    pub(super) fn take(&mut self, now: u64, costs: &Costs) -> Result<(), Rejection> {
        let now = self.advance(now);
        self.gate.admit(now).map_err(|at| Rejection { at, quota: None })?;
        let mut rejection: Option<Rejection> = None;
        for (index, (quota, units)) in self.quotas.iter().zip(costs.units).enumerate() {
            if let Err(at) = quota.admit(now, units)
                && rejection.is_none_or(|rejection| at > rejection.at)
            {
                rejection = Some(Rejection { at, quota: Some(index) });
            }
        }
        if let Some(rejection) = rejection {
            return Err(rejection);
        }
        self.gate.record_call();
        for (quota, units) in self.quotas.iter_mut().zip(costs.units) {
            quota.take(now, units);
        }
        Ok(())
    }

    /// Sends units that were taken. Returns `None` if the gate has closed since.
    pub(super) fn send(&mut self, now: u64, costs: &Costs) -> Option<Charges> {
        let now = self.advance(now);
        self.gate.closed_until(now).is_none().then(|| self.charge(costs))
    }

    fn charge(&mut self, costs: &Costs) -> Charges {
        let mut charges = Charges::default();
        for ((quota, charge), units) in self.quotas.iter_mut().zip(&mut charges).zip(costs.units) {
            *charge = quota.send(self.latest, units);
        }
        charges
    }

    /// Releases units that were taken and won't be sent.
    pub(super) fn release(&mut self, costs: &Costs) {
        for (quota, units) in self.quotas.iter_mut().zip(costs.units) {
            quota.release(units);
        }
    }

    /// Refunds units of a call that was never sent.
    pub(super) fn refund(&mut self, now: u64, charges: &Charges) {
        let now = self.advance(now);
        for (quota, charge) in self.quotas.iter_mut().zip(charges) {
            quota.refund(now, *charge);
        }
    }

    /// Adjusts a call's charges of one quota to `used` units. Returns their sum before.
    pub(super) fn settle(
        &mut self,
        now: u64,
        quota: usize,
        charges: &mut Vec<Charge>,
        used: u32,
    ) -> u32 {
        let now = self.advance(now);
        self.quotas[quota].settle(now, charges, used)
    }

    /// Learns limits from the response to a call with these charges.
    pub(super) fn learn(&mut self, now: u64, limits: &Limits, charges: &Charges, max: Duration) {
        let now = self.advance(now);
        for (quota, charge) in self.quotas.iter_mut().zip(charges) {
            quota.learn(now, limits, *charge, max);
        }
    }

    /// Replaces one quota from `now` on.
    pub(super) fn set_quota(&mut self, now: u64, quota: usize, new: &Quota) {
        let now = self.advance(now);
        self.quotas[quota].set_quota(now, new);
    }

    /// Estimates when a call that joins the queue would be admitted, and what it would wait for.
    pub(super) fn predict(&mut self, now: u64, costs: &Costs) -> Rejection {
        let now = self.advance(now);
        let waiting = u64::try_from(self.waiting).unwrap_or(u64::MAX);
        let from = self.gate.closed_until(now).unwrap_or(now);
        let mut rejection = Rejection { at: self.gate.admits_at(waiting).max(now), quota: None };
        let units = self.waiting_units.iter().zip(costs.units);
        for (index, (quota, (ahead, units))) in self.quotas.iter().zip(units).enumerate() {
            let at = quota.available_at(from, *ahead, units);
            if at > rejection.at {
                rejection = Rejection { at, quota: Some(index) };
            }
        }
        rejection
    }

    /// Estimates the same for a call in the queue, as if it were behind all others.
    pub(super) fn predict_queued(&mut self, now: u64, costs: &Costs) -> Rejection {
        self.leave_queue(costs);
        let rejection = self.predict(now, costs);
        self.join_queue(costs);
        rejection
    }

    pub(super) fn join_queue(&mut self, costs: &Costs) {
        self.waiting += 1;
        for (waiting, units) in self.waiting_units.iter_mut().zip(costs.units) {
            *waiting += u64::from(units);
        }
    }

    pub(super) fn leave_queue(&mut self, costs: &Costs) {
        self.waiting -= 1;
        for (waiting, units) in self.waiting_units.iter_mut().zip(costs.units) {
            *waiting -= u64::from(units);
        }
    }

    /// Retires the limiter if eviction loses nothing. Then it admits no call. Returns whether it did.
    pub(super) fn retire(&mut self, now: u64) -> bool {
        self.is_retired = self.waiting == 0
            && self.gate.is_open(now)
            && self.quotas.iter().all(|quota| quota.is_idle(now));
        self.is_retired
    }

    fn advance(&mut self, now: u64) -> u64 {
        self.latest = self.latest.max(now);
        self.latest
    }
}

impl Lend for LimiterState {
    /// Lends the meter of the only quota while no call waits and the gate is open.
    fn lendable(&self) -> Option<&PacedMeter> {
        match &*self.quotas {
            [quota] if self.waiting == 0 && self.gate.is_open(self.latest) && !self.is_retired => {
                quota.sole_meter()
            }
            _ => None,
        }
    }

    fn set_arrival(&mut self, arrival: u64) {
        self.quotas[0].set_arrival(arrival);
    }
}

/// The pause that a server requested, and the ramp-up after it.
///
/// Without the ramp-up, all waiting calls would be sent when the gate opens, in every process at the
/// same time. Instead, one call passes then, and the number of calls that may have passed doubles
/// with each of ten steps. After the last step the gate is open. The caller sets the length of the
/// ramp-up, so that processes can differ.
#[derive(Debug, Default)]
pub(super) struct ThrottleGate {
    opens_at: u64,
    ramp: u64,
    passed: u64,
}

const RAMP_STEPS: u64 = 10;

impl ThrottleGate {
    /// Closes the gate until `opens_at`, unless it is closed for longer already. Returns whether this
    /// prolongs the pause.
    pub(super) fn close(&mut self, opens_at: u64, ramp: u64) -> bool {
        let is_later = opens_at > self.opens_at;
        if is_later {
            *self = Self { opens_at, ramp, passed: 0 };
        }
        is_later
    }

    /// Opens the gate now, without a ramp-up.
    pub(super) fn open(&mut self) {
        *self = Self::default();
    }

    /// Returns until when no call passes, if the gate is closed.
    pub(super) fn closed_until(&self, now: u64) -> Option<u64> {
        (now < self.opens_at).then_some(self.opens_at)
    }

    /// Returns whether the ramp-up is over, so that all calls pass.
    fn is_open(&self, now: u64) -> bool {
        now >= self.opens_at.saturating_add(self.ramp)
    }

    /// Returns whether a call may pass. The error is the earliest time at which one may.
    fn admit(&self, now: u64) -> Result<(), u64> {
        if self.is_open(now) {
            return Ok(());
        }
        match self.admits_at(0) {
            at if at <= now => Ok(()),
            at => Err(at),
        }
    }

    /// Returns when a call passes that comes after `ahead` other calls.
    fn admits_at(&self, ahead: u64) -> u64 {
        let passed = self.passed.saturating_add(ahead);
        // The first step after which more calls than these may have passed.
        let step = u64::from(u64::BITS - passed.leading_zeros());
        let offset = self.ramp.saturating_mul(step.min(RAMP_STEPS)) / RAMP_STEPS;
        self.opens_at.saturating_add(offset)
    }

    fn record_call(&mut self) {
        self.passed = self.passed.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns when `count` calls pass that all wait from the start.
    fn passes(gate: &mut ThrottleGate, count: usize) -> Vec<u64> {
        let mut now = 0;
        let mut passed = Vec::new();
        while passed.len() < count {
            match gate.admit(now) {
                Ok(()) => {
                    gate.record_call();
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
    fn throttle_gate_ramp_up_doubles_calls_per_step() {
        let mut gate = ThrottleGate::default();
        assert!(gate.close(1_000, 100));
        assert_eq!(gate.closed_until(999), Some(1_000));
        assert_eq!(gate.closed_until(1_000), None);
        let predicted: Vec<_> = (0..9).map(|ahead| gate.admits_at(ahead)).collect();
        let passed = passes(&mut gate, 9);
        assert_eq!(passed, [1_000, 1_010, 1_020, 1_020, 1_030, 1_030, 1_030, 1_030, 1_040]);
        assert_eq!(predicted, passed);
        // About a thousand calls have passed by the last step. Then the gate is open.
        let mut gate = ThrottleGate::default();
        gate.close(1_000, 100);
        let passed = passes(&mut gate, 5_000);
        assert_eq!((passed[511], passed[512], passed[4_999]), (1_090, 1_100, 1_100));
    }

    #[test]
    fn throttle_gate_close_never_shortens_the_pause() {
        let mut gate = ThrottleGate::default();
        assert!(gate.close(50, 10));
        assert!(!gate.close(50, 10) && !gate.close(40, 10));
        assert!(gate.close(60, 10));
        assert_eq!(gate.closed_until(0), Some(60));
        gate.open();
        assert_eq!(gate.admit(0), Ok(()));
    }

    #[test]
    fn throttle_gate_extreme_times_do_not_overflow() {
        for (opens_at, ramp) in [(0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
            let mut gate = ThrottleGate::default();
            gate.close(opens_at, ramp);
            assert!(gate.admits_at(u64::MAX) >= opens_at);
            gate.record_call();
            _ = gate.admit(u64::MAX);
        }
    }
}
