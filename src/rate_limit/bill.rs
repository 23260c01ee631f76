use super::account::Receipt;

/// What one call has spent of one quota.
#[derive(Debug)]
pub(super) struct Bill {
    taken: Spent,
    /// What came on top, as its answer told.
    owed: Vec<Spent>,
    /// All of it.
    units: u32,
}

/// Units that were spent together, and what giving them back takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    pub(super) units: u32,
    /// When they were sent.
    pub(super) at: u64,
    pub(super) receipt: Receipt,
}

impl Bill {
    pub(super) fn new(taken: Spent) -> Self {
        Self { taken, owed: Vec::new(), units: taken.units }
    }

    pub(super) fn units(&self) -> u32 {
        self.units
    }

    /// So much more was spent.
    pub(super) fn owe(&mut self, spent: Spent) {
        self.units += spent.units;
        self.owed.push(spent);
    }

    /// Takes something off, if it is more than this: what was spent last first.
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
