//! The circuit breaker against a reference model that shares no code with the crate.
//!
//! Random configurations, and random interleavings of calls that begin, end in any
//! order, are dropped, or come back late; of time; and of somebody with a handle. After
//! each step everything that can be seen must be what the [model](model) says. The latch of
//! credentials has a [model](latch) of its own.
//!
//! ```sh
//! MODEL_STEPS=1000000 cargo test --release --all-features --test circuit_breaker_model
//! MODEL_SEED=17 cargo test --all-features --test circuit_breaker_model
//! ```
#![cfg(feature = "circuit-breaker")]

mod config;
mod driver;
mod latch;
mod model;
mod random;
mod taken;

use self::config::Config;
use self::driver::Driver;
use self::random::Random;

/// How many steps one configuration is tried for.
const STEPS_EACH: u64 = 250;

/// Says how to see a violation again.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see this again: MODEL_SEED={}", self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")))
}

/// Runs a model from each seed, or from the one that is asked for.
async fn from_each_seed(run: impl AsyncFn(Random)) {
    if let Some(seed) = number("MODEL_SEED") {
        let _seed = Seed(seed);
        return run(Random::new(seed)).await;
    }
    let steps = number("MODEL_STEPS").unwrap_or(50_000);
    for seed in 0..steps.div_ceil(STEPS_EACH) {
        let _seed = Seed(seed);
        run(Random::new(seed)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_breaker_does_what_its_model_does() {
    from_each_seed(async |mut random| {
        let mut driver = Driver::new(Config::random(&mut random));
        for _ in 0..STEPS_EACH {
            driver.step(&mut random).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_latch_does_what_its_model_does() {
    from_each_seed(async |mut random| {
        let mut driver = latch::Driver::random(&mut random);
        for _ in 0..STEPS_EACH {
            driver.step(&mut random).await;
        }
    })
    .await;
}
