use std::num::NonZeroU32;
use std::time::Duration;

use super::FailureRate;
use super::count::CountFn;
use super::trip::CountTrip;
use super::word::MAX_COUNT;
use crate::error::InvalidConfig;

/// How an open circuit becomes a closed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// By probes: at most so many at once or succeeded, and so many successes.
    HalfOpen { probes: NonZeroU32, successes: NonZeroU32 },
    /// By time alone.
    Reset,
}

/// Everything that a circuit decides by.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) counts: CountTrip,
    pub(super) rate: Option<FailureRate>,
    pub(super) count: CountFn,
    pub(super) open_for: Duration,
    pub(super) hint_cap: Duration,
    pub(super) recovery: Recovery,
    pub(super) probe_lease: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            counts: CountTrip::default(),
            rate: None,
            count: CountFn::BY_DEFAULT,
            open_for: Duration::from_secs(30),
            hint_cap: Duration::from_secs(300),
            recovery: Recovery::HalfOpen { probes: NonZeroU32::MIN, successes: NonZeroU32::MIN },
            probe_lease: Duration::from_secs(60),
        }
    }
}

impl Rules {
    /// How many failures in a row open a circuit that was told no policy.
    const CONSECUTIVE: u32 = 5;

    const MEMORY: Duration = Duration::from_secs(600);

    pub(super) fn with_default_policy(mut self) -> Self {
        if self.counts.consecutive.is_none() && self.counts.leaky.is_none() && self.rate.is_none() {
            self.counts.consecutive = Some(Self::CONSECUTIVE);
        }
        self
    }

    /// The rules with defaults filled in, or what can't work about them.
    pub(super) fn checked(self) -> Result<Self, InvalidConfig> {
        for threshold in [self.counts.consecutive, self.counts.leaky].into_iter().flatten() {
            if !(1..=MAX_COUNT).contains(&threshold) {
                return Err(InvalidConfig::new(format!(
                    "a circuit opens after 1 to {MAX_COUNT} failures, not {threshold}"
                )));
            }
        }
        if let Some(rate) = &self.rate {
            rate.check()?;
        }
        if self.probe_lease.is_zero() {
            return Err(InvalidConfig::new("a probe needs some time: a lease above zero"));
        }
        if self.successes() > self.probes() {
            return Err(InvalidConfig::new(format!(
                "a half-open circuit that lets {} calls through can't see {} successes; \
                 raise the probes or lower the successes",
                self.probes(),
                self.successes(),
            )));
        }
        Ok(self.with_default_policy())
    }

    /// How long a failure is remembered where memory is scarce.
    pub(super) fn memory(&self) -> Duration {
        let window = self.rate.as_ref().map_or(Duration::ZERO, FailureRate::time);
        // On top, so that a half-open circuit whose probes hang isn't forgotten
        // between two of them.
        Self::MEMORY.saturating_add(window.max(self.open_for).max(self.probe_lease))
    }

    /// How many failures can open a circuit that has seen nothing else.
    pub(super) fn failures_to_open(&self) -> u32 {
        let CountTrip { consecutive, leaky } = self.counts;
        let by_rate = self.rate.as_ref().map(FailureRate::least_calls);
        [consecutive, leaky, by_rate].into_iter().flatten().min().unwrap_or(u32::MAX)
    }

    pub(super) fn probes(&self) -> u32 {
        match self.recovery {
            Recovery::HalfOpen { probes, .. } => probes.get(),
            Recovery::Reset => 0,
        }
    }

    pub(super) fn successes(&self) -> u32 {
        match self.recovery {
            Recovery::HalfOpen { successes, .. } => successes.get(),
            Recovery::Reset => 0,
        }
    }
}
