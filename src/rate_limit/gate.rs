/// The gate that a learned closes for a time, and the ramp behind it.
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
mod tests {
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
