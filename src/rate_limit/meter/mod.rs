//! What has been spent of a quota. governor decides; its clock and its state
//! store are ours.
//!
//! governor's GCRA keeps one number, the theoretical arrival time, and asks a
//! state store to update it. That is all it takes:
//!
//! - A [paced](paced) quota is one such number, and a refund moves it back.
//! - A [strict](strict) one is a ring of them: each slot is a quota of one call a
//!   window, and the calls take the slots in turn. So the call that
//!   wants to pass is asked about the one that passed `limit` calls ago.

mod paced;
mod strict;

use governor::clock::Clock;
use governor::nanos::Nanos;

use self::paced::Paced;
use self::strict::Strict;
use super::Quota;
use super::clock::TokioClock;
use crate::time::Instant;

/// What is left of a quota.
#[derive(Debug)]
pub(super) struct Meter {
    kind: Kind,
    clock: TokioClock,
}

#[derive(Debug)]
enum Kind {
    /// A quota of nothing.
    Nothing,
    Paced(Paced),
    Strict(Strict),
}

/// Units taken from a meter, for giving them back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    units: u32,
    /// When the taken slots would be free again, in a strict window.
    free_at: Nanos,
}

impl Meter {
    pub(super) fn new(quota: Quota) -> Self {
        let clock = TokioClock::default();
        // The clock's start, before governor clones it.
        clock.now();
        let kind = match quota.burst {
            _ if quota.limit == 0 => Kind::Nothing,
            Some(0) => Kind::Nothing,
            Some(burst) => Kind::Paced(Paced::new(&quota, burst, clock.clone())),
            None => Kind::Strict(Strict::new(&quota, clock.clone())),
        };
        Self { kind, clock }
    }

    /// The most units that can ever be taken at once.
    pub(super) fn capacity(&self) -> u32 {
        match &self.kind {
            Kind::Nothing => 0,
            Kind::Paced(paced) => paced.capacity(),
            Kind::Strict(strict) => strict.capacity(),
        }
    }

    /// Takes the units, or tells when that will be possible.
    pub(super) fn take(&self, units: u32) -> Result<Taken, Instant> {
        let taken = match &self.kind {
            Kind::Nothing => Err(Nanos::new(u64::MAX)),
            Kind::Paced(paced) => paced.take(units),
            Kind::Strict(strict) => strict.take(units),
        };
        match taken {
            Ok(free_at) => Ok(Taken { units, free_at }),
            Err(at) => Err(self.clock.instant(at)),
        }
    }

    /// Gives units back that weren't used.
    pub(super) fn give_back(&self, taken: Taken) {
        match &self.kind {
            Kind::Nothing => {}
            Kind::Paced(paced) => paced.give_back(taken.units),
            Kind::Strict(strict) => strict.give_back(taken.units, taken.free_at),
        }
    }

    /// When `units` can be taken if `ahead` units are taken first. The past: now.
    pub(super) fn available_at(&self, ahead: u64, units: u32) -> Instant {
        let at = match &self.kind {
            Kind::Nothing => u64::MAX,
            Kind::Paced(paced) => paced.available_at(ahead, units),
            Kind::Strict(strict) => strict.available_at(ahead, units),
        };
        self.clock.instant(Nanos::new(at))
    }

    /// How many units could be taken now.
    pub(super) fn remaining(&self) -> u32 {
        let now = self.clock.now().as_u64();
        match &self.kind {
            Kind::Nothing => 0,
            Kind::Paced(paced) => paced.remaining(now),
            Kind::Strict(strict) => strict.remaining(now),
        }
    }
}
