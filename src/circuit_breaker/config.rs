use std::time::Duration;

use super::FailureRate;
use super::count::CountingPolicy;
use super::packed_state::MAX_COUNT;
use super::trip::CountTrip;
use crate::error::{InvalidConfig, OpenReason};
use crate::verdict::Cause;

/// How an open circuit becomes a closed one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Recovery {
    /// By probes: at most `probes` of them, in flight or ended.
    HalfOpen { probes: u32, close_at: CloseAt },
    /// By time alone.
    Reset,
}

impl Recovery {
    /// Returns the number of probes, or the default where there are none.
    pub(super) fn probes(self) -> u32 {
        match self {
            Self::HalfOpen { probes, .. } => probes,
            Self::Reset => 1,
        }
    }

    /// Returns what closes the half-open circuit, or the default where there is no such state.
    pub(super) fn close_at(self) -> CloseAt {
        match self {
            Self::HalfOpen { close_at, .. } => close_at,
            Self::Reset => CloseAt::Successes(1),
        }
    }
}

/// What closes a half-open circuit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum CloseAt {
    /// This number of successes; one failure opens it again.
    Successes(u32),
    /// This share of successes among all probes.
    Rate(f64),
}

/// Which calls are slow, and how many of them are too many.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowCalls {
    pub(super) from: Duration,
    pub(super) rate: FailureRate,
}

/// Everything that a circuit decides by.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) counts: CountTrip,
    pub(super) rate: Option<FailureRate>,
    pub(super) slow: Option<SlowCalls>,
    pub(super) counting: CountingPolicy,
    pub(super) open_for: OpenDuration,
    pub(super) hint_cap: Duration,
    pub(super) recovery: Recovery,
    pub(super) probe_lease: Duration,
    /// For how long after recovery the share of calls that pass grows to all; zero: all pass at
    /// once.
    pub(super) ramp: Duration,
    /// A call that its caller drops is a failure if it took at least this long.
    pub(super) abandoned_after: Option<Duration>,
    pub(super) dry_run: bool,
}

impl Default for Config {
    fn default() -> Self {
        let close_at = CloseAt::Successes(1);
        Self {
            counts: CountTrip::default(),
            rate: None,
            slow: None,
            counting: CountingPolicy::ByDefault,
            open_for: OpenDuration::fixed(Duration::from_secs(30)),
            hint_cap: Duration::from_secs(300),
            recovery: Recovery::HalfOpen { probes: 1, close_at },
            probe_lease: Duration::from_secs(60),
            ramp: Duration::ZERO,
            abandoned_after: None,
            dry_run: false,
        }
    }
}

impl Config {
    /// How many failures in a row open a circuit if no policy is set.
    const CONSECUTIVE: u32 = 5;

    const MEMORY: Duration = Duration::from_secs(600);

    pub(super) fn with_default_policy(mut self) -> Self {
        let counts = self.counts.consecutive.or(self.counts.leaky);
        if counts.is_none() && self.rate.is_none() && self.slow.is_none() {
            self.counts.consecutive = Some(Self::CONSECUTIVE);
        }
        self
    }

    /// Returns the config with defaults filled in, or says what about them can't work.
    pub(super) fn checked(self) -> Result<Self, InvalidConfig> {
        for threshold in [self.counts.consecutive, self.counts.leaky].into_iter().flatten() {
            if !(1..=MAX_COUNT).contains(&threshold) {
                return Err(InvalidConfig::new(format!(
                    "a circuit opens after 1 to {MAX_COUNT} failures, not {threshold}"
                )));
            }
        }
        for rate in self.rates() {
            rate.check()?;
        }
        self.open_for.check()?;
        if self.probe_lease.is_zero() {
            return Err(InvalidConfig::new("probe_lease is zero; set it above zero"));
        }
        self.check_recovery()?;
        Ok(self.with_default_policy())
    }

    fn check_recovery(&self) -> Result<(), InvalidConfig> {
        match self.recovery {
            Recovery::HalfOpen { probes: 0, .. }
            | Recovery::HalfOpen { close_at: CloseAt::Successes(0), .. } => Err(
                InvalidConfig::new("a half-open circuit needs at least one probe, and one success"),
            ),
            Recovery::HalfOpen { close_at: CloseAt::Rate(rate), .. }
                if !(rate > 0.0 && rate <= 1.0) =>
            {
                Err(InvalidConfig::new(format!(
                    "a half-open circuit closes at a rate above 0 and at most 1, not {rate}"
                )))
            }
            Recovery::HalfOpen { .. } if self.successes() > self.probes() => {
                Err(InvalidConfig::new(format!(
                    "a half-open circuit that lets {} calls through can't see {} successes; \
                     raise the probes or lower the successes",
                    self.probes(),
                    self.successes(),
                )))
            }
            _ => Ok(()),
        }
    }

    fn rates(&self) -> impl Iterator<Item = FailureRate> {
        self.rate.into_iter().chain(self.slow.map(|slow| slow.rate))
    }

    /// How long after its last failure a circuit still matters: until then it isn't evicted to
    /// make room.
    pub(super) fn memory(&self) -> Duration {
        let window = self.rates().map(|rate| rate.time()).max().unwrap_or_default();
        // The sum of both, so that a half-open circuit whose probes hang isn't evicted between
        // two of them.
        let longest = window.max(self.open_for.first()).max(self.probe_lease).max(self.ramp);
        Self::MEMORY.saturating_add(longest)
    }

    /// Whether calls are timed.
    pub(super) fn times_calls(&self) -> bool {
        self.slow.is_some() || self.abandoned_after.is_some()
    }

    /// True if a success only has to be counted: default counting, and no call is timed.
    pub(super) fn are_plain(&self) -> bool {
        self.counting.is_default() && !self.times_calls()
    }

    pub(super) fn is_slow(&self, took: Option<Duration>) -> bool {
        self.slow.zip(took).is_some_and(|(slow, took)| took >= slow.from)
    }

    /// How many failures can open a circuit that has seen nothing else.
    pub(super) fn failures_to_open(&self) -> u32 {
        let CountTrip { consecutive, leaky } = self.counts;
        let by_rate = self.rates().map(|rate| rate.least_calls()).min();
        [consecutive, leaky, by_rate].into_iter().flatten().min().unwrap_or(u32::MAX)
    }

    /// How many probes a half-open circuit lets through.
    pub(super) fn probes(&self) -> u32 {
        match self.recovery {
            Recovery::HalfOpen { probes, .. } => probes,
            Recovery::Reset => 0,
        }
    }

    /// How many of them must succeed.
    pub(super) fn successes(&self) -> u32 {
        match self.recovery {
            Recovery::HalfOpen { close_at: CloseAt::Successes(successes), .. } => successes,
            Recovery::HalfOpen { probes, close_at: CloseAt::Rate(rate) } => {
                smallest_at(rate, probes)
            }
            Recovery::Reset => 0,
        }
    }

    /// How many of them may fail.
    pub(super) fn failures(&self) -> u32 {
        match self.recovery {
            Recovery::HalfOpen { close_at: CloseAt::Rate(_), .. } => {
                self.probes() - self.successes()
            }
            _ => 0,
        }
    }
}

/// The smallest number whose share of `all` is at least `rate`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 0 to `all`
fn smallest_at(rate: f64, all: u32) -> u32 {
    let near = (f64::from(all) * rate).ceil() as u32;
    // As floats, 100 * 0.07 is a little more than 7, but 7 / 100 is exactly 0.07: so the quotient
    // decides.
    let reaches = |number: u32| f64::from(number) / f64::from(all) >= rate;
    let below = near.saturating_sub(1);
    if below > 0 && reaches(below) { below } else { near.min(all) }
}

/// How long a circuit stays open.
///
/// A [`Duration`] means the same time at each opening:
///
/// ```
/// use std::time::Duration;
/// use tower_upstream::CircuitBreakerLayer;
/// use tower_upstream::circuit_breaker::OpenDuration;
///
/// let secs = Duration::from_secs;
/// let same = CircuitBreakerLayer::builder().open_for(secs(30));
/// // 10 s, 20 s, 40 s … 5 minutes while probes fail, each up to a tenth longer.
/// let growing = CircuitBreakerLayer::builder().open_for(OpenDuration::doubling(secs(10)));
/// # let _ = (same, growing);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct OpenDuration {
    first: Duration,
    max: Duration,
    jitter: f64,
}

impl OpenDuration {
    /// Always `duration`, without jitter.
    pub const fn fixed(duration: Duration) -> Self {
        Self { first: duration, max: duration, jitter: 0.0 }
    }

    /// The time `first` at first, and twice as long each time that the circuit opens again, up to 5
    /// minutes or, if that is longer, `first`; with a jitter of a tenth.
    ///
    /// Health takes the doublings back: one for each stretch of time closed that is as long as the
    /// circuit was last open.
    pub const fn doubling(first: Duration) -> Self {
        const MAX: Duration = Duration::from_secs(300);
        let max = if first.as_nanos() > MAX.as_nanos() { first } else { MAX };
        Self { first, max, jitter: 0.1 }
    }

    /// The longest time that doubling leads to, before jitter. At least the first time.
    pub const fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Makes each time longer at random, by up to `share` of it (from 0 to 1), so that clients that
    /// opened together don't probe together.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    pub(super) fn check(&self) -> Result<(), InvalidConfig> {
        if self.max < self.first {
            return Err(InvalidConfig::new(format!(
                "a circuit that opens for {:?} at first can't stay below {:?}; raise max",
                self.first, self.max
            )));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            let message = format!("a jitter is from 0 to 1, not {}", self.jitter);
            return Err(InvalidConfig::new(message));
        }
        Ok(())
    }

    pub(super) fn first(&self) -> Duration {
        self.first
    }

    /// The time after this number of doublings, without jitter.
    pub(super) fn doubled(&self, doublings: u32) -> Duration {
        // A nanosecond doubled this often is longer than the longest duration.
        const MOST: u32 = 94;
        let twice = |time: Duration, _| time.saturating_mul(2).min(self.max);
        (0..doublings.min(MOST)).fold(self.first, twice)
    }

    /// This time, made longer by the jitter.
    pub(super) fn with_jitter(&self, time: Duration, random: &mut fastrand::Rng) -> Duration {
        if self.jitter == 0.0 {
            return time;
        }
        let more = time.as_secs_f64() * self.jitter * random.f64();
        // As a float, the longest duration rounds up to one that is too long to convert back.
        time.saturating_add(Duration::try_from_secs_f64(more).unwrap_or(time))
    }
}

impl From<Duration> for OpenDuration {
    fn from(duration: Duration) -> Self {
        Self::fixed(duration)
    }
}

/// Why a circuit opened: the reason, and the cause of the last result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenCause {
    pub(super) reason: OpenReason,
    pub(super) cause: Cause,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_smallest_number_that_reaches_it() {
        for all in 1..=200_u32 {
            for hundredths in 1..=100_u32 {
                let rate: f64 = format!("{:.2}", f64::from(hundredths) / 100.0).parse().unwrap();
                let exact = (all * hundredths).div_ceil(100);
                assert_eq!(smallest_at(rate, all), exact, "{rate} of {all}");
            }
        }
        assert_eq!(smallest_at(f64::MIN_POSITIVE, u32::MAX), 1);
        assert_eq!(smallest_at(1.0, u32::MAX), u32::MAX);
    }
}

#[cfg(test)]
mod open_for_tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn doubles_up_to_its_bound() {
        let growing = OpenDuration::doubling(10 * SECOND).max(60 * SECOND);
        let seconds: Vec<_> = (0..5).map(|n| growing.doubled(n).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 60, 60]);
        assert_eq!(growing.doubled(u32::MAX), 60 * SECOND);
        assert_eq!(OpenDuration::fixed(SECOND).doubled(u32::MAX), SECOND);
        let longest = OpenDuration::doubling(Duration::from_nanos(1)).max(Duration::MAX);
        assert_eq!(longest.doubled(u32::MAX), Duration::MAX);
        assert_eq!(OpenDuration::doubling(3_600 * SECOND).doubled(1), 3_600 * SECOND);
    }

    #[test]
    fn random_only_makes_it_longer_and_a_seed_repeats_it() {
        let times = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            let jittery = OpenDuration::fixed(10 * SECOND).jitter(0.5);
            let times = (0..100).map(|_| jittery.with_jitter(10 * SECOND, &mut random));
            times.collect::<Vec<_>>()
        };
        assert!(times(1).iter().all(|time| (10 * SECOND..=15 * SECOND).contains(time)));
        assert!(times(1).iter().any(|time| *time > 14 * SECOND));
        assert_eq!(times(1), times(1));
        assert_ne!(times(1), times(2));
        let mut random = fastrand::Rng::with_seed(1);
        let longest = OpenDuration::fixed(Duration::MAX).jitter(1.0);
        assert_eq!(longest.with_jitter(Duration::MAX, &mut random), Duration::MAX);
    }
}
