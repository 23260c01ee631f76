//! The meter of one quota: what was sent, and what may be sent next.
//!
//! Meters are plain functions of what was sent and the time, in nanoseconds since the limiter's
//! start. governor decides; its clock and its state are replaced, for paused time, quotas that
//! change, and refunds. A [paced](paced) meter keeps GCRA's single number, the theoretical arrival
//! time. A [strict](strict) meter keeps a log of when units were sent.

mod paced;
mod strict;

use super::Quota;

pub(super) use self::paced::{Gcra, Pace, PacedMeter, Rate, set_arrival};
pub(super) use self::strict::StrictMeter;

/// The meter of one quota.
#[derive(Debug)]
pub(super) enum Meter {
    Paced(PacedMeter),
    Strict(StrictMeter),
}

impl Meter {
    /// Creates the meter of a quota that is in force from `now` on.
    pub(super) fn new(now: u64, quota: &Quota) -> Self {
        let window = quota.local_window();
        match quota.burst {
            Some(burst) if burst > 0 && quota.limit > 0 => {
                let pace = Pace::new(quota.limit, quota.window, burst);
                Self::Paced(PacedMeter::new(now, pace))
            }
            Some(_) => Self::Strict(StrictMeter::new(0, window)),
            None => Self::Strict(StrictMeter::new(quota.limit, window)),
        }
    }

    /// Replaces the quota from `now` on. What was sent stays sent. This is exact between two quotas
    /// of one kind. Where a strict quota becomes paced or the reverse, all of it counts as sent now.
    pub(super) fn set_quota(&mut self, now: u64, quota: &Quota) {
        let used = self.used(now);
        match (&mut *self, Self::new(now, quota)) {
            (Self::Strict(strict), Self::Strict(new)) => strict.set_rate(now, new.rate()),
            (Self::Paced(paced), Self::Paced(new)) => paced.set_pace(now, new.pace()),
            (_, mut new) => {
                new.send(now, used);
                *self = new;
            }
        }
    }

    /// Returns the largest number of units that can ever be taken at once.
    pub(super) fn capacity(&self) -> u32 {
        match self {
            Self::Paced(paced) => paced.capacity(),
            Self::Strict(strict) => strict.limit(),
        }
    }

    /// Returns the long-term rate.
    pub(super) fn rate(&self) -> Rate {
        match self {
            Self::Paced(paced) => Rate { limit: 1, window: paced.pace().interval() },
            Self::Strict(strict) => strict.rate(),
        }
    }

    /// Returns whether `units`, at most the capacity, may be taken while `reserved` units are taken
    /// and not sent yet. The error is a time before which they can't be taken.
    pub(super) fn admit(&self, now: u64, reserved: u64, units: u32) -> Result<(), u64> {
        match self {
            Self::Paced(paced) => paced.admit(now, reserved, units),
            Self::Strict(strict) => strict.admit(now, reserved, units),
        }
    }

    /// Records units that are sent. Returns the mark that the refund of units of a paced quota
    /// needs.
    pub(super) fn send(&mut self, now: u64, units: u64) -> u64 {
        match self {
            Self::Paced(paced) => paced.send(now, units),
            Self::Strict(strict) => {
                strict.send(now, units);
                0
            }
        }
    }

    /// Refunds units that were sent at `sent_at` with this mark.
    pub(super) fn refund(&mut self, now: u64, units: u32, sent_at: u64, mark: u64) {
        match self {
            Self::Paced(paced) => paced.refund(now, units, sent_at, Some(mark)),
            Self::Strict(strict) => strict.refund(units, sent_at),
        }
    }

    /// Estimates when `units` that come after `ahead` other units can be taken: `from` or later.
    pub(super) fn available_at(&self, from: u64, ahead: u64, units: u32) -> u64 {
        match self {
            Self::Paced(paced) => paced.available_at(from, ahead, units),
            Self::Strict(strict) => strict.available_at(from, ahead, units),
        }
    }

    /// Returns the number of units that are sent and not available again.
    pub(super) fn used(&self, now: u64) -> u64 {
        match self {
            Self::Paced(paced) => paced.used(now),
            Self::Strict(strict) => strict.used(now),
        }
    }
}
