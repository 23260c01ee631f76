//! Instructions per call, counted by valgrind. Unlike times, the counts are reproducible on a busy
//! machine.
//!
//! A program runs itself under callgrind, once for few calls of a row and once for many. The
//! difference excludes the start, the construction of the layer and the first calls.

use std::ffi::OsStr;
use std::io;
use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use crate::rows::{Row, rows, scaling};

/// Subcommand of the counting program, with a name and a number as arguments: runs [`calls`].
pub const SUBCOMMAND: &str = "calls";

/// Numbers of calls of a row. The smaller one fills every window.
const FEW: u64 = 500;
const MANY: u64 = 1_500;

/// Returns whether valgrind is installed.
pub fn can_count() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|ran| ran.status.success())
}

/// Makes this number of calls of the row of this name. Returns `false` if there is no such row.
pub fn calls(name: &str, calls: u64) -> bool {
    let row = rows().into_iter().chain(scaling::rows()).find(|row| row.name == name);
    row.map(|row| row.subject().call(calls)).is_some()
}

/// Returns the instructions per call of each row. `program` implements [`SUBCOMMAND`].
///
/// # Errors
///
/// If valgrind can't be run, or the program fails under it.
pub fn instructions(program: &OsStr, rows: &[Row]) -> io::Result<Vec<f64>> {
    let left = Mutex::new(rows.iter().enumerate());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || -> io::Result<Vec<_>> {
        std::iter::from_fn(next).map(|(at, row)| Ok((at, a_call(program, row)?))).collect()
    };
    // Counts don't depend on other load, so all cores are used.
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let counted: Vec<Vec<_>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let join = |worker: ScopedJoinHandle<'_, _>| worker.join().expect("a worker panicked");
        workers.into_iter().map(join).collect::<io::Result<_>>()
    })?;
    let mut counted = counted.concat();
    counted.sort_by_key(|(at, _)| *at);
    Ok(counted.into_iter().map(|(_, count)| count).collect())
}

fn a_call(program: &OsStr, row: &Row) -> io::Result<f64> {
    let few = count(program, row, FEW)?;
    let many = count(program, row, MANY)?;
    Ok((many - few) / (MANY - FEW) as f64)
}

fn count(program: &OsStr, row: &Row, calls: u64) -> io::Result<f64> {
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([SUBCOMMAND, &row.name, &calls.to_string()])
        .output()?;
    let stderr = String::from_utf8_lossy(&ran.stderr);
    let collected = stderr.lines().find_map(|line| line.split_once("Collected : "));
    let count = collected.and_then(|(_, count)| count.trim().parse().ok());
    count.filter(|_| ran.status.success()).ok_or_else(|| io::Error::other(stderr.into_owned()))
}
