use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};

use crate::sync::{AtomicU64, Ordering};

/// Below this no sum of governor's overflows, in whatever century.
pub(super) const LONGEST: Duration = Duration::from_nanos(1 << 61);

/// governor's GCRA (the generic cell rate algorithm, ITU-T I.371), asked about a
/// state and a moment that are kept elsewhere: so that what isn't sent can be
/// taken out again, and a call reads the clock once.
#[derive(Debug)]
pub(super) struct Judge {
    governor: RateLimiter<NotKeyed, Registers, Registers, NoOpMiddleware<Nanos>>,
    registers: Registers,
}

/// What governor takes for its state and its clock: the theoretical arrival
/// time and the present, in nanoseconds from the limiter's start. Both are set
/// before it is asked, by who holds the lock.
#[derive(Clone, Debug, Default)]
struct Registers(Arc<[AtomicU64; 2]>);

impl Registers {
    fn set(&self, arrival: u64, now: u64) {
        self.0[0].store(arrival, Ordering::Relaxed);
        self.0[1].store(now, Ordering::Relaxed);
    }
}

impl StateStore for Registers {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // What governor would replace it with is the answer's business alone.
        let arrival = self.0[0].load(Ordering::Relaxed);
        decide(Some(Nanos::new(arrival))).map(|(answer, _after)| answer)
    }
}

/// governor takes its first reading when a limiter is made and counts from there;
/// as that reading is zero, its numbers and ours are the same.
impl Clock for Registers {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0[1].load(Ordering::Relaxed))
    }
}

impl Judge {
    /// A judge of one unit each `interval`, and up to `burst` at once.
    pub(super) fn new(interval: Duration, burst: NonZeroU32) -> Self {
        let quota = governor::Quota::with_period(interval)
            .unwrap_or(governor::Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        let registers = Registers::default();
        let governor = RateLimiter::new(quota, registers.clone(), registers.clone());
        Self { governor, registers }
    }

    /// Whether the units, no more than the burst, may pass now with this
    /// theoretical arrival time; else when they may.
    pub(super) fn allows(&self, now: u64, arrival: u64, units: NonZeroU32) -> Result<(), u64> {
        self.registers.set(arrival, now);
        match units {
            NonZeroU32::MIN => self.governor.check(),
            units => self.governor.check_n(units).unwrap_or(Ok(())),
        }
        .map_err(|not| not.earliest_possible().as_u64())
    }
}
