use std::time::Duration;

use super::counters::{Cohorts, InFlightCounter, ResultCounters};
use super::definition::{Condition, Limit, Measure, Rule};
use super::slo::{Objective, Slo};
use crate::alert::observation::{Facts, HoldTimes, Lifetime, Observation, Reading};
use crate::error::InvalidConfig;
use crate::event::{AlertKind, Severity};
use crate::sliding_window::{CallCounts, SlidingWindow};
use crate::sync::Mutex;
use crate::time::{self, Instant};
use crate::verdict::{Class, Verdict};

/// The window of a measure: an hour has buckets of a minute.
type Window = SlidingWindow<60>;

/// Evaluates the rules about numbers of calls: counted on the request path, evaluated by the scheduler.
pub(in crate::alert) struct Meter {
    measures: Vec<Measure>,
    counters: ResultCounters,
    in_flight: Option<InFlightCounter>,
    /// Whether the durations of calls are measured.
    is_timed: bool,
    /// The measure of each window, by number, and the window's length.
    windows: Vec<(usize, Duration)>,
    groups: Vec<RuleGroup>,
    objectives: Vec<Slo>,
    /// The time between two evaluations.
    interval: Duration,
    state: Mutex<MeterState>,
}

struct MeterState {
    started_at: Instant,
    evaluated_at: Instant,
    /// The total of each measure when it was last read: a window gets the difference.
    totals: Vec<CallCounts>,
    /// In the order of the meter's `windows`.
    windows: Vec<Window>,
    cohorts: Cohorts,
    /// The number of hanging calls at the last evaluation.
    hanging: u64,
}

/// Rules about the same condition. Of those that match, the highest severity counts.
struct RuleGroup {
    kind: AlertKind,
    label: String,
    rules: Vec<(Check, Severity, Duration)>,
}

enum Check {
    /// A limit, and the numbers of its windows.
    Limit(Limit, Vec<usize>),
    Hanging,
}

/// When a call began, as far as rules need it.
#[derive(Debug, Default)]
pub(in crate::alert) struct CallStart {
    at: Option<Instant>,
    slot: Option<usize>,
}

impl CallStart {
    fn elapsed(&self) -> Duration {
        self.at.map_or(Duration::ZERO, |at| time::now().saturating_duration_since(at))
    }
}

impl Meter {
    const MAX_INTERVAL: Duration = Duration::from_secs(60);
    const MIN_INTERVAL: Duration = Duration::from_secs(1);

    /// Creates a meter for these rules and objectives; `None` if they measure nothing.
    pub(in crate::alert) fn new(
        rules: &[Rule],
        objectives: Vec<Slo>,
    ) -> Result<Option<Self>, InvalidConfig> {
        let now = time::now();
        let mut meter = Self {
            measures: Vec::new(),
            counters: ResultCounters::default(),
            in_flight: None,
            is_timed: false,
            windows: Vec::new(),
            groups: Vec::new(),
            objectives: Vec::new(),
            interval: Self::MAX_INTERVAL,
            state: Mutex::new(MeterState {
                started_at: now,
                evaluated_at: now,
                totals: Vec::new(),
                windows: Vec::new(),
                cohorts: Cohorts::new(now),
                hanging: 0,
            }),
        };
        for (number, objective) in objectives.iter().enumerate() {
            if objectives[..number].iter().any(|other| other.name == objective.name) {
                return Err(InvalidConfig::new(format!(
                    "two objectives have the name {}; give each its own",
                    objective.name
                )));
            }
            meter.add_window(objective.measure, objective.period);
        }
        for rule in objectives.iter().flat_map(Slo::rules).chain(rules.iter().cloned()) {
            meter.add_rule(rule)?;
        }
        let (count, max) = (meter.measures.len(), ResultCounters::MAX_MEASURES);
        if count > max {
            return Err(InvalidConfig::new(format!(
                "{count} different measures are too many: failures, retries and limits on the \
                 duration of calls may be at most {max} together"
            )));
        }
        if count == 0 && meter.in_flight.is_none() {
            return Ok(None);
        }
        let steps = meter.windows.iter().map(|(_, length)| Window::bucket(*length));
        let steps = steps.chain(meter.in_flight.as_ref().map(InFlightCounter::step));
        meter.interval = steps.fold(Self::MAX_INTERVAL, Duration::min).max(Self::MIN_INTERVAL);
        meter.is_timed = meter.measures.iter().any(|one| matches!(one, Measure::Slower(_)));
        meter.objectives = objectives;
        let mut state = meter.state.lock();
        state.totals = vec![CallCounts::default(); count];
        state.windows = meter.windows.iter().map(|(_, length)| Window::new(*length)).collect();
        drop(state);
        Ok(Some(meter))
    }

    fn add_rule(&mut self, rule: Rule) -> Result<(), InvalidConfig> {
        let (kind, label, check) = match rule.condition {
            Condition::Measured(limit) => {
                let lengths = limit.windows.iter();
                let windows =
                    lengths.map(|length| self.add_window(limit.measure, *length)).collect();
                (limit.kind, limit.label.clone(), Check::Limit(limit, windows))
            }
            Condition::Hanging(limit) => {
                let in_flight = self.in_flight.get_or_insert_with(|| InFlightCounter::new(limit));
                if in_flight.limit != limit {
                    return Err(InvalidConfig::new(format!(
                        "rules about hanging calls have different limits, {:?} and {limit:?}; give \
                         all of them the same",
                        in_flight.limit
                    )));
                }
                (AlertKind::CallsHanging, String::new(), Check::Hanging)
            }
            Condition::Observed { .. } | Condition::Unmeasured => return Ok(()),
        };
        let rule = (check, rule.severity, rule.hold);
        let mut groups = self.groups.iter_mut();
        match groups.find(|group| (group.kind, &group.label) == (kind, &label)) {
            Some(group) => group.rules.push(rule),
            None => self.groups.push(RuleGroup { kind, label, rules: vec![rule] }),
        }
        Ok(())
    }

    /// Returns the number of this window, which is added if it is new.
    fn add_window(&mut self, measure: Measure, length: Duration) -> usize {
        let measure = position_or_push(&mut self.measures, measure);
        position_or_push(&mut self.windows, (measure, length))
    }

    /// Returns whether evaluations are needed even if no call ends: to detect hanging calls.
    pub(in crate::alert) fn counts_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Records that a call begins.
    pub(in crate::alert) fn begin(&self) -> CallStart {
        let slot = self.in_flight.as_ref().map(InFlightCounter::begin);
        CallStart { at: self.is_timed.then(time::now), slot }
    }

    /// Records that a call is no longer in flight, once.
    pub(in crate::alert) fn end(&self, start: &mut CallStart) {
        if let Some(slot) = start.slot.take()
            && let Some(in_flight) = &self.in_flight
        {
            in_flight.end(slot);
        }
    }

    /// Counts the result of a call. Returns whether to check that the scheduler runs.
    pub(in crate::alert) fn result(&self, start: &CallStart, verdict: &Verdict) -> bool {
        match verdict.class() {
            Class::Success if self.is_timed => {
                self.counters.timed_success(&self.measures, start.elapsed())
            }
            Class::Success => self.counters.success(),
            // The upstream rejected the request as invalid.
            Class::Rejected => false,
            _ => {
                self.counters.failure(&self.measures, start.elapsed());
                true
            }
        }
    }

    /// Counts a retry.
    pub(in crate::alert) fn retry(&self) {
        self.counters.retry(&self.measures);
    }

    pub(in crate::alert) fn next_evaluation(&self) -> Instant {
        time::after(self.state.lock().evaluated_at, self.interval)
    }

    /// Adds the counts to the windows, and calls `notify` with an observation for each group of rules.
    pub(in crate::alert) fn evaluate(
        &self,
        now: Instant,
        mut notify: impl FnMut(&Observation<'_>),
    ) {
        let mut state = self.state.lock();
        state.evaluated_at = now;
        self.update(&mut state, now);
        for group in &self.groups {
            notify(&group.evaluate(&state));
        }
    }

    fn update(&self, state: &mut MeterState, now: Instant) {
        let elapsed = now.saturating_duration_since(state.started_at);
        let totals: Vec<_> = (0..self.measures.len()).map(|one| self.counters.total(one)).collect();
        for ((measure, _), window) in self.windows.iter().zip(&mut state.windows) {
            window.add(elapsed, totals[*measure].less(state.totals[*measure]));
        }
        state.totals = totals;
        if let Some(in_flight) = &self.in_flight {
            state.hanging = in_flight.hanging(&mut state.cohorts, now);
        }
    }

    /// Returns the status of the objectives. Does not delay the next evaluation.
    pub(in crate::alert) fn objectives(&self, now: Instant) -> Vec<Objective> {
        let mut state = self.state.lock();
        self.update(&mut state, now);
        let status = |slo: &Slo| {
            let is_of = |(measure, length): &(usize, Duration)| {
                self.measures[*measure] == slo.measure && *length == slo.period
            };
            let window = self.windows.iter().position(is_of).map(|number| &state.windows[number]);
            slo.status(window.map(Window::sum).unwrap_or_default())
        };
        self.objectives.iter().map(status).collect()
    }
}

impl RuleGroup {
    fn evaluate(&self, state: &MeterState) -> Observation<'_> {
        let mut hold_times = HoldTimes::default();
        let mut highest = None;
        for (check, severity, hold) in &self.rules {
            if let Some(reading) = check.exceeded(state) {
                hold_times = hold_times.with(*severity, *hold);
                if highest.is_none_or(|(known, _)| known < *severity) {
                    highest = Some((*severity, reading));
                }
            }
        }
        let is_met = highest.is_some();
        let lifetime = if is_met { Lifetime::UntilResolved } else { Lifetime::Ended };
        let facts = Facts { reading: highest.map(|(_, reading)| reading), ..Facts::default() };
        Observation { hold_times, facts, ..Observation::new(self.kind, &self.label, lifetime) }
    }
}

impl Check {
    #[allow(clippy::cast_precision_loss)] // only shown in a message
    fn exceeded(&self, state: &MeterState) -> Option<Reading> {
        match self {
            Self::Limit(limit, windows) => {
                limit.exceeded(windows.iter().map(|window| state.windows[*window].sum()))
            }
            Self::Hanging if state.hanging == 0 => None,
            Self::Hanging => {
                let value = state.hanging as f64;
                Some(Reading { value, limit: 0.0, window: Duration::ZERO })
            }
        }
    }
}

/// Returns the position of an item, which is appended if it is new.
fn position_or_push<T: PartialEq>(all: &mut Vec<T>, item: T) -> usize {
    all.iter().position(|known| *known == item).unwrap_or_else(|| {
        all.push(item);
        all.len() - 1
    })
}

#[cfg(test)]
mod tests;
