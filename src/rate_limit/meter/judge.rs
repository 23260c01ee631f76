use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::RateLimiter;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};

use crate::rate_limit::clock::TokioClock;
use crate::sync::{AtomicU64, Ordering};

/// Below this no sum of governor's overflows, in whatever century.
pub(super) const LONGEST: Duration = Duration::from_nanos(1 << 61);

/// governor's GCRA (the generic cell rate algorithm, ITU-T I.371), asked about a
/// state that is kept elsewhere: so that what isn't sent can be taken out again.
#[derive(Debug)]
pub(super) struct Judge {
    governor: RateLimiter<NotKeyed, Register, TokioClock, NoOpMiddleware<Nanos>>,
    register: Register,
}

/// The one number that governor keeps: the theoretical arrival time, in
/// nanoseconds from the clock's start. Set before governor is asked, under
/// the lock of who asks.
#[derive(Clone, Debug, Default)]
struct Register(Arc<AtomicU64>);

impl StateStore for Register {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // What governor would replace it with is the answer's business alone.
        let before = self.0.load(Ordering::Relaxed);
        decide(Some(Nanos::new(before))).map(|(answer, _after)| answer)
    }
}

impl Judge {
    /// A judge of one unit each `interval`, and up to `burst` at once.
    pub(super) fn new(interval: Duration, burst: NonZeroU32, clock: TokioClock) -> Self {
        let quota = governor::Quota::with_period(interval)
            .unwrap_or(governor::Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        let register = Register::default();
        Self { governor: RateLimiter::new(quota, register.clone(), clock), register }
    }

    /// Whether the units, no more than the burst, may pass now with this
    /// theoretical arrival time; else when they may.
    pub(super) fn allows(&self, arrival: u64, units: NonZeroU32) -> Result<(), u64> {
        self.register.0.store(arrival, Ordering::Relaxed);
        match units {
            NonZeroU32::MIN => self.governor.check(),
            units => self.governor.check_n(units).unwrap_or(Ok(())),
        }
        .map_err(|not| not.earliest_possible().as_u64())
    }
}
