use std::time::Duration;

/// The wait before each retry.
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

/// The randomisation of a wait, so that clients that failed together don't return together.
///
/// From Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Jitter {
    /// A random part of the wait, between none and all of it. Spreads clients best. The default.
    #[default]
    Full,
    /// Half of the wait, plus a random part of the other half.
    Equal,
    /// A random time between the base and three times the previous wait (before the first wait, three
    /// times the base), within the bounds.
    Decorrelated,
    /// The wait, plus a random time of up to this duration.
    Additive(Duration),
    /// Exactly the wait. Clients that failed together return together.
    None,
}

impl Backoff {
    /// Creates a backoff of `base`, doubled before each further retry up to 10 s, with full jitter.
    pub const fn exponential(base: Duration) -> Self {
        Self {
            base,
            doubling: true,
            min: Duration::ZERO,
            max: Duration::from_secs(10),
            jitter: Jitter::Full,
        }
    }

    /// Creates a backoff of the same wait before each retry, without jitter and without an upper bound.
    pub const fn constant(wait: Duration) -> Self {
        Self {
            base: wait,
            doubling: false,
            min: Duration::ZERO,
            max: Duration::MAX,
            jitter: Jitter::None,
        }
    }

    /// Sets the shortest wait, jitter included. Default: zero.
    pub const fn min(mut self, min: Duration) -> Self {
        self.min = min;
        self
    }

    /// Sets the longest wait, jitter included. Default: 10 s; for a [`constant`](Self::constant)
    /// backoff, no bound. A value below [`min`](Self::min) has no effect.
    pub const fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Sets the randomisation of each wait. Default: [`Jitter::Full`]; for a
    /// [`constant`](Self::constant) backoff, [`Jitter::None`].
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Returns the waits before the second attempt, the third, and so on, without end.
    #[must_use]
    pub fn waits(&self, seed: u64) -> Waits {
        Waits { backoff: *self, retry: 0, last: None, random: fastrand::Rng::with_seed(seed) }
    }

    /// Returns the wait before retry number `retry`, where the first is 0. `last` is the previous wait.
    pub(super) fn wait(
        &self,
        retry: u32,
        last: Option<Duration>,
        random: &mut fastrand::Rng,
    ) -> Duration {
        let wait = self.clamp(self.raw(retry));
        let mut up_to = |max: Duration| {
            let part = max.as_secs_f64() * random.f64();
            // Rounding may exceed `max`; for `Duration::MAX` it returns no valid duration.
            Duration::try_from_secs_f64(part).unwrap_or(max).min(max)
        };
        let wait = match self.jitter {
            Jitter::None => wait,
            Jitter::Full => up_to(wait),
            Jitter::Equal => wait / 2 + up_to(wait / 2),
            Jitter::Additive(max) => wait.saturating_add(up_to(max)),
            Jitter::Decorrelated => {
                let max = last.unwrap_or(self.base).saturating_mul(3);
                self.base.saturating_add(up_to(max.saturating_sub(self.base)))
            }
        };
        self.clamp(wait)
    }

    /// Returns the wait before bounds and jitter apply.
    fn raw(&self, retry: u32) -> Duration {
        /// A nanosecond doubled as often exceeds `Duration::MAX`.
        const MAX_DOUBLINGS: u32 = 94;
        let doublings = if self.doubling { retry.min(MAX_DOUBLINGS) } else { 0 };
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
