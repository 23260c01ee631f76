//! How a region stands, in one word that threads share.

use std::time::Duration;

/// How a region stands. Times are in nanoseconds since the layer was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    Fit,
    /// Recovered, with a share of the calls that grows until `until`.
    Ramping {
        until: u64,
    },
    /// Not chosen before `until`, and on trial from then on.
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

    #[inline]
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

    /// Whether it was lost or taken out, and isn't back. On trial it is still lost.
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
mod tests {
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
