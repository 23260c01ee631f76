//! What has been spent of a quota. governor judges; its clock and its state are ours.
//!
//! governor's GCRA keeps one number, the theoretical arrival time. A
//! [paced](paced) quota is one such number; a [strict](strict) one asks about
//! a [log](log) of them, one a unit that was sent.
//!
//! Units are spent in two steps, since between the decision and the sending a
//! call may have to wait for the inner service: they are *taken*, which keeps
//! them from others, and count in time only from when they are *sent*. Else calls
//! that were let through in several windows could be sent in one.

mod judge;
mod log;
mod paced;
mod strict;

use governor::clock::Clock;

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

/// What giving back units that were sent takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt(u64);

impl Meter {
    pub(super) fn new(quota: Quota) -> Self {
        let clock = TokioClock::default();
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

    /// Takes units, at most the capacity, or tells before when that won't be possible.
    pub(super) fn take(&self, units: u32) -> Result<(), Instant> {
        match &self.kind {
            Kind::Nothing => Err(u64::MAX),
            Kind::Paced(paced) => paced.take(units),
            Kind::Strict(strict) => strict.take(units),
        }
        .map_err(|at| self.clock.instant(at))
    }

    /// Units that were taken are being sent.
    pub(super) fn send(&self, units: u32) -> Receipt {
        Receipt(match &self.kind {
            Kind::Nothing => 0,
            Kind::Paced(paced) => paced.send(units),
            Kind::Strict(strict) => strict.send(units),
        })
    }

    /// Units that were taken won't be sent.
    pub(super) fn put_back(&self, units: u32) {
        match &self.kind {
            Kind::Nothing => {}
            Kind::Paced(paced) => paced.put_back(units),
            Kind::Strict(strict) => strict.put_back(units),
        }
    }

    /// Units that were sent turn out to have never left.
    pub(super) fn give_back(&self, units: u32, Receipt(receipt): Receipt) {
        match &self.kind {
            Kind::Nothing => {}
            Kind::Paced(paced) => paced.give_back(units, receipt),
            Kind::Strict(strict) => strict.give_back(units, receipt),
        }
    }

    /// When `units` can be taken, as far as is known, if `ahead` units are taken
    /// first and none before `from`.
    pub(super) fn available_at(&self, from: Instant, ahead: u64, units: u32) -> Instant {
        let nanos = self.clock.nanos(from);
        match &self.kind {
            _ if units == 0 => from,
            Kind::Nothing => self.clock.instant(u64::MAX),
            Kind::Paced(paced) => self.clock.instant(paced.available_at(nanos, ahead, units)),
            Kind::Strict(strict) => self.clock.instant(strict.available_at(nanos, ahead, units)),
        }
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

#[cfg(test)]
fn on_paused_time(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(test);
}
