use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{DirectStateStore, NotKeyed, StateStore};

/// Below this no sum of governor's overflows, in whatever century.
pub(in crate::rate_limit) const LONGEST: Duration = Duration::from_nanos(1 << 61);

thread_local! {
    /// The present that this thread asks governor about, in nanoseconds from the limiter's start.
    static NOW: Cell<u64> = const { Cell::new(0) };
    /// The theoretical arrival time that it asks about, and then the one with what was allowed.
    static ARRIVAL: Cell<u64> = const { Cell::new(0) };
}

/// governor's GCRA (the generic cell rate algorithm, ITU-T I.371), asked about a
/// state and a moment that are kept elsewhere: so that what isn't sent can be
/// taken out again, and a call reads the clock once.
#[derive(Debug)]
pub(in crate::rate_limit) struct Judge<S: DirectStateStore = Given> {
    governor: RateLimiter<NotKeyed, S, Moment, NoOpMiddleware<Nanos>>,
}

/// What governor takes for its clock. It takes its first reading when a limiter is made and
/// counts from there; as that reading is zero, its numbers and ours are the same.
#[derive(Debug)]
struct Moment;

impl Clock for Moment {
    type Instant = Nanos;

    #[inline]
    fn now(&self) -> Nanos {
        Nanos::new(NOW.get())
    }
}

/// What governor takes for its state where who asks has that, and changes it himself.
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
    /// Whether the units, no more than the burst, may pass now with this
    /// theoretical arrival time; else when they may.
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
        Self { governor: RateLimiter::new(quota, state, Moment) }
    }

    /// Whether the units, no more than the burst, may pass now: the theoretical arrival time
    /// with them, or else when they may.
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

/// Tells who asked the theoretical arrival time with what was allowed.
#[inline]
pub(in crate::rate_limit) fn allowed(arrival: Nanos) {
    ARRIVAL.set(arrival.as_u64());
}
