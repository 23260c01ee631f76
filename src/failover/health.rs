//! Whether a region is fit to be called: plain functions of what was seen, and when.

use std::time::Duration;

use crate::time::{self, Instant, TimeOrigin};

/// How long a region that fails is left alone, and how it comes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    /// The first cooldown.
    pub(super) first: Duration,
    /// The longest one, as it doubles each time that the region fails again.
    pub(super) most: Duration,
    /// The longest that a server can ask for.
    pub(super) hint_cap: Duration,
    /// The number of successful probes until the region is healthy.
    pub(super) good_calls: u32,
    /// How long the region's share of the calls grows after that.
    pub(super) ramp: Duration,
}

/// A region's health.
#[derive(Clone, Copy, Debug)]
pub(super) struct HealthState {
    generation: Generation,
    /// When the generation began. A call that set out before says nothing about it.
    since: Instant,
    /// How often it was taken out without having quite come back in between.
    times: u32,
    /// When the last check was over.
    last_check: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    Fit,
    /// Not selected before `until`, and probed from then on. `until` only moves later, except that a
    /// check can end it. `asked_until`, what the server asked for, only moves later.
    Out {
        until: Instant,
        asked_until: Instant,
        good: u32,
    },
    /// Recovered, with a share of the calls that grows until `until`.
    Ramping {
        until: Instant,
    },
}

/// A change that is emitted as an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Out { out_for: Duration },
    Recovered,
}

impl HealthState {
    pub(super) const fn new(now: Instant) -> Self {
        Self { generation: Generation::Fit, since: now, times: 0, last_check: None }
    }

    pub(super) const fn since(&self) -> Instant {
        self.since
    }

    pub(super) const fn last_check(&self) -> Option<Instant> {
        self.last_check
    }

    pub(super) fn availability(&self, origin: TimeOrigin) -> Availability {
        match self.generation {
            Generation::Fit => Availability::Fit,
            Generation::Ramping { until } => Availability::Ramping { until: origin.nanos(until) },
            Generation::Out { until, .. } => Availability::Out { until: origin.nanos(until) },
        }
    }

    /// Until when its server asked to be left alone. The trial may begin later than that.
    pub(super) const fn asked_until(&self) -> Option<Instant> {
        match self.generation {
            Generation::Out { asked_until, .. } => Some(asked_until),
            Generation::Fit | Generation::Ramping { .. } => None,
        }
    }

    /// Returns whether it is out and not probed yet.
    pub(super) fn is_out(&self, now: Instant) -> bool {
        matches!(self.generation, Generation::Out { until, .. } if now < until)
    }

    /// A call succeeded that set out at `set_out`, or later in the same generation.
    pub(super) fn succeeded(
        &mut self,
        recovery: &Recovery,
        set_out: Instant,
        now: Instant,
    ) -> Option<Change> {
        match &mut self.generation {
            Generation::Out { asked_until, good, .. }
                if set_out >= self.since && *asked_until <= now =>
            {
                *good += 1;
                (*good >= recovery.good_calls).then(|| self.comes_back(recovery, now))
            }
            Generation::Ramping { until } if *until <= now => {
                self.generation = Generation::Fit;
                self.times = 0;
                None
            }
            _ => None,
        }
    }

    /// No two generations start at the same instant, so that each call belongs to one.
    fn start_generation(&mut self, now: Instant) {
        self.since = now.max(time::after(self.since, Duration::from_nanos(1)));
    }

    fn comes_back(&mut self, recovery: &Recovery, now: Instant) -> Change {
        let ramping = Generation::Ramping { until: time::after(now, recovery.ramp) };
        self.generation = if recovery.ramp.is_zero() { Generation::Fit } else { ramping };
        self.start_generation(now);
        Change::Recovered
    }

    /// A check failed, or a call that set out at `set_out` or later in the same generation.
    ///
    /// `asked` is how long the server asked to be left alone. `random`, from 0 to 1, keeps a fleet that
    /// lost the region together from coming back together.
    pub(super) fn failed(
        &mut self,
        recovery: &Recovery,
        asked: Option<Duration>,
        set_out: Instant,
        now: Instant,
        random: f64,
    ) -> Option<Change> {
        if set_out < self.since {
            return None;
        }
        let asked = asked.unwrap_or_default().min(recovery.hint_cap);
        let asked_until = time::after(now, asked);
        let (before, asked_before) = self.left_alone_until(now);
        let again = before <= now;
        let times = if again { self.times } else { self.times.saturating_sub(1) };
        let doubled = 1u32.checked_shl(times).unwrap_or(u32::MAX);
        let out_for = recovery.first.saturating_mul(doubled).min(recovery.most.max(recovery.first));
        let range = out_for.saturating_add((out_for / 10).mul_f64(random));
        let until = time::after(now, range).max(asked_until).max(before);
        let was_out = matches!(self.generation, Generation::Out { .. });
        self.generation =
            Generation::Out { until, asked_until: asked_until.max(asked_before), good: 0 };
        if again {
            self.times = self.times.saturating_add(1);
            self.start_generation(now);
        }
        (!was_out).then_some(Change::Out { out_for: out_for.max(asked) })
    }

    /// A call that set out at `set_out`, or later in the same generation, was asked to wait for `asked`.
    /// Nothing else is wrong with the region, so the next cooldown isn't longer for it.
    pub(super) fn asked_to_wait(
        &mut self,
        asked: Duration,
        set_out: Instant,
        now: Instant,
    ) -> Option<Change> {
        if set_out < self.since {
            return None;
        }
        let (before, asked_before) = self.left_alone_until(now);
        let asked_until = time::after(now, asked).max(asked_before);
        let was_out = matches!(self.generation, Generation::Out { .. });
        self.generation = Generation::Out { until: asked_until.max(before), asked_until, good: 0 };
        if before <= now {
            self.start_generation(now);
        }
        (!was_out).then_some(Change::Out { out_for: asked })
    }

    /// Until when the region is left alone already, and until when its server asked for that: `now` if
    /// it isn't. One that was well has its cooldowns begin anew.
    fn left_alone_until(&mut self, now: Instant) -> (Instant, Instant) {
        match self.generation {
            // While the region is out, another failure of the same generation says no more than the one
            // that took it out: the cooldown doesn't double.
            Generation::Out { until, asked_until, .. } if now < until => (until, asked_until),
            Generation::Out { .. } => (now, now),
            Generation::Ramping { until } if now < until => (now, now),
            Generation::Fit | Generation::Ramping { .. } => {
                self.times = 0;
                (now, now)
            }
        }
    }

    /// A health check succeeded, so it is probed at once. There are two exceptions: its server requested
    /// more time, or it was lost again before it had come back fully, as then a check has been wrong
    /// before.
    pub(super) fn found_well(&mut self, now: Instant) {
        self.last_check = Some(now);
        if let Generation::Out { until, asked_until, .. } = &mut self.generation
            && self.times <= 1
        {
            *until = (*until).min(now.max(*asked_until));
        }
    }

    /// A check failed, so it is out until the next check has found something else. `known` is when
    /// that one's finding is known, should there be one.
    pub(super) fn found_wanting(
        &mut self,
        recovery: &Recovery,
        known: Instant,
        now: Instant,
        random: f64,
    ) -> Option<Change> {
        self.last_check = Some(now);
        let change = self.failed(recovery, None, now, now, random);
        if let Generation::Out { until, .. } = &mut self.generation {
            *until = (*until).max(known);
        }
        change
    }

    /// Takes it for healthy, by hand.
    pub(super) fn reset(&mut self, now: Instant) -> Option<Change> {
        let was_out = matches!(self.generation, Generation::Out { .. });
        (self.generation, self.times) = (Generation::Fit, 0);
        self.start_generation(now);
        was_out.then_some(Change::Recovered)
    }
}

#[cfg(test)]
mod tests;

/// How a region stands. Times are in nanoseconds since the layer was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    Fit,
    /// Recovered, with a share of the calls that grows until `until`.
    Ramping {
        until: u64,
    },
    /// Not selected before `until`, and probed from then on.
    Out {
        until: u64,
    },
    /// Forced in by hand, though its health says otherwise. Its calls go on, and may show that it is
    /// well.
    Forced,
    /// Drained by hand: called only when nothing else is left.
    Drained,
    /// Forced out by hand, or removed.
    Gone,
}

impl Availability {
    /// The words of two availabilities that hold no time.
    pub(super) const FIT: u64 = 0;
    pub(super) const GONE: u64 = 4;
    const RAMPING: u64 = 1;
    const OUT: u64 = 2;
    const DRAINED: u64 = 3;
    const FORCED: u64 = 5;
    /// Three bits say which availability it is. The others are enough for seventy years of nanoseconds.
    const BITS: u32 = 3;
    const FAR: u64 = u64::MAX >> Self::BITS;

    pub(super) fn word(self) -> u64 {
        let timed = |until: u64, tag| (until.min(Self::FAR) << Self::BITS) | tag;
        match self {
            Self::Fit => Self::FIT,
            Self::Ramping { until } => timed(until, Self::RAMPING),
            Self::Out { until } => timed(until, Self::OUT),
            Self::Drained => Self::DRAINED,
            Self::Forced => Self::FORCED,
            Self::Gone => Self::GONE,
        }
    }

    pub(super) const fn from_word(word: u64) -> Self {
        let until = word >> Self::BITS;
        match word & ((1 << Self::BITS) - 1) {
            Self::RAMPING => Self::Ramping { until },
            Self::OUT => Self::Out { until },
            Self::DRAINED => Self::Drained,
            Self::FORCED => Self::Forced,
            Self::GONE => Self::Gone,
            _ => Self::Fit,
        }
    }

    /// Returns whether it failed or was taken out, and isn't healthy again. While it is probed, it is still out.
    pub(super) const fn is_out_now(self) -> bool {
        !matches!(self, Self::Fit | Self::Ramping { .. } | Self::Forced)
    }

    /// Whether it is called now only if there is no better one.
    pub(super) const fn is_out(self, now: u64) -> bool {
        match self {
            Self::Fit | Self::Ramping { .. } | Self::Forced => false,
            Self::Out { until } => now < until,
            Self::Drained | Self::Gone => true,
        }
    }

    /// The share of its calls, from a tenth to 1, that a region takes which is back fully at `until`,
    /// after ramping for `ramp`.
    pub(super) fn share(until: u64, now: u64, ramp: Duration) -> f64 {
        let left = Duration::from_nanos(until.saturating_sub(now));
        (1.0 - left.as_secs_f64() / ramp.as_secs_f64()).max(0.1)
    }
}

#[cfg(test)]
mod availability_tests {
    use super::*;

    #[test]
    fn is_notified_by_its_word() {
        for availability in [
            Availability::Fit,
            Availability::Ramping { until: 7 },
            Availability::Out { until: 0 },
            Availability::Out { until: Availability::FAR },
            Availability::Drained,
            Availability::Forced,
            Availability::Gone,
        ] {
            assert_eq!(Availability::from_word(availability.word()), availability);
        }
        let far = Availability::Out { until: u64::MAX };
        assert!(Availability::from_word(far.word()).is_out(Availability::FAR - 1));
        assert_eq!(Availability::Fit.word(), 0);
    }

    #[test]
    fn a_share_grows_from_a_tenth_to_all() {
        let share = |now| Availability::share(1_000, now, Duration::from_micros(1));
        for (now, expected) in
            [(0, 0.1), (50, 0.1), (500, 0.5), (900, 0.9), (1_000, 1.0), (2_000, 1.0)]
        {
            assert!((share(now) - expected).abs() < 1e-9, "{now}");
        }
    }
}
