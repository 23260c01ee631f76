//! The limit that a server reports in the headers of responses.

use std::time::Duration;

use super::meter::{Pace, PacedMeter, Rate, StrictMeter};
use crate::hint::{Limit, Limits};
use crate::time::nanos;

/// One limit of the server's, as far as responses have reported it. The configured limit holds
/// beside it, so that a learned limit can only make it stricter.
///
/// Two facts are learned:
///
/// - The rate. It is kept as a strict quota, which is lowered at once and raised slowly, and is
///   [paced] over its window where it is lower than the configured rate.
/// - The number of units that remain until the reset. If that is less than what this client's own
///   units would leave, other clients use the same limit. Their share is reserved until the reset.
#[derive(Debug, Default)]
pub(super) struct LearnedLimit {
    rate: Option<StrictMeter>,
    /// `Some` only while the rate is lower than the configured rate.
    pace: Option<PacedMeter>,
    raised_at: u64,
    /// The units that other clients have used.
    used_by_others: Option<Observed>,
    /// The units that may still be sent, where no rate is known.
    remaining: Option<Observed>,
    /// The limit that was observed last.
    limit: Option<u64>,
    /// The longest reset that was observed with the limit, in nanoseconds.
    longest_reset: u64,
}

/// A number of units that holds until the reset.
#[derive(Clone, Copy, Debug)]
struct Observed {
    units: u64,
    until: u64,
    /// [`Position::sent`] of the call whose response reported it.
    sent: u64,
}

/// The position of a call among all units that were sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// The number of units that were sent up to the call, its own included.
    pub(super) sent: u64,
    /// The number of units that were sent after it, or are about to be.
    pub(super) after: u64,
}

/// Two resets count as the same one if they differ by at most this fraction of the time until then,
/// and by at most a second: servers report whole seconds, and responses take time to arrive.
const RESET_TOLERANCE: u64 = 10;
const SECOND: u64 = 1_000_000_000;

/// The number of steps in which a limit is raised, distributed over its window.
const RAISE_STEPS: u32 = 10;

/// The fraction of a paced rate that passes at once.
const BURST_FRACTION: u32 = 10;

impl Observed {
    /// Merges a new observation with the known one. For the same reset, `stricter` selects the
    /// units, as responses arrive out of order. Otherwise the observation of the later call holds.
    fn merge(self, known: Option<Self>, now: u64, stricter: fn(u64, u64) -> u64) -> Self {
        let tolerance = (self.until.saturating_sub(now) / RESET_TOLERANCE).min(SECOND);
        match known.filter(|known| now < known.until) {
            Some(known) if known.until.abs_diff(self.until) <= tolerance => Self {
                units: stricter(known.units, self.units),
                until: known.until.min(self.until),
                sent: known.sent.max(self.sent),
            },
            Some(known) if known.sent > self.sent => known,
            _ => self,
        }
    }

    /// Returns the units of an observation that still holds.
    fn units_at(observed: Option<Self>, now: u64) -> Option<u64> {
        observed.filter(|observed| now < observed.until).map(|observed| observed.units)
    }
}

impl LearnedLimit {
    /// Returns the largest number of units that pass at once, as far as is known. A call that costs
    /// more passes when none of them is in use, so that its response can report a higher limit.
    pub(super) fn capacity(&self) -> u32 {
        self.rate.as_ref().map_or(u32::MAX, StrictMeter::limit)
    }

    /// Returns whether nothing is known that still matters.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        [self.remaining, self.used_by_others]
            .into_iter()
            .all(|observed| Observed::units_at(observed, now).is_none())
            && self.used(now).unwrap_or(0) == 0
    }

    /// Learns the limits of one resource from a response. A reset is capped at `max_pause`.
    pub(super) fn learn(&mut self, now: u64, limits: &Limits, position: Position, max_pause: u64) {
        let reset = |limit: &Limit| limit.reset.map(|reset| nanos(reset).min(max_pause));
        // Of a limit per minute and one per day, the limit per minute is the rate.
        let rates = limits.iter().filter(|limit| limit.limit.is_some());
        let shortest =
            rates.min_by_key(|limit| limit.window.or(limit.reset).unwrap_or(Duration::MAX));
        if let Some(limit) = shortest {
            self.learn_rate(now, limit, reset(limit));
        }
        if let Some(binding) = limits.binding()
            && let Some((remaining, reset)) = binding.remaining.zip(reset(binding))
        {
            let until = now.saturating_add(reset);
            let observed = |units| Observed { units, until, sent: position.sent };
            // Of the units that the server counts, at most those sent from here are this client's.
            if let Some((limit, used)) = binding.limit.zip(self.used(now))
                && shortest == Some(binding)
            {
                let others = limit.saturating_sub(remaining).saturating_sub(used);
                let others = observed(others).merge(self.used_by_others, now, u64::max);
                self.used_by_others = Some(others);
            } else {
                let remaining = observed(remaining.saturating_sub(position.after));
                self.remaining = Some(remaining.merge(self.remaining, now, u64::min));
            }
        }
    }

    fn learn_rate(&mut self, now: u64, observed: &Limit, reset: Option<u64>) {
        if observed.limit != self.limit {
            self.limit = observed.limit;
            // Another limit may have another window. It has one if the server counts far fewer
            // units than were sent from here within the old window.
            let used = self.used(now).unwrap_or(0);
            let remaining = observed.remaining.filter(|remaining| *remaining > 0);
            if let Some((limit, remaining)) = observed.limit.zip(remaining)
                && limit.saturating_sub(remaining) < used / 2
            {
                self.longest_reset = 0;
            }
        }
        // A window that isn't reported counts as long as the longest reset.
        self.longest_reset = self.longest_reset.max(reset.unwrap_or(0));
        let longest_reset = Some(self.longest_reset).filter(|reset| *reset > 0);
        let window = observed.window.map(nanos).or(longest_reset);
        let Some((limit, window)) = observed.limit.zip(window) else {
            return;
        };
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let window = Duration::from_nanos(window.max(SECOND));
        // Longer by 1 %, like a configured window: the server counts calls when they arrive.
        let window = window.saturating_add(window / 100);
        let Some(rate) = &mut self.rate else {
            (self.rate, self.raised_at) = (Some(StrictMeter::new(limit, window)), now);
            return;
        };
        let limit = match limit.saturating_sub(rate.limit()) {
            0 => limit,
            _ if now.saturating_sub(self.raised_at) < nanos(window) / u64::from(RAISE_STEPS) => {
                rate.limit()
            }
            missing => {
                self.raised_at = now;
                rate.limit() + missing.min(limit.div_ceil(RAISE_STEPS))
            }
        };
        let new = Rate { limit, window };
        if new != rate.rate() {
            rate.set_rate(now, new);
        }
    }

    /// Paces the rate over its window if it is lower than the configured rate.
    pub(super) fn update_pace(&mut self, now: u64, configured: Option<Rate>) {
        let rates = self.rate.as_ref().map(StrictMeter::rate).zip(configured);
        let pace = rates.and_then(|(observed, configured)| pace(observed, configured));
        match (&mut self.pace, pace) {
            (Some(paced), Some(pace)) => paced.set_pace(now, pace),
            (paced, pace) => *paced = pace.map(|pace| PacedMeter::new(now, pace)),
        }
    }

    /// Returns whether `wanted` units may be taken while `reserved` units are taken and not sent yet.
    /// The error is a time before which they can't be taken.
    pub(super) fn admit(&self, now: u64, reserved: u64, wanted: u32) -> Result<(), u64> {
        if let Some(remaining) = self.remaining.filter(|remaining| now < remaining.until)
            && remaining.units < u64::from(wanted)
        {
            return Err(remaining.until);
        }
        let Some(rate) = &self.rate else {
            return Ok(());
        };
        let wanted = wanted.min(rate.limit());
        let by_pace = self.pace.as_ref().map_or(Ok(()), |pace| pace.admit(now, reserved, 1));
        let by_rate = match self.used_by_others.filter(|others| now < others.until) {
            None => rate.admit(now, reserved, wanted),
            Some(Observed { units, until, .. }) => {
                let admitted = rate.admit(now, reserved.saturating_add(units), wanted);
                admitted.map_err(|at| at.min(until))
            }
        };
        match (by_pace, by_rate) {
            (Err(by_pace), Err(by_rate)) => Err(by_pace.max(by_rate)),
            (by_pace, by_rate) => by_pace.and(by_rate),
        }
    }

    /// Takes units that were admitted.
    pub(super) fn take(&mut self, units: u32) {
        if let Some(remaining) = &mut self.remaining {
            remaining.units = remaining.units.saturating_sub(units.into());
        }
    }

    /// Releases units that were taken and won't be sent.
    pub(super) fn release(&mut self, units: u32) {
        if let Some(remaining) = &mut self.remaining {
            remaining.units = remaining.units.saturating_add(units.into());
        }
    }

    /// Records that units that were taken are sent.
    pub(super) fn send(&mut self, now: u64, units: u64) {
        let Some(rate) = &mut self.rate else {
            return;
        };
        rate.send(now, units);
        if let Some(pace) = &mut self.pace {
            // A call that costs more than the limit uses all of it.
            pace.send(now, units.min(rate.limit().into()));
        }
    }

    /// Refunds units of a call that was sent at `sent_at`, as [`Position::sent`] of all units.
    pub(super) fn refund(&mut self, now: u64, units: u32, sent_at: u64, sent: u64) {
        // The units reduced what the response to an earlier call left. A later call's response
        // didn't count them.
        if self.remaining.is_some_and(|remaining| sent > remaining.sent) {
            self.release(units);
        }
        if let Some(rate) = &mut self.rate {
            rate.refund(units, sent_at);
        }
        if let Some(pace) = &mut self.pace {
            pace.refund(now, units, sent_at, None);
        }
    }

    /// Estimates when `wanted` units that come after `ahead` other units can be taken: `from` or
    /// later.
    pub(super) fn available_at(&self, from: u64, ahead: u64, wanted: u32) -> u64 {
        let sum = ahead.saturating_add(wanted.into());
        let exhausted = self.remaining.filter(|left| from < left.until && left.units < sum);
        let from = exhausted.map_or(from, |left| left.until);
        let Some(rate) = &self.rate else {
            return from;
        };
        let wanted = wanted.min(rate.limit());
        let by_pace =
            self.pace.as_ref().map_or(from, |pace| pace.available_at(from, ahead, wanted.min(1)));
        let others = self.used_by_others.filter(|others| from < others.until && others.units > 0);
        let by_rate = match others {
            None => rate.available_at(from, ahead, wanted),
            Some(Observed { units, until, .. }) => {
                let beside = rate.available_at(from, ahead.saturating_add(units), wanted);
                beside.min(rate.available_at(until, ahead, wanted))
            }
        };
        by_rate.max(by_pace)
    }

    /// Returns the number of units that are sent and not available again, if a rate is known.
    pub(super) fn used(&self, now: u64) -> Option<u64> {
        self.rate.as_ref().map(|rate| rate.used(now))
    }

    /// Returns the number of units that could be taken now, while `reserved` units are taken and not
    /// sent yet.
    pub(super) fn remaining(&self, now: u64, reserved: u64) -> u64 {
        let remaining = Observed::units_at(self.remaining, now).unwrap_or(u64::MAX);
        let others = Observed::units_at(self.used_by_others, now).unwrap_or(0);
        let by_rate = |rate: &StrictMeter| {
            let used = rate.used(now).saturating_add(reserved).saturating_add(others);
            u64::from(rate.limit()).saturating_sub(used)
        };
        remaining.min(self.rate.as_ref().map_or(u64::MAX, by_rate))
    }
}

/// Returns the pace that distributes an observed rate over its window, if it is lower than the
/// configured rate. Otherwise calls would use it up at once, and all later calls would wait for the
/// end of the window.
fn pace(observed: Rate, configured: Rate) -> Option<Pace> {
    // Compares two fractions by cross-multiplication. The observed window is 1 % longer than
    // reported, so the configured window counts as 1 % longer too.
    let window = configured.window.as_nanos();
    let own = window.saturating_add(window / 100).saturating_mul(observed.limit.into());
    let is_lower = own < observed.window.as_nanos().saturating_mul(configured.limit.into());
    let burst = observed.limit.div_ceil(BURST_FRACTION);
    is_lower.then(|| Pace::new(observed.limit, observed.window, burst))
}

#[cfg(test)]
mod tests;
