use super::quota_state::QuotaCharge;

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

    /// If the charge is above_capacity `to`, takes units off what was spent last, and returns them. It may
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
