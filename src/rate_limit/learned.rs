//! What a server's answers tell of its limits, as a limit of its own.

use std::time::Duration;

use super::meter::{Paced, Strict};
use crate::hint::{Limit, Limits};
use crate::rate_limit::Quota;
use crate::rate_limit::meter::{Pace, Rate};
use crate::time::nanos;

/// One limit of the server's, as far as its answers have observed it. What is configured
/// here holds beside it, so it can only make that stricter.
///
/// Two things are observed. One is how many units are allowed in what time. This is kept as a strict
/// quota, which is lowered at once and raised slowly, and [paced] over its window where it is
/// lower than what is configured. The other is how many units are left until the reset. If that is
/// less than all that was sent from here would leave, others use the limit too, and what they used
/// is kept for them until then.
#[derive(Debug)]
pub(super) struct LearnedLimit {
    rate: Option<Strict>,
    /// Only while the rate is lower than what is configured.
    pace: Option<Paced>,
    raised: u64,
    /// What others have used.
    elsewhere: Option<Observed>,
    /// What may still be sent, where no rate is known.
    left: Option<Observed>,
    /// The limit that was observed last, and the longest reset that was observed with it.
    limit: Option<u64>,
    longest: u64,
}

/// A number of units that holds until the reset.
#[derive(Clone, Copy, Debug)]
struct Observed {
    units: u64,
    until: u64,
    /// Which call's answer observed it: the number of units that had been sent with that call.
    number: u64,
}

/// What was sent around the call whose answer tells something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// How many units were sent up to that call, with its own.
    pub(super) number: u64,
    /// How many units were sent after it, or are about to be.
    pub(super) after: u64,
}

/// Two resets are taken for the same one if they differ by at most this part of the time until
/// then, and by at most a second: they are observed in whole seconds, and answers take time to arrive.
const SLACK: u64 = 10;
const SECOND: u64 = 1_000_000_000;

/// A raised limit is reached in this many steps, paced over its window.
const STEPS: u32 = 10;

impl Observed {
    /// Which number holds, of the known one and the one observed now. If both are of one reset,
    /// `cautious` chooses, as answers come out of order. Otherwise the later call's answer holds.
    fn or(self, known: Option<Self>, now: u64, cautious: fn(u64, u64) -> u64) -> Self {
        let slack = (self.until.saturating_sub(now) / SLACK).min(SECOND);
        match known.filter(|known| now < known.until) {
            Some(known) if known.until.abs_diff(self.until) <= slack => Self {
                units: cautious(known.units, self.units),
                until: known.until.min(self.until),
                number: known.number.max(self.number),
            },
            Some(known) if known.number > self.number => known,
            _ => self,
        }
    }
}

/// The units of a number that still holds.
fn units(observed: Option<Observed>, now: u64) -> Option<u64> {
    observed.filter(|observed| now < observed.until).map(|observed| observed.units)
}

impl LearnedLimit {
    pub(super) const fn new() -> Self {
        let (rate, pace, elsewhere, left, limit) = (None, None, None, None, None);
        Self { rate, pace, raised: 0, elsewhere, left, limit, longest: 0 }
    }

    /// The most units that are allowed at once, as far as is known. A call that costs more passes
    /// when none of them is in use: so that the next answer can tell better.
    pub(super) fn capacity(&self) -> u32 {
        self.rate.as_ref().map_or(u32::MAX, Strict::limit)
    }

    /// Whether nothing is known that matters any more.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        [self.left, self.elsewhere].iter().all(|observed| units(*observed, now).is_none())
            && self.used(now).unwrap_or(0) == 0
    }

    /// Takes in what an answer tells of the limits of one resource. No reset is waited for longer
    /// than `longest`.
    pub(super) fn learn(&mut self, now: u64, limits: &Limits, sent: Sent, longest: u64) {
        let reset = |observed: &Limit| observed.reset.map(|reset| nanos(reset).min(longest));
        // Of a limit per minute and one per day, the first one's rate counts.
        let rates = limits.iter().filter(|observed| observed.limit.is_some());
        let shortest = rates
            .min_by_key(|observed| observed.window.or(observed.reset).unwrap_or(Duration::MAX));
        if let Some(observed) = shortest {
            self.learn_rate(now, observed, reset(observed));
        }
        if let Some(binding) = limits.binding()
            && let Some((remaining, reset)) = binding.remaining.zip(reset(binding))
        {
            let until = now.saturating_add(reset);
            let observed = |units| Observed { units, until, number: sent.number };
            // Of the server's count at most what was sent from here is ours. The rest is others'.
            if let Some((limit, used)) = binding.limit.zip(self.used(now))
                && shortest == Some(binding)
            {
                let elsewhere = limit.saturating_sub(remaining).saturating_sub(used);
                self.elsewhere = Some(observed(elsewhere).or(self.elsewhere, now, u64::max));
            } else {
                let left = remaining.saturating_sub(sent.after);
                self.left = Some(observed(left).or(self.left, now, u64::min));
            }
        }
    }

    fn learn_rate(&mut self, now: u64, observed: &Limit, reset: Option<u64>) {
        if observed.limit != self.limit {
            self.limit = observed.limit;
            // Another limit may have another window. It has one if the server counts far fewer
            // units than were sent from here within the old one.
            let used = self.used(now).unwrap_or(0);
            let counted = observed.limit.zip(observed.remaining.filter(|remaining| *remaining > 0));
            if counted.is_some_and(|(limit, left)| limit.saturating_sub(left) < used / 2) {
                self.longest = 0;
            }
        }
        // A window that isn't observed is taken to be as long as the longest reset.
        self.longest = self.longest.max(reset.unwrap_or(0));
        let window = observed.window.map(nanos).or((self.longest > 0).then_some(self.longest));
        let Some((limit, window)) = observed.limit.zip(window) else {
            return;
        };
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let window = Duration::from_nanos(window.max(SECOND));
        // Longer by a hundredth, as a configured window is: the server counts when calls arrive.
        let window = window.saturating_add(window / 100);
        let Some(rate) = &mut self.rate else {
            (self.rate, self.raised) = (Some(Strict::new(limit, window)), now);
            return;
        };
        let limit = match limit.checked_sub(rate.limit()) {
            None | Some(0) => limit,
            Some(_) if now.saturating_sub(self.raised) < nanos(window) / u64::from(STEPS) => {
                rate.limit()
            }
            Some(above_capacity) => {
                self.raised = now;
                rate.limit() + above_capacity.min(limit.div_ceil(STEPS))
            }
        };
        if limit != rate.limit() || window != rate.window() {
            rate.change(now, limit, window);
        }
    }

    /// Spreads the rate over its window if it is lower than what is configured.
    pub(super) fn keep_below(&mut self, now: u64, configured: Option<Rate>) {
        let rates = self.rate.as_ref().map(Strict::rate).zip(configured);
        let pace = rates.and_then(|(observed, configured)| pace(observed, configured));
        match (&mut self.pace, pace) {
            (Some(paced), Some(pace)) => paced.set_pace(now, pace),
            (paced, pace) => *paced = pace.map(|pace| Paced::since(now, pace)),
        }
    }

    /// Whether `wanted` units may be taken while `reserved` are taken and not sent yet. If not, the
    /// error is a time before which they can't be.
    pub(super) fn admit(&self, now: u64, reserved: u64, wanted: u32) -> Result<(), u64> {
        if let Some(left) = self.left.filter(|left| now < left.until)
            && left.units < u64::from(wanted)
        {
            return Err(left.until);
        }
        let Some(rate) = &self.rate else {
            return Ok(());
        };
        let wanted = wanted.min(rate.limit());
        let in_time = self.pace.as_ref().map_or(Ok(()), |pace| pace.admit(now, reserved, 1));
        let in_all = match self.elsewhere.filter(|elsewhere| now < elsewhere.until) {
            None => rate.admit(now, reserved, wanted),
            Some(Observed { units, until, .. }) => {
                let refused = rate.admit(now, reserved.saturating_add(units), wanted);
                refused.map_err(|at| at.min(until))
            }
        };
        match (in_time, in_all) {
            (Err(in_time), Err(in_all)) => Err(in_time.max(in_all)),
            (in_time, in_all) => in_time.and(in_all),
        }
    }

    /// Units are taken.
    pub(super) fn take(&mut self, units: u32) {
        if let Some(left) = &mut self.left {
            left.units = left.units.saturating_sub(units.into());
        }
    }

    /// Units that were taken are sent.
    pub(super) fn send(&mut self, now: u64, units: u64) {
        let Some(rate) = &mut self.rate else {
            return;
        };
        rate.send(now, units);
        if let Some(pace) = &mut self.pace {
            // A call that costs more than the limit uses up all of it.
            pace.send(now, units.min(rate.limit().into()));
        }
    }

    /// Units that were taken aren't sent.
    pub(super) fn restore(&mut self, units: u32) {
        if let Some(left) = &mut self.left {
            left.units = left.units.saturating_add(units.into());
        }
    }

    /// Gives back units that were sent at `sent` but never left. `number`: how many had been sent
    /// by then.
    pub(super) fn refund(&mut self, now: u64, units: u32, sent: u64, number: u64) {
        // What an earlier call's answer left was reduced by them. A later call's answer didn't
        // count them.
        if self.left.is_some_and(|left| number > left.number) {
            self.restore(units);
        }
        if let Some(rate) = &mut self.rate {
            rate.refund(units, sent);
        }
        if let Some(pace) = &mut self.pace {
            pace.refund(now, units, sent, None);
        }
    }

    /// When `wanted` units that come after `before` others can be taken: at `from` or later.
    pub(super) fn available_at(&self, from: u64, before: u64, wanted: u32) -> u64 {
        let sum = before.saturating_add(wanted.into());
        let left = self.left.filter(|left| from < left.until && left.units < sum);
        let from = left.map_or(from, |left| left.until);
        let Some(rate) = &self.rate else {
            return from;
        };
        let wanted = wanted.min(rate.limit());
        let in_time =
            self.pace.as_ref().map_or(from, |pace| pace.available_at(from, before, wanted.min(1)));
        let elsewhere =
            self.elsewhere.filter(|observed| from < observed.until && observed.units > 0);
        let in_all = match elsewhere {
            None => rate.available_at(from, before, wanted),
            Some(Observed { units, until, .. }) => {
                let beside = rate.available_at(from, before.saturating_add(units), wanted);
                beside.min(rate.available_at(until, before, wanted))
            }
        };
        in_all.max(in_time)
    }

    /// How many units are sent and not free yet, as far as is known.
    pub(super) fn used(&self, now: u64) -> Option<u64> {
        self.rate.as_ref().map(|rate| rate.used(now))
    }

    /// How many units could be taken now, while `reserved` are taken and not sent yet.
    pub(super) fn remaining(&self, now: u64, reserved: u64) -> u64 {
        let left = units(self.left, now).unwrap_or(u64::MAX);
        let elsewhere = units(self.elsewhere, now).unwrap_or(0);
        let of_rate = |rate: &Strict| {
            let used = rate.used(now).saturating_add(reserved).saturating_add(elsewhere);
            u64::from(rate.limit()).saturating_sub(used)
        };
        left.min(self.rate.as_ref().map_or(u64::MAX, of_rate))
    }
}

/// Of a limit that is paced, a tenth passes at once.
const PART: u32 = 10;

/// The pace that spreads a observed rate over its window, if that rate is lower than what is
/// configured. Otherwise calls would use it up at once, and all that come later would wait for the
/// window's end.
pub(super) fn pace(observed: Rate, configured: Rate) -> Option<Pace> {
    // Two fractions, compared by cross-multiplication. The observed window is kept a hundredth longer,
    // so the configured one counts as longer too.
    let window = configured.window.as_nanos();
    let own = window.saturating_add(window / 100).saturating_mul(observed.limit.into());
    let lower = own < observed.window.as_nanos().saturating_mul(configured.limit.into());
    let quota = Quota::new(observed.limit, observed.window);
    lower.then(|| Pace::new(&quota, observed.limit.div_ceil(PART)))
}

#[cfg(test)]
mod tests;
