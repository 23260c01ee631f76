//! governor on this crate's clock.

use std::sync::OnceLock;
use std::time::Duration;

use governor::clock::Clock;
use governor::nanos::Nanos;

use crate::time::{self, Instant};

/// Nanoseconds since the first reading, on tokio's clock.
///
/// governor's own clock doesn't follow a paused tokio clock. It takes its first
/// reading when a limiter is made and counts from there; as that reading
/// is zero here, its numbers and ours are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct TokioClock {
    start: OnceLock<Instant>,
}

impl TokioClock {
    /// The moment that is so many nanoseconds from the start.
    pub(super) fn instant(&self, nanos: Nanos) -> Instant {
        time::after(*self.start.get_or_init(time::now), nanos.into())
    }

    /// The nanoseconds from the start to a moment.
    pub(super) fn nanos(&self, instant: Instant) -> Nanos {
        let start = *self.start.get_or_init(|| instant);
        nanos(instant.saturating_duration_since(start))
    }
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.nanos(time::now())
    }
}

/// governor's `From<Duration>` panics past 584 years.
pub(super) fn nanos(duration: Duration) -> Nanos {
    Nanos::new(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
