//! Rules about numbers of calls: counted on the request path, judged by the scheduler.

mod counts;

use std::time::Duration;

use self::counts::{Counts, Flight, Generations};
use super::observation::{Details, Holds, Lasts, Observation};
use super::slo::Objective;
use crate::alert::observation::Reading;
use crate::alert::rule::{Condition, Limit, Measure, Rule, Unit};
use crate::alert::slo::Slo;
use crate::error::InvalidConfig;
use crate::event::{AlertKind, Severity};
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

#[derive(Default)]
pub(super) struct Plan {
    pub(super) measures: Vec<Measure>,
    /// The number of the measure that each window is of, and the window's length.
    pub(super) windows: Vec<(usize, Duration)>,
    pub(super) subjects: Vec<Subject>,
    /// After how long a call hangs.
    pub(super) hangs_after: Option<Duration>,
}

/// Rules about the same thing. Of those that are met, the most severe counts.
pub(super) struct Subject {
    pub(super) kind: AlertKind,
    pub(super) label: String,
    pub(super) rules: Vec<(Test, Severity, Duration)>,
}

pub(super) enum Test {
    /// A limit, and the numbers of its windows in the plan.
    Limit {
        limit: Limit,
        windows: Vec<usize>,
    },
    Hanging,
}

impl Plan {
    pub(super) fn new(rules: &[Rule], objectives: &[Slo]) -> Result<Self, InvalidConfig> {
        let mut plan = Self::default();
        for (number, objective) in objectives.iter().enumerate() {
            if objectives[..number].iter().any(|other| other.name == objective.name) {
                return Err(InvalidConfig::new(format!(
                    "two objectives are called {}; name them apart",
                    objective.name
                )));
            }
            plan.window(objective.measure, objective.period);
        }
        let of_objectives = objectives.iter().flat_map(Slo::rules);
        for rule in of_objectives.chain(rules.iter().cloned()) {
            plan.add(rule)?;
        }
        let (many, most) = (plan.measures.len(), counts::MOST);
        if many > most {
            return Err(InvalidConfig::new(format!(
                "{many} different measures are too many; failures, retries and limits on the \
                 calls' time together may be up to {most}"
            )));
        }
        Ok(plan)
    }

    fn add(&mut self, rule: Rule) -> Result<(), InvalidConfig> {
        let (kind, label, test) = match rule.condition {
            Condition::Measured(limit) => {
                let lengths = limit.windows.iter();
                let windows = lengths.map(|length| self.window(limit.measure, *length)).collect();
                (limit.kind, limit.label.clone(), Test::Limit { limit, windows })
            }
            Condition::Hanging(time) => {
                let known = *self.hangs_after.get_or_insert(time);
                if known != time {
                    return Err(InvalidConfig::new(format!(
                        "calls hang after {known:?} or after {time:?}; give all rules about \
                         hanging calls one limit"
                    )));
                }
                (AlertKind::CallsHanging, String::new(), Test::Hanging)
            }
            Condition::Seen { .. } | Condition::Unmeasured => return Ok(()),
        };
        let rule = (test, rule.severity, rule.hold);
        let mut known = self.subjects.iter_mut();
        match known.find(|subject| (subject.kind, &subject.label) == (kind, &label)) {
            Some(subject) => subject.rules.push(rule),
            None => self.subjects.push(Subject { kind, label, rules: vec![rule] }),
        }
        Ok(())
    }

    /// Returns the number of this window, which is added if it isn't there.
    fn window(&mut self, measure: Measure, length: Duration) -> usize {
        let measure = number(&mut self.measures, measure);
        number(&mut self.windows, (measure, length))
    }
}

/// Returns the number of an item, which is added if it isn't there.
fn number<T: PartialEq>(all: &mut Vec<T>, item: T) -> usize {
    all.iter().position(|known| *known == item).unwrap_or_else(|| {
        all.push(item);
        all.len() - 1
    })
}

#[cfg(test)]
mod tests;

impl Limit {
    /// Returns what was measured in the longest window, if every window is over the limit. `sums` are
    /// those of `self.windows`, in their order.
    pub(super) fn exceeded(&self, sums: impl Iterator<Item = CallCounts>) -> Option<Reading> {
        let mut first = None;
        for (number, sum) in sums.enumerate() {
            if number == 0 && sum.calls < self.min_calls {
                return None;
            }
            let value = self.value(sum);
            // A share that is just at its limit can come out a little above it in binary.
            if value <= self.most * (1.0 + 1e-9) {
                return None;
            }
            first = first.or(Some(value));
        }
        let (value, limit) = (first?, self.most);
        self.windows.first().map(|over| Reading { value, limit, over: *over })
    }

    #[allow(clippy::cast_precision_loss)] // past 2^53 calls a share is still a share
    fn value(&self, sum: CallCounts) -> f64 {
        match self.unit {
            Unit::ShareOf(_) if sum.calls == 0 => 0.0,
            Unit::ShareOf(share) => sum.bad as f64 / sum.calls as f64 / share,
            Unit::Sum(each) => sum.bad as f64 * each,
        }
    }
}

#[cfg(test)]
mod condition_tests {
    use std::time::Duration;

    use super::*;
    use crate::alert::Slo;
    use crate::alert::rule::{Condition, Rule};

    fn limit(rule: Rule) -> Limit {
        match rule.condition {
            Condition::Measured(limit) => limit,
            other => panic!("{other:?} measures nothing"),
        }
    }

    fn exceeds(limit: &Limit, sums: &[(u64, u64)]) -> bool {
        let sums = sums.iter().map(|&(bad, calls)| CallCounts { calls, bad });
        limit.exceeded(sums).is_some()
    }

    /// 99.5 % leaves 0.5 %: 14.4 times that are 7.2 %, 6 times 3 %, 3 times 1.5 %.
    #[test]
    fn burn_rates_by_hand() {
        let rules: Vec<_> = Slo::availability(0.995).rules().map(limit).collect();
        for (rule, (long, short), expected) in [
            // 72 of 1000 are just 7.2 %; the next one is over.
            (0, ((72, 1_000), (100, 100)), false),
            (0, ((73, 1_000), (100, 100)), true),
            (0, ((73, 1_000), (72, 1_000)), false),
            (0, ((73, 1_000), (0, 0)), false),
            (0, ((100, 100), (73, 1_000)), true),
            // Too few calls in the long window, then just enough.
            (0, ((99, 99), (99, 99)), false),
            (0, ((8, 100), (1, 1)), true),
            (1, ((30, 1_000), (10, 10)), false),
            (1, ((31, 1_000), (31, 1_000)), true),
            (2, ((15, 1_000), (10, 10)), false),
            (2, ((16, 1_000), (16, 1_000)), true),
            (3, ((5, 1_000), (10, 10)), false),
            (3, ((6, 1_000), (6, 1_000)), true),
            (3, ((5_000_000, 1_000_000_000), (10, 10)), false),
            (3, ((5_000_001, 1_000_000_000), (10, 10)), true),
        ] {
            assert_eq!(
                exceeds(&rules[rule], &[long, short]),
                expected,
                "{rule} {long:?} {short:?}"
            );
        }
        let (long, short) =
            (CallCounts { bad: 100, calls: 1_000 }, CallCounts { bad: 1, calls: 1 });
        let reading = rules[0].exceeded([long, short].into_iter()).unwrap();
        // A tenth of the calls is twenty times what may be.
        assert!((reading.value - 20.0).abs() < 1e-9);
        assert_eq!((reading.limit, reading.over), (14.4, Duration::from_secs(3600)));
    }

    #[test]
    fn a_rate_that_a_median_cannot_reach_is_left_out() {
        let rules = |target| -> Vec<_> {
            let slo = Slo::latency(target, Duration::from_millis(50));
            slo.rules().map(|rule| limit(rule).most).collect()
        };
        assert_eq!(rules(0.5), [1.0]);
        assert_eq!(rules(0.9), [6.0, 3.0, 1.0]);
        assert_eq!(rules(0.99), [14.4, 6.0, 3.0, 1.0]);
    }

    #[test]
    fn shares_and_sums_by_hand() {
        let ms = Duration::from_millis;
        for (rule, (bad, calls), expected) in [
            (Rule::error_ratio(0.05), (5, 100), false),
            (Rule::error_ratio(0.05), (6, 100), true),
            (Rule::error_ratio(0.05), (19, 19), false),
            (Rule::error_ratio(0.05).min_calls(0), (0, 0), false),
            (Rule::error_ratio(0.05).min_calls(0), (1, 1), true),
            (Rule::slow_median(ms(50)), (50, 100), false),
            (Rule::slow_median(ms(50)), (51, 100), true),
            (Rule::slow_tail(0.99, ms(50)), (1, 100), false),
            (Rule::slow_tail(0.99, ms(50)), (2, 100), true),
            // 625 retries at 0.008 are 5.00.
            (Rule::retry_spend(5.0, 0.008), (625, 0), false),
            (Rule::retry_spend(5.0, 0.008), (626, 0), true),
        ] {
            assert_eq!(exceeds(&limit(rule.clone()), &[(bad, calls)]), expected, "{rule:?} {bad}");
        }
    }
}
