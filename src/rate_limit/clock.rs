//! governor on this crate's clock.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use governor::clock::Clock;
use governor::nanos::Nanos;

use crate::time::{self, Instant};

/// Nanoseconds since the first reading, on tokio's clock.
///
/// governor's own clock doesn't follow a paused tokio clock. It takes its first
/// reading when a limiter is made and counts from there; as that reading
/// is zero here, for all clones, its numbers and ours are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct TokioClock {
    start: Arc<OnceLock<Instant>>,
}

impl TokioClock {
    /// The moment that is so many nanoseconds from the start.
    pub(super) fn instant(&self, nanos: u64) -> Instant {
        let start = *self.start.get_or_init(time::now);
        time::after(start, Duration::from_nanos(nanos))
    }

    /// The nanoseconds from the start to a moment.
    pub(super) fn nanos(&self, instant: Instant) -> u64 {
        let start = *self.start.get_or_init(|| instant);
        time::nanos(instant.saturating_duration_since(start))
    }
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.nanos(time::now()))
    }
}
