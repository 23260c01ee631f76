//! The only door to the clock.
//!
//! Every reading and every timer of this crate comes through here, on tokio's
//! clock, so that `tokio::time::pause` drives retries, circuits and governor
//! alike. `clippy.toml` bans the other doors.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

#[cfg(feature = "alert")]
use tokio::time::Timeout;
pub(crate) use tokio::time::{Instant, Sleep};

/// Now, on tokio's clock. Works outside a runtime too.
#[allow(clippy::disallowed_methods)]
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A timer that completes at `deadline`. Needs a runtime, as all of tokio's timers do.
#[allow(clippy::disallowed_methods)]
pub(crate) fn sleep_until(deadline: Instant) -> Sleep {
    tokio::time::sleep_until(deadline)
}

/// Waits for a future until a deadline.
#[allow(clippy::disallowed_methods)]
#[cfg(feature = "alert")]
pub(crate) fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    tokio::time::timeout_at(deadline, future)
}

/// Polls a timer; without one there is nothing to wait for.
pub(crate) fn poll_timer(timer: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
    timer.as_pin_mut().map_or(Poll::Ready(()), |timer| timer.poll(cx))
}

/// The wall clock, moved by as much as tokio's clock is ahead of the machine's:
/// nothing on a running clock, the time skipped so far on a paused one.
#[allow(clippy::disallowed_methods)]
pub(crate) fn wall_now() -> SystemTime {
    let skipped = now().into_std().saturating_duration_since(std::time::Instant::now());
    let real = SystemTime::now();
    real.checked_add(skipped).unwrap_or(real)
}

/// About thirty years: tokio's own notion of "never".
pub(crate) const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

/// `instant + duration`, where `+` would panic past the end of time.
pub(crate) fn after(instant: Instant, duration: Duration) -> Instant {
    instant.checked_add(duration.min(FAR)).or_else(|| instant.checked_add(FAR)).unwrap_or(instant)
}

/// A start from which instants are counted in nanoseconds, as a number that fits in an atomic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeOrigin(Instant);

impl TimeOrigin {
    pub(crate) fn new(start: Instant) -> Self {
        Self(start)
    }

    /// How long `at` is after the beginning; 0 if it is before.
    #[inline]
    pub(crate) fn nanos(self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.0))
    }

    /// Returns the instant that is this long after the start.
    pub(crate) fn instant(self, nanos: u64) -> Instant {
        after(self.0, Duration::from_nanos(nanos))
    }
}

/// A duration in nanoseconds: at most [`u64::MAX`] of them, which are five centuries.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

// Under loom tokio's clock can't be paused.
#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn after_saturates() {
        let start = now();
        assert!(after(start, Duration::MAX) > start);
        assert_eq!(after(start, Duration::from_secs(1)), start + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wall_clock_follows_a_paused_clock() {
        let before = wall_now();
        tokio::time::advance(Duration::from_secs(3600)).await;
        let moved = wall_now().duration_since(before).unwrap();
        assert!(moved >= Duration::from_secs(3599) && moved < Duration::from_secs(3610));
    }
}
