//! What must not cost more as it grows.

use std::env;

use benches::measure::instructions::{can_count, instructions};
use benches::rows::scaling::rows;
use tower::BoxError;

/// A row, the same grown a hundred times and more, and how many times the instructions a
/// call of it may then take.
const GROWN: [(&str, &str, f64); 3] = [
    ("window_calls/100", "window_calls/100000", 1.15),
    ("window_seconds/1", "window_seconds/3600", 1.15),
    ("keys/100", "keys/10000", 1.15),
];

/// Prints how much more each takes once it has grown. How many take too much.
pub(crate) fn check() -> Result<usize, BoxError> {
    if !can_count() {
        return Ok(0);
    }
    println!("\n{:<28} {:<23} {:>12} {:>8}", "Grown from", "to", "instructions", "at most");
    let mut passed = 0;
    for (small, large, most) in GROWN {
        let times = count(large)? / count(small)?;
        let too_much = times > most;
        passed += usize::from(too_much);
        let told = if too_much { "  GROWS" } else { "" };
        println!("{small:<28} {large:<23} {times:>10.2} × {most:>6} ×{told}");
    }
    Ok(passed)
}

fn count(name: &str) -> Result<f64, BoxError> {
    let row = rows().into_iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| format!("no row is called {name:?}"))?;
    Ok(instructions(env::current_exe()?.as_os_str(), &[row])?[0])
}
