use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::RateLimiter;

use crate::rate_limit::Quota;
use crate::rate_limit::clock::TokioClock;
use crate::sync::{AtomicU64, Ordering};

/// governor's GCRA (the generic cell rate algorithm, ITU-T I.371), with a state
/// that refunds can reach.
#[derive(Debug)]
pub(super) struct Paced {
    limiter: RateLimiter<NotKeyed, Tat, TokioClock, NoOpMiddleware<Nanos>>,
    tat: Tat,
    /// Nanoseconds a unit.
    interval: u64,
    burst: u32,
}

/// The theoretical arrival time, in nanoseconds from the clock's start.
#[derive(Clone, Debug, Default)]
struct Tat(Arc<AtomicU64>);

impl StateStore for Tat {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut before = self.0.load(Ordering::Acquire);
        loop {
            let (answer, after) = decide(Some(Nanos::new(before)))?;
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.0.compare_exchange_weak(before, after.as_u64(), success, failure) {
                Ok(_) => return Ok(answer),
                Err(changed) => before = changed,
            }
        }
    }
}

impl Paced {
    /// Below this no sum of governor's overflows, in whatever century.
    const LONGEST: u64 = 1 << 61;

    pub(super) fn new(quota: &Quota, burst: u32, clock: TokioClock) -> Self {
        let window = u64::try_from(quota.window.as_nanos()).unwrap_or(u64::MAX);
        // Rounded up: never faster than the quota says.
        let interval = window.div_ceil(u64::from(quota.limit).max(1)).clamp(1, Self::LONGEST);
        // A burst that would overflow is lowered, which only makes it stricter.
        let most = u32::try_from(Self::LONGEST / interval).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(burst.min(most)).unwrap_or(NonZeroU32::MIN);
        let governed = governor::Quota::with_period(Duration::from_nanos(interval))
            .unwrap_or(governor::Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        let tat = Tat::default();
        let limiter = RateLimiter::new(governed, tat.clone(), clock);
        Self { limiter, tat, interval, burst: burst.get() }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.burst
    }

    pub(super) fn take(&self, units: u32) -> Result<Nanos, Nanos> {
        match NonZeroU32::new(units) {
            None => Ok(()),
            Some(NonZeroU32::MIN) => self.limiter.check().map_err(|not| not.earliest_possible()),
            Some(units) => match self.limiter.check_n(units) {
                Ok(decision) => decision.map_err(|not| not.earliest_possible()),
                Err(_insufficient) => Err(Nanos::new(u64::MAX)),
            },
        }
        .map(|()| Nanos::new(0))
    }

    pub(super) fn give_back(&self, units: u32) {
        let refund = self.interval.saturating_mul(units.into());
        // Moved back past now it is as if idle: a refund never adds to the burst.
        let back = |tat: u64| Some(tat.saturating_sub(refund));
        _ = self.tat.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, back);
    }

    pub(super) fn available_at(&self, ahead: u64, units: u32) -> u64 {
        let tat = self.tat.0.load(Ordering::Acquire);
        let wanted = ahead.saturating_add(units.into());
        let before = wanted.saturating_sub(self.burst.into());
        let lead = self.interval.saturating_mul(u64::from(self.burst).saturating_sub(wanted));
        tat.saturating_add(self.interval.saturating_mul(before)).saturating_sub(lead)
    }

    pub(super) fn remaining(&self, now: u64) -> u32 {
        let used = self.tat.0.load(Ordering::Acquire).saturating_sub(now).div_ceil(self.interval);
        self.burst.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }
}
