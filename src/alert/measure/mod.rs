//! Rules about numbers of calls: counted on the request path, judged by the scheduler.

mod condition;
mod counts;
mod flight;
mod plan;

use std::time::Duration;

use self::counts::Counts;
use self::flight::{Flight, Generations};
use self::plan::{Plan, Subject, Test};
use super::observation::{Details, Holds, Lasts, Observation, Reading};
use super::rule::{Measure, Rule};
use super::slo::{Objective, Slo};
use crate::error::InvalidConfig;
use crate::sliding_window::{CallCounts, SlidingWindow};
use crate::sync::Mutex;
use crate::time::{self, Instant};
use crate::verdict::{Class, Verdict};

/// A window that a measure is judged over: an hour has buckets of a minute.
type Window = SlidingWindow<60>;

/// What is measured, and the rules about it.
pub(super) struct Meter {
    measures: Vec<Measure>,
    counts: Counts,
    flight: Option<Flight>,
    /// Whether calls' times are taken.
    timed: bool,
    /// The number of the measure that each window is of, and the window's length.
    windows: Vec<(usize, Duration)>,
    subjects: Vec<Subject>,
    objectives: Vec<Slo>,
    /// The time between two looks.
    step: Duration,
    book: Mutex<Book>,
}

/// What was counted when.
struct Book {
    begun: Instant,
    /// When the subjects were judged last.
    looked_at: Instant,
    /// The total of each measure when it was read last: a window gets what came since.
    totals: Vec<CallCounts>,
    /// In the order of the meter's `windows`.
    windows: Vec<Window>,
    generations: Generations,
    /// How many calls were hanging at the last look.
    hanging: u64,
}

/// What is kept of a call from its beginning to its end.
#[derive(Debug, Default)]
pub(super) struct Pending {
    at: Option<Instant>,
    slot: Option<usize>,
}

impl Pending {
    #[inline]
    pub(in crate::alert) fn is_in_flight(&self) -> bool {
        self.slot.is_some()
    }

    fn took(&self) -> Duration {
        let since = |at| time::now().saturating_duration_since(at);
        self.at.map_or(Duration::ZERO, since)
    }
}

impl Meter {
    /// The longest pause between two looks.
    const LONGEST_STEP: Duration = Duration::from_secs(60);
    const SHORTEST_STEP: Duration = Duration::from_secs(1);

    /// Measures what these rules and objectives ask for; `None` if that is nothing.
    pub(super) fn new(rules: &[Rule], objectives: &[Slo]) -> Result<Option<Self>, InvalidConfig> {
        let Plan { measures, windows, subjects, hangs_after } = Plan::new(rules, objectives)?;
        if measures.is_empty() && hangs_after.is_none() {
            return Ok(None);
        }
        let now = time::now();
        let flight = hangs_after.map(Flight::new);
        let buckets = windows.iter().map(|(_, length)| Window::bucket(*length));
        let steps = buckets.chain(flight.as_ref().map(Flight::step));
        let book = Book {
            begun: now,
            looked_at: now,
            totals: vec![CallCounts::default(); measures.len()],
            windows: windows.iter().map(|(_, length)| Window::new(*length)).collect(),
            generations: Generations::new(now),
            hanging: 0,
        };
        Ok(Some(Self {
            timed: measures.iter().any(|one| matches!(one, Measure::Slower(_))),
            step: steps.fold(Self::LONGEST_STEP, Duration::min).max(Self::SHORTEST_STEP),
            counts: Counts::default(),
            objectives: objectives.to_vec(),
            measures,
            windows,
            flight,
            subjects,
            book: Mutex::new(book),
        }))
    }

    /// Whether looks are needed even if no call ends: calls that hang are found only by looking.
    #[inline]
    pub(super) fn watches_flight(&self) -> bool {
        self.flight.is_some()
    }

    /// Whether a call must be noted when it begins, and not only when it ends.
    #[inline]
    pub(super) fn follows_calls(&self) -> bool {
        self.timed || self.watches_flight()
    }

    /// Notes that a call begins, if [calls are followed](Self::follows_calls).
    pub(super) fn begin(&self) -> Pending {
        let slot = self.flight.as_ref().map(Flight::begin);
        Pending { at: self.timed.then(time::now), slot }
    }

    /// Notes that a call isn't in flight any more, whether it was answered or dropped.
    pub(super) fn end(&self, begun: &mut Pending) {
        if let Some(slot) = begun.slot.take()
            && let Some(flight) = &self.flight
        {
            flight.end(slot);
        }
    }

    /// Counts a call that succeeded. Returns whether to check that the scheduler runs.
    #[inline]
    pub(super) fn success(&self, begun: &Pending) -> bool {
        if self.timed {
            self.counts.timed_success(&self.measures, begun.took())
        } else {
            self.counts.success()
        }
    }

    /// Counts a call that failed. Returns whether to check that the scheduler runs.
    pub(super) fn failure(&self, begun: &Pending, verdict: &Verdict) -> bool {
        // The request's own fault isn't counted.
        let counts = verdict.class() != Class::Rejected;
        if counts {
            self.counts.failure(&self.measures, begun.took());
        }
        counts
    }

    /// Counts a retry.
    pub(super) fn retry(&self) {
        self.counts.retry(&self.measures);
    }

    /// Returns when to look next.
    pub(super) fn next_look(&self) -> Instant {
        time::after(self.book.lock().looked_at, self.step)
    }

    /// Adds what was counted to the windows, and notify for each subject whether its rules are met.
    pub(super) fn look(&self, now: Instant, mut emit: impl FnMut(&Observation<'_>)) {
        let mut book = self.book.lock();
        book.looked_at = now;
        self.write(&mut book, now);
        for subject in &self.subjects {
            emit(&subject.judge(&book));
        }
    }

    fn write(&self, book: &mut Book, now: Instant) {
        let elapsed = now.saturating_duration_since(book.begun);
        let totals: Vec<_> = (0..self.measures.len()).map(|one| self.counts.total(one)).collect();
        for ((measure, _), window) in self.windows.iter().zip(&mut book.windows) {
            window.add(elapsed, totals[*measure].less(book.totals[*measure]));
        }
        book.totals = totals;
        if let Some(flight) = &self.flight {
            book.hanging = flight.look(&mut book.generations, now);
        }
    }

    /// Returns how the objectives do. Asking for it doesn't put off the next look.
    pub(super) fn objectives(&self, now: Instant) -> Vec<Objective> {
        let mut book = self.book.lock();
        self.write(&mut book, now);
        let of = |slo: &Slo| {
            let of = |(measure, length): &(usize, Duration)| {
                self.measures[*measure] == slo.measure && *length == slo.period
            };
            let window = self.windows.iter().position(of).map(|number| &book.windows[number]);
            slo.status(window.map(Window::sum).unwrap_or_default())
        };
        self.objectives.iter().map(of).collect()
    }
}

impl Subject {
    fn judge(&self, book: &Book) -> Observation<'_> {
        let mut holds = Holds::default();
        let mut worst = None;
        for (test, severity, hold) in &self.rules {
            if let Some(reading) = test.exceeded(book) {
                holds = holds.and(*severity, *hold);
                if worst.is_none_or(|(known, _)| known < *severity) {
                    worst = Some((*severity, reading));
                }
            }
        }
        let lasts = if worst.is_some() { Lasts::UntilOver } else { Lasts::Over };
        let reading = worst.map(|(_, reading)| reading);
        let details = Details { reading, ..Details::default() };
        Observation { holds, details, ..Observation::new(self.kind, lasts).of(&self.label) }
    }
}

impl Test {
    #[allow(clippy::cast_precision_loss)] // a message says how many
    fn exceeded(&self, book: &Book) -> Option<Reading> {
        match self {
            Self::Limit { limit, windows } => {
                limit.exceeded(windows.iter().map(|window| book.windows[*window].sum()))
            }
            Self::Hanging => (book.hanging > 0).then_some(Reading {
                value: book.hanging as f64,
                limit: 0.0,
                over: Duration::ZERO,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
