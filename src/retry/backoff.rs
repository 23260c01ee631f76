use std::time::Duration;

/// How long to wait before each retry.
///
/// ```
/// use std::time::Duration;
/// use tower_upstream::retry::{Backoff, Jitter};
///
/// let backoff = Backoff::exponential(Duration::from_secs(1))
///     .max(Duration::from_secs(8))
///     .jitter(Jitter::None);
/// let waits: Vec<_> = backoff.waits(0).take(5).map(|wait| wait.as_secs()).collect();
/// assert_eq!(waits, [1, 2, 4, 8, 8]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Backoff {
    base: Duration,
    doubling: bool,
    min: Duration,
    max: Duration,
    jitter: Jitter,
}

/// How a wait is randomised, so that clients that failed together don't come back together.
///
/// From Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Jitter {
    /// A random part of the wait, from none to all of it. Spreads clients best. The default.
    #[default]
    Full,
    /// Half of the wait, plus a random part of the other half.
    Equal,
    /// A random time between the base and three times the last wait (before the first wait: three
    /// times the base), held within the bounds.
    Decorrelated,
    /// The wait, plus a random time of up to this.
    Additive(Duration),
    /// Exactly the wait. Clients that failed together come back together.
    None,
}

impl Backoff {
    /// Waits `base`, then twice that, four times that and so on, up to 10 s, with full jitter.
    pub const fn exponential(base: Duration) -> Self {
        Self {
            base,
            doubling: true,
            min: Duration::ZERO,
            max: Duration::from_secs(10),
            jitter: Jitter::Full,
        }
    }

    /// Waits the same time before each retry, without jitter. If jitter is added, its wait has no
    /// upper bound.
    pub const fn constant(wait: Duration) -> Self {
        Self {
            base: wait,
            doubling: false,
            min: Duration::ZERO,
            max: Duration::MAX,
            jitter: Jitter::None,
        }
    }

    /// The shortest wait, jitter included. Default: zero.
    pub const fn min(mut self, min: Duration) -> Self {
        self.min = min;
        self
    }

    /// The longest wait, jitter included. Default: 10 s; for a [`constant`](Self::constant) backoff,
    /// no bound. It has no effect if it is shorter than [`min`](Self::min).
    pub const fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// How each wait is randomised. Default: [`Jitter::Full`].
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Returns the waits before the second attempt, the third, and so on, without end.
    #[must_use]
    pub fn waits(&self, seed: u64) -> Waits {
        Waits { backoff: *self, retry: 0, last: None, random: fastrand::Rng::with_seed(seed) }
    }

    /// Returns the wait before retry number `retry`, where the first is 0 and `last` is the wait
    /// before the one before.
    pub(super) fn wait(
        &self,
        retry: u32,
        last: Option<Duration>,
        random: &mut fastrand::Rng,
    ) -> Duration {
        let wait = self.clamp(self.raw(retry));
        let up_to = |most: Duration, random: &mut fastrand::Rng| {
            let part = most.as_secs_f64() * random.f64();
            // Rounding may go previous `most`. For `Duration::MAX` it gives no valid duration.
            Duration::try_from_secs_f64(part).unwrap_or(most).min(most)
        };
        let wait = match self.jitter {
            Jitter::None => wait,
            Jitter::Full => up_to(wait, random),
            Jitter::Equal => wait / 2 + up_to(wait / 2, random),
            Jitter::Additive(most) => wait.saturating_add(up_to(most, random)),
            Jitter::Decorrelated => {
                let most = last.unwrap_or(self.base).saturating_mul(3);
                self.base.saturating_add(up_to(most.saturating_sub(self.base), random))
            }
        };
        self.clamp(wait)
    }

    /// Returns the wait before bounds and jitter apply.
    fn raw(&self, retry: u32) -> Duration {
        /// A nanosecond doubled as many times is longer than the longest duration.
        const MOST: u32 = 94;
        let doublings = if self.doubling { retry.min(MOST) } else { 0 };
        (0..doublings).fold(self.base, |wait, _| wait.saturating_mul(2))
    }

    pub(super) fn has_jitter(&self) -> bool {
        self.jitter != Jitter::None
    }

    fn clamp(&self, wait: Duration) -> Duration {
        wait.min(self.max).max(self.min)
    }
}

/// The default: 250 ms, doubling up to 10 s, with full jitter.
impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(250))
    }
}

/// The waits of a [`Backoff`]. Made by [`Backoff::waits`].
#[derive(Clone, Debug)]
pub struct Waits {
    backoff: Backoff,
    retry: u32,
    last: Option<Duration>,
    random: fastrand::Rng,
}

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.backoff.wait(self.retry, self.last, &mut self.random);
        self.retry = self.retry.saturating_add(1);
        self.last = Some(wait);
        Some(wait)
    }
}

#[cfg(test)]
mod tests;
