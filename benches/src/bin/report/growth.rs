//! Checks that a cost doesn't grow with the size of the state.

use std::env;

use benches::measure::instructions::{can_count, instructions};
use benches::rows::scaling::rows;
use tower::BoxError;

/// A row, the same row with a state at least a hundred times as large, and the highest ratio of their
/// instructions.
const GROWN: [(&str, &str, f64); 3] = [
    ("window_calls/100", "window_calls/100000", 1.15),
    ("window_seconds/1", "window_seconds/3600", 1.15),
    ("keys/100", "keys/10000", 1.15),
];

/// Prints the ratio of each pair. Returns the number of pairs above their limit.
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
        let note = if too_much { "  GROWS" } else { "" };
        println!("{small:<28} {large:<23} {times:>10.2} × {most:>6} ×{note}");
    }
    Ok(passed)
}

fn count(name: &str) -> Result<f64, BoxError> {
    let row = rows().into_iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| format!("no row is called {name:?}"))?;
    Ok(instructions(env::current_exe()?.as_os_str(), &[row])?[0])
}
