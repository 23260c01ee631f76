//! What has been spent of a quota: plain functions of what was sent and the time,
//! in nanoseconds from the limiter's start. governor judges; its clock and its
//! state are ours.
//!
//! governor's GCRA keeps one number, the theoretical arrival time. A [paced](paced) quota is one
//! such number. A [strict](strict) one keeps a [log](log) of when units were sent, and asks about
//! one of them.

mod judge;
mod paced;
mod strict;

use std::time::Duration;

use super::Quota;

pub(super) use self::judge::{Judge, allowed};
pub(super) use self::paced::{Pace, Paced};
pub(super) use self::strict::Strict;

/// How many units pass in what time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) limit: u32,
    pub(super) window: Duration,
}

/// What is left of a quota.
#[derive(Debug)]
pub(super) enum Meter {
    Paced(Paced),
    Strict(Strict),
}

impl Meter {
    /// A meter of a quota that comes into force now.
    pub(super) fn since(now: u64, quota: &Quota) -> Self {
        match quota.burst {
            Some(burst) if burst > 0 && quota.limit > 0 => {
                Self::Paced(Paced::since(now, Pace::new(quota, burst)))
            }
            Some(_) => Self::Strict(Strict::new(0, quota.kept_window())),
            None => Self::Strict(Strict::new(quota.limit, quota.kept_window())),
        }
    }

    /// Puts another quota in force from now on. What was sent stays sent. Between two quotas of one
    /// kind that is exact; where a strict quota becomes paced or the other way round, all of it
    /// counts as sent now.
    pub(super) fn change(&mut self, now: u64, quota: &Quota) {
        let used = self.used(now);
        match (&mut *self, Self::since(now, quota)) {
            (Self::Strict(strict), Self::Strict(other)) => {
                strict.change(now, other.limit(), other.window());
            }
            (Self::Paced(paced), Self::Paced(other)) => paced.set_pace(now, other.pace()),
            (_, mut other) => {
                other.send(now, used);
                *self = other;
            }
        }
    }

    pub(super) fn as_paced(&self) -> Option<&Paced> {
        match self {
            Self::Paced(paced) => Some(paced),
            Self::Strict(_) => None,
        }
    }

    /// The most units that can ever be taken at once.
    pub(super) fn capacity(&self) -> u32 {
        match self {
            Self::Paced(paced) => paced.capacity(),
            Self::Strict(strict) => strict.limit(),
        }
    }

    /// How many units it passes in what time, in the long run.
    pub(super) fn rate(&self) -> Rate {
        match self {
            Self::Paced(paced) => Rate { limit: 1, window: paced.pace().interval() },
            Self::Strict(strict) => strict.rate(),
        }
    }

    /// Whether `units`, at most the capacity, may be taken while `reserved` are taken and not sent
    /// yet. If not, the error is a time before which they can't be.
    pub(super) fn admit(&self, now: u64, reserved: u64, units: u32) -> Result<(), u64> {
        match self {
            Self::Paced(paced) => paced.admit(now, reserved, units),
            Self::Strict(strict) => strict.admit(now, reserved, units),
        }
    }

    /// Notes units that are sent. Returns the mark by which those of a paced quota are given back.
    pub(super) fn send(&mut self, now: u64, units: u64) -> u64 {
        match self {
            Self::Paced(paced) => paced.send(now, units),
            Self::Strict(strict) => {
                strict.send(now, units);
                0
            }
        }
    }

    /// Units that were sent at `sent`, with this mark, turn out to have never left.
    pub(super) fn refund(&mut self, now: u64, units: u32, sent: u64, mark: u64) {
        match self {
            Self::Paced(paced) => paced.refund(now, units, sent, Some(mark)),
            Self::Strict(strict) => strict.refund(units, sent),
        }
    }

    /// When `units` that come after `before` others can be taken, as far as is known: at `from` or
    /// later.
    pub(super) fn available_at(&self, from: u64, before: u64, units: u32) -> u64 {
        match self {
            Self::Paced(paced) => paced.available_at(from, before, units),
            Self::Strict(strict) => strict.available_at(from, before, units),
        }
    }

    /// How many units are sent and not free yet.
    pub(super) fn used(&self, now: u64) -> u64 {
        match self {
            Self::Paced(paced) => paced.used(now),
            Self::Strict(strict) => strict.used(now),
        }
    }
}
