//! A retry storm, with and without jitter and a budget: 10,000 clients and a server of fixed capacity
//! that fails for half a minute, in virtual time.
//!
//! ```sh
//! cargo run --release --example retry_storm
//! ```
//!
//! Prints for each policy the peak load as a multiple of the offered load, and the time to recover after
//! the outage; and draws the load over time. Exits with 1 unless a budget keeps the peak at 1.5 or less,
//! and each run without one has a peak of 2 or more.

mod chart;
mod server;
mod storm;

use std::process::ExitCode;
use std::time::Duration;

use tower_upstream::RetryLayer;
use tower_upstream::retry::{Backoff, Jitter};

use self::storm::{Storm, run};

/// The highest allowed peak with a budget, as a multiple of the offered load.
const MAX_PEAK_WITH_BUDGET: f64 = 1.5;
/// The lowest peak that counts as a storm.
const MIN_PEAK_WITHOUT: f64 = 2.0;

fn main() -> std::io::Result<ExitCode> {
    let backoff = Backoff::exponential(Duration::from_millis(250));
    let policies = [
        ("no jitter, no budget", Jitter::None, false),
        ("full jitter, no budget", Jitter::Full, false),
        ("no jitter, budget", Jitter::None, true),
        ("full jitter, budget", Jitter::Full, true),
    ];
    println!(
        "{:<24}{:>8}{:>14}{:>12}{:>10}",
        "policy", "peak", "recovered in", "attempts", "failed"
    );
    let mut storms = Vec::new();
    let mut as_expected = true;
    for (name, jitter, budget) in policies {
        let retry = move |seed| {
            // The defaults, except for a fourth attempt, which many clients make.
            let builder =
                RetryLayer::builder().max_attempts(4).backoff(backoff.jitter(jitter)).seed(seed);
            let builder = if budget { builder } else { builder.no_budget() };
            builder.build().expect("the settings are valid")
        };
        let storm = run(name, retry);
        println!("{storm}");
        as_expected &= if budget {
            storm.peak() <= MAX_PEAK_WITH_BUDGET
        } else {
            storm.peak() >= MIN_PEAK_WITHOUT
        };
        storms.push(storm);
    }
    let path = chart::write(&storms)?;
    println!("\nthe load over time: {}", path.display());
    if !as_expected {
        eprintln!(
            "a budget must keep the peak at {MAX_PEAK_WITH_BUDGET}, and without one it must reach {MIN_PEAK_WITHOUT}"
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

impl std::fmt::Display for Storm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let recovered = match self.recovered_in() {
            Some(seconds) => format!("{seconds} s"),
            None => "never".to_owned(),
        };
        let peak = format!("{:.2}", self.peak());
        write!(
            f,
            "{:<24}{peak:>8}{recovered:>14}{:>12}{:>10}",
            self.name,
            self.attempts(),
            self.failed
        )
    }
}
