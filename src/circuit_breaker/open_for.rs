use std::time::Duration;

use crate::error::InvalidConfig;

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
    pub(super) fn sharded(&self, time: Duration, random: &mut fastrand::Rng) -> Duration {
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

#[cfg(test)]
mod tests {
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
            let times = (0..100).map(|_| jittery.sharded(10 * SECOND, &mut random));
            times.collect::<Vec<_>>()
        };
        assert!(times(1).iter().all(|time| (10 * SECOND..=15 * SECOND).contains(time)));
        assert!(times(1).iter().any(|time| *time > 14 * SECOND));
        assert_eq!(times(1), times(1));
        assert_ne!(times(1), times(2));
        let mut random = fastrand::Rng::with_seed(1);
        let longest = OpenDuration::fixed(Duration::MAX).jitter(1.0);
        assert_eq!(longest.sharded(Duration::MAX, &mut random), Duration::MAX);
    }
}
