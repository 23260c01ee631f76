//! governor decides here, though GCRA is a few lines: the crate promises that a well-kept library
//! judges. The state and the clock are ours, for paused time, live quotas and refunds.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{DirectStateStore, NotKeyed, StateStore};

/// The longest duration with which none of governor's sums overflows, however long a process runs.
pub(in crate::rate_limit) const LONGEST: Duration = Duration::from_nanos(1 << 61);

thread_local! {
    /// The present that this thread asks governor about, in nanoseconds from the limiter's start.
    static NOW: Cell<u64> = const { Cell::new(0) };
    /// The theoretical arrival time that it asks about; after the answer, the one that includes
    /// what was allowed.
    static ARRIVAL: Cell<u64> = const { Cell::new(0) };
}

/// governor's GCRA (the generic cell rate algorithm, ITU-T I.371), asked about a
/// state and a moment that are kept elsewhere: so that what isn't sent can be
/// taken out again, and a call reads the clock once.
#[derive(Debug)]
pub(in crate::rate_limit) struct Judge<S: DirectStateStore = Given> {
    governor: RateLimiter<NotKeyed, S, SharedNow, NoOpMiddleware<Nanos>>,
}

/// The clock that governor is given. It counts from its first reading, taken when a limiter is
/// made; as that reading is zero, its numbers and ours are the same.
#[derive(Debug)]
struct SharedNow;

impl Clock for SharedNow {
    type Instant = Nanos;

    #[inline]
    fn now(&self) -> Nanos {
        Nanos::new(NOW.get())
    }
}

/// The state store that governor is given where the caller keeps the state itself. The number is
/// handed over in [`ARRIVAL`].
#[derive(Debug)]
pub(in crate::rate_limit) struct Given;

impl StateStore for Given {
    type Key = NotKeyed;

    #[inline]
    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (answer, after) = decide(Some(Nanos::new(ARRIVAL.get())))?;
        allowed(after);
        Ok(answer)
    }
}

impl Judge {
    /// Whether `units`, at most the burst, may pass now, given this theoretical arrival time. If
    /// not, the error is when they may.
    pub(super) fn allows(&self, now: u64, arrival: u64, units: NonZeroU32) -> Result<(), u64> {
        ARRIVAL.set(arrival);
        self.ask(now, units).map(|_after| ())
    }
}

impl<S: DirectStateStore> Judge<S> {
    /// A judge of one unit each `interval`, and up to `burst` at once.
    pub(in crate::rate_limit) fn new(interval: Duration, burst: NonZeroU32, state: S) -> Self {
        let quota = governor::Quota::with_period(interval)
            .unwrap_or(governor::Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        NOW.set(0);
        Self { governor: RateLimiter::new(quota, state, SharedNow) }
    }

    /// Whether `units`, at most the burst, may pass now. Returns the theoretical arrival time that
    /// includes them or, as the error, when they may.
    #[inline]
    pub(in crate::rate_limit) fn ask(&self, now: u64, units: NonZeroU32) -> Result<u64, u64> {
        NOW.set(now);
        match units {
            NonZeroU32::MIN => self.governor.check(),
            units => self.governor.check_n(units).unwrap_or(Ok(())),
        }
        .map(|()| ARRIVAL.get())
        .map_err(|not| not.earliest_possible().as_u64())
    }
}

/// Hands the theoretical arrival time that includes what was allowed to [`Judge::ask`].
#[inline]
pub(in crate::rate_limit) fn allowed(arrival: Nanos) {
    ARRIVAL.set(arrival.as_u64());
}
