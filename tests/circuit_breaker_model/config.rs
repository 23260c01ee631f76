use std::time::Duration;

use tower_upstream::CircuitBreakerLayer;
use tower_upstream::circuit_breaker::{CircuitBreakerBuilder, FailureRate, OpenDuration};

use crate::random::Random;

/// What can be configured, in whole numbers: times in milliseconds, shares in hundredths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) consecutive: Option<u64>,
    pub(crate) leaky: Option<u64>,
    pub(crate) failures: Option<Rate>,
    pub(crate) slow: Option<(u64, Rate)>,
    pub(crate) open_for: u64,
    pub(crate) open_max: u64,
    pub(crate) jitter: u64,
    pub(crate) hint_cap: u64,
    pub(crate) recovery: Recovery,
    pub(crate) lease: u64,
    pub(crate) ramp: u64,
    pub(crate) abandoned_after: Option<u64>,
    pub(crate) dry_run: bool,
    pub(crate) keys: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) over: Over,
    pub(crate) at: u64,
    pub(crate) min_calls: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Over {
    Calls(u64),
    /// So many buckets' length in milliseconds: 64 of them.
    Time(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Recovery {
    Time,
    Successes { probes: u64, successes: u64 },
    Rate { probes: u64, at: u64 },
}

impl Config {
    pub(crate) fn random(random: &mut Random) -> Self {
        let open_for = random.from(0, 20_000);
        let doubling = if random.one_in(2) { 1 } else { random.from(1, 20) };
        let probes = random.from(1, 5);
        Self {
            consecutive: random.maybe(|random| random.from(1, 6)),
            leaky: random.maybe(|random| random.from(1, 8)),
            failures: random.maybe(Rate::random),
            slow: random.maybe(|random| (random.from(0, 3_000), Rate::random(random))),
            open_for,
            open_max: open_for * doubling,
            jitter: if random.one_in(2) { 0 } else { random.from(0, 100) },
            hint_cap: random.from(0, 12_000),
            recovery: match random.below(3) {
                0 => Recovery::Time,
                1 => Recovery::Successes { probes, successes: random.from(1, probes) },
                _ => Recovery::Rate { probes, at: random.from(1, 100) },
            },
            lease: random.from(1, 10_000),
            ramp: if random.one_in(2) { 0 } else { random.from(1, 20_000) },
            abandoned_after: random.maybe(|random| random.from(0, 5_000)),
            dry_run: random.one_in(5),
            keys: random.from(1, 3),
        }
    }

    pub(crate) fn builder(&self) -> CircuitBreakerBuilder {
        let mut builder = CircuitBreakerLayer::builder()
            .open_for(
                OpenDuration::doubling(millis(self.open_for))
                    .max(millis(self.open_max))
                    .jitter(hundredths(self.jitter)),
            )
            .hint_cap(millis(self.hint_cap))
            .probe_lease(millis(self.lease))
            .ramp(millis(self.ramp));
        if let Some(failures) = self.consecutive {
            builder = builder.consecutive_failures(small(failures));
        }
        if let Some(failures) = self.leaky {
            builder = builder.leaky_failures(small(failures));
        }
        if let Some(rate) = self.failures {
            builder = builder.failure_rate(rate.build());
        }
        if let Some((from, rate)) = self.slow {
            builder = builder.slow_call_rate(millis(from), rate.build());
        }
        if let Some(after) = self.abandoned_after {
            builder = builder.abandoned_after(millis(after));
        }
        if self.dry_run {
            builder = builder.dry_run();
        }
        match self.recovery {
            Recovery::Time => builder.no_half_open(),
            Recovery::Successes { probes, successes } => {
                builder.half_open_probes(small(probes)).half_open_successes(small(successes))
            }
            Recovery::Rate { probes, at } => {
                builder.half_open_probes(small(probes)).half_open_rate(hundredths(at))
            }
        }
    }

    /// The default policy, where there is none.
    pub(crate) fn consecutive(&self) -> Option<u64> {
        let any = self.leaky.is_some() || self.failures.is_some() || self.slow.is_some();
        self.consecutive.or((!any).then_some(5))
    }
}

impl Rate {
    fn random(random: &mut Random) -> Self {
        let over = if random.one_in(2) {
            Over::Calls(random.from(1, 130))
        } else {
            Over::Time(random.from(1, 200))
        };
        let most = if let Over::Calls(calls) = over { calls.min(10) } else { 10 };
        Self { over, at: random.from(1, 100), min_calls: random.from(1, most) }
    }

    fn build(&self) -> FailureRate {
        let rate = match self.over {
            Over::Calls(calls) => FailureRate::over_calls(small(calls)),
            Over::Time(bucket) => FailureRate::over_time(millis(bucket * 64)),
        };
        rate.at(hundredths(self.at)).min_calls(small(self.min_calls))
    }
}

pub(crate) fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn small(number: u64) -> u32 {
    number.try_into().expect("a small number")
}

/// The number that somebody would write: `0.07`.
fn hundredths(number: u64) -> f64 {
    format!("{}.{:02}", number / 100, number % 100).parse().expect("a number")
}
