//! Throughput when threads share one state.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::median::median;
use crate::rows::{BARE, Row};
use crate::subject::{Cloned, Subject, TASKS};

/// Approximate time of a round of a row, and the number of rounds.
const ROUND: Duration = Duration::from_millis(8);
const ROUNDS: usize = 9;
/// Calls of a task in the round that estimates how many calls fit in a round.
const WARM_UP: u64 = 50;

/// How a row is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    pub threads: usize,
    pub cloned: Cloned,
}

impl Sharing {
    /// All that are measured.
    pub const ALL: [Self; 4] = [
        Self { threads: 1, cloned: Cloned::ATask },
        Self { threads: 2, cloned: Cloned::ATask },
        Self { threads: 1, cloned: Cloned::ACall },
        Self { threads: 2, cloned: Cloned::ACall },
    ];

    /// Returns a runtime with this number of worker threads.
    ///
    /// # Panics
    ///
    /// If a thread can't be spawned.
    pub fn runtime(self) -> Runtime {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(self.threads).enable_all().build().expect("threads")
    }
}

#[derive(Clone, Debug)]
pub struct Contended {
    pub name: String,
    pub sharing: Sharing,
    /// Of all tasks together, in the median round.
    pub calls_per_s: f64,
    /// Median of the ratios to the bare service in the same round.
    pub share_of_bare: f64,
}

/// Measures all rows that can be shared, alternating between them.
pub fn contended(rows: &[Row]) -> Vec<Contended> {
    let rows: Vec<_> = rows.iter().filter(|row| row.is_contended()).collect();
    Sharing::ALL.into_iter().flat_map(|sharing| shared(&rows, sharing)).collect()
}

fn shared(rows: &[&Row], sharing: Sharing) -> Vec<Contended> {
    let runtime = sharing.runtime();
    let crowds: Vec<_> =
        rows.iter().map(|row| Crowd::new(row.subject(), &runtime, sharing.cloned)).collect();
    let bare = rows.iter().position(|row| row.name == BARE).expect("the bare service is a row");
    let rounds: Vec<Vec<f64>> = (0..ROUNDS)
        .map(|_| crowds.iter().map(|crowd| crowd.calls_per_s(&runtime)).collect())
        .collect();
    let of_rounds = |f: &dyn Fn(&[f64]) -> f64| -> f64 {
        median(&rounds.iter().map(|round| f(round)).collect::<Vec<_>>())
    };
    let each = rows.iter().enumerate().map(|(at, row)| Contended {
        name: row.name.clone(),
        sharing,
        calls_per_s: of_rounds(&|round| round[at]),
        share_of_bare: of_rounds(&|round| round[at] / round[bare]),
    });
    each.collect()
}

/// Tasks that share a subject. Each makes as many calls as fill a round.
struct Crowd {
    subject: Box<dyn Subject>,
    calls: u64,
    cloned: Cloned,
}

impl Crowd {
    fn new(subject: Box<dyn Subject>, runtime: &Runtime, cloned: Cloned) -> Self {
        let crowd = Self { subject, calls: WARM_UP, cloned };
        let fits = crowd.calls_per_s(runtime) * ROUND.as_secs_f64() / f64::from(TASKS);
        Self { calls: (fits as u64).max(WARM_UP), ..crowd }
    }

    fn calls_per_s(&self, runtime: &Runtime) -> f64 {
        let took = self.subject.crowd(runtime, self.calls, self.cloned);
        f64::from(TASKS) * self.calls as f64 / took.as_secs_f64()
    }
}
