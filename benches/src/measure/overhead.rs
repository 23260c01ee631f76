//! Time and allocations of one call without contention.

use std::time::{Duration, Instant};

use crate::count::allocations;
use crate::rows::Row;
use crate::subject::Subject;

/// Calls of each row in a round, and the number of rounds.
const CALLS: u64 = 5_000;
const ROUNDS: usize = 25;

#[derive(Clone, Copy, Debug)]
pub struct Overhead {
    /// Of the fastest round, the one least affected by other load.
    pub ns: f64,
    pub allocations: f64,
}

/// Measures all rows, alternating between them, so that other load affects all of them.
pub fn overheads(rows: &[Row]) -> Vec<Overhead> {
    let mut subjects: Vec<_> = rows.iter().map(Row::subject).collect();
    let allocated: Vec<_> = subjects.iter_mut().map(|subject| allocated(&mut **subject)).collect();
    let mut fastest = vec![Duration::MAX; rows.len()];
    for _ in 0..ROUNDS {
        for (subject, fastest) in subjects.iter_mut().zip(&mut fastest) {
            let start = Instant::now();
            subject.call(CALLS);
            *fastest = start.elapsed().min(*fastest);
        }
    }
    let ns = fastest.into_iter().map(|time| a_call(time.as_nanos() as f64));
    ns.zip(allocated).map(|(ns, allocations)| Overhead { ns, allocations }).collect()
}

/// Returns the allocations per call after a warm-up.
fn allocated(subject: &mut dyn Subject) -> f64 {
    subject.call(CALLS);
    let before = allocations();
    subject.call(CALLS);
    a_call((allocations() - before) as f64)
}

fn a_call(total: f64) -> f64 {
    total / CALLS as f64
}
