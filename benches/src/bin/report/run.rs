use std::env;

use benches::measure::contended::{Contended, Sharing, contended};
use benches::measure::instructions::{can_count, instructions};
use benches::measure::overhead::{Overhead, overheads};
use benches::rows::{BARE, Row, rows};
use benches::subject::Cloned;
use tower::BoxError;

/// All measurements of one run.
pub(crate) struct Run {
    pub(crate) rows: Vec<Row>,
    /// One entry per row, as in `instructions`.
    pub(crate) overheads: Vec<Overhead>,
    /// `None` if valgrind isn't installed.
    pub(crate) instructions: Option<Vec<f64>>,
    pub(crate) contended: Vec<Contended>,
}

impl Run {
    /// Measures all rows.
    pub(crate) fn now() -> Result<Self, BoxError> {
        Self::of(rows())
    }

    /// Measures the bare service and the rows with these names.
    pub(crate) fn of_names(names: &[&str]) -> Result<Self, BoxError> {
        let is_named = |row: &Row| row.name == BARE || names.contains(&row.name.as_str());
        Self::of(rows().into_iter().filter(is_named).collect())
    }

    fn of(rows: Vec<Row>) -> Result<Self, BoxError> {
        let overheads = overheads(&rows);
        let contended = contended(&rows);
        let program = env::current_exe()?;
        let instructions = can_count().then(|| instructions(program.as_os_str(), &rows));
        Ok(Self { overheads, contended, instructions: instructions.transpose()?, rows })
    }

    /// Returns the cost of a call of a row above that of another row.
    pub(crate) fn above(&self, name: &str, other: &str) -> Option<Above> {
        let at = |name| self.rows.iter().position(|row| row.name == name);
        let (row, other) = (at(name)?, at(other)?);
        let allocated = self.overheads[row].allocations - self.overheads[other].allocations;
        let instructions = self.instructions.as_ref().map(|counts| counts[row] - counts[other]);
        Some(Above { instructions, allocations: Some(hundredths(allocated)) })
    }

    /// Returns the throughput of two threads that share this row, relative to the bare service.
    pub(crate) fn share_of_bare(&self, name: &str, cloned: Cloned) -> Option<f64> {
        Some(self.shared(name, Sharing { threads: 2, cloned })?.share_of_bare)
    }

    /// Returns the throughput of two threads that share nothing, relative to one thread: less than two
    /// on a busy machine, where the shares of bare are then too large.
    pub(crate) fn cores(&self) -> Option<f64> {
        let calls_per_s = |threads| {
            let sharing = Sharing { threads, cloned: Cloned::ATask };
            Some(self.shared(BARE, sharing)?.calls_per_s)
        };
        Some(calls_per_s(2)? / calls_per_s(1)?)
    }

    fn shared(&self, name: &str, sharing: Sharing) -> Option<&Contended> {
        self.contended.iter().find(|one| one.name == name && one.sharing == sharing)
    }
}

/// Rounds to hundredths, which hides a table that grows once in thousands of calls.
fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// Cost of a row above another row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Above {
    pub(crate) instructions: Option<f64>,
    pub(crate) allocations: Option<f64>,
}
