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
    /// The time between two evaluations.
    interval: Duration,
    state: Mutex<MeterState>,
}

struct MeterState {
    started_at: Instant,
    evaluated_at: Instant,
    /// The total of each measure when it was last read: a window gets the difference.
    totals: Vec<CallCounts>,
    groups: Vec<RuleGroup>,
    /// Each objective, with its measure and window.
    objectives: Vec<(Slo, usize, Window)>,
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
    /// A limit, the number of its measure, and its windows.
    Limit(Limit, usize, Vec<Window>),
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
            interval: Self::MAX_INTERVAL,
            state: Mutex::new(MeterState {
                started_at: now,
                evaluated_at: now,
                totals: Vec::new(),
                groups: Vec::new(),
                objectives: Vec::new(),
                cohorts: Cohorts::new(now),
                hanging: 0,
            }),
        };
        let rules = objectives.iter().flat_map(Slo::rules).chain(rules.iter().cloned());
        for rule in rules.collect::<Vec<_>>() {
            meter.add_rule(rule)?;
        }
        for objective in objectives {
            meter.add_objective(objective)?;
        }
        let (count, max) = (meter.measures.len(), ResultCounters::MAX_MEASURES);
        if count > max {
            return Err(InvalidConfig::new(format!(
                "{count} different measures are too many: failures, retries and limits on the \
                 duration of calls may be at most {max} together"
            )));
        }
        meter.state.lock().totals = vec![CallCounts::default(); count];
        Ok((count > 0 || meter.in_flight.is_some()).then_some(meter))
    }

    fn add_rule(&mut self, rule: Rule) -> Result<(), InvalidConfig> {
        let (kind, label, check) = match rule.condition {
            Condition::Measured(limit) => {
                let measure = self.add_measure(limit.measure, &limit.windows);
                let windows = limit.windows.iter().map(|length| Window::new(*length)).collect();
                (limit.kind, limit.label.clone(), Check::Limit(limit, measure, windows))
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
                let step = in_flight.step();
                self.shorten_interval(step);
                (AlertKind::CallsHanging, String::new(), Check::Hanging)
            }
            Condition::Observed { .. } | Condition::Unmeasured => return Ok(()),
        };
        let rule = (check, rule.severity, rule.hold);
        let groups = &mut self.state.lock().groups;
        match groups.iter_mut().find(|one| (one.kind, &one.label) == (kind, &label)) {
            Some(group) => group.rules.push(rule),
            None => groups.push(RuleGroup { kind, label, rules: vec![rule] }),
        }
        Ok(())
    }

    fn add_objective(&mut self, objective: Slo) -> Result<(), InvalidConfig> {
        let measure = self.add_measure(objective.measure, &[objective.period]);
        let objectives = &mut self.state.lock().objectives;
        if objectives.iter().any(|(other, ..)| other.name == objective.name) {
            return Err(InvalidConfig::new(format!(
                "two objectives have the name {}; give each its own",
                objective.name
            )));
        }
        let window = Window::new(objective.period);
        objectives.push((objective, measure, window));
        Ok(())
    }

    /// Returns the number of a measure, which is added if it is new.
    fn add_measure(&mut self, measure: Measure, windows: &[Duration]) -> usize {
        self.is_timed |= matches!(measure, Measure::Slower(_));
        for length in windows {
            self.shorten_interval(Window::bucket(*length));
        }
        self.measures.iter().position(|known| *known == measure).unwrap_or_else(|| {
            self.measures.push(measure);
            self.measures.len() - 1
        })
    }

    fn shorten_interval(&mut self, interval: Duration) {
        self.interval = self.interval.min(interval).max(Self::MIN_INTERVAL);
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
        for group in &state.groups {
            notify(&group.evaluate(state.hanging));
        }
    }

    fn update(&self, state: &mut MeterState, now: Instant) {
        let elapsed = now.saturating_duration_since(state.started_at);
        let update = |(number, known): (usize, &mut CallCounts)| {
            let total = self.counters.total(number);
            total.less(std::mem::replace(known, total))
        };
        let counted: Vec<_> = state.totals.iter_mut().enumerate().map(update).collect();
        for (check, ..) in state.groups.iter_mut().flat_map(|group| &mut group.rules) {
            if let Check::Limit(_, measure, windows) = check {
                for window in windows {
                    window.add(elapsed, counted[*measure]);
                }
            }
        }
        for (_, measure, window) in &mut state.objectives {
            window.add(elapsed, counted[*measure]);
        }
        if let Some(in_flight) = &self.in_flight {
            state.hanging = in_flight.hanging(&mut state.cohorts, now);
        }
    }

    /// Returns the status of the objectives. Does not delay the next evaluation.
    pub(in crate::alert) fn objectives(&self, now: Instant) -> Vec<Objective> {
        let mut state = self.state.lock();
        self.update(&mut state, now);
        state.objectives.iter().map(|(slo, _, window)| slo.status(window.sum())).collect()
    }
}

impl RuleGroup {
    fn evaluate(&self, hanging: u64) -> Observation<'_> {
        let mut hold_times = HoldTimes::default();
        let mut highest = None;
        for (check, severity, hold) in &self.rules {
            if let Some(reading) = check.exceeded(hanging) {
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
    fn exceeded(&self, hanging: u64) -> Option<Reading> {
        match self {
            Self::Limit(limit, _, windows) => limit.exceeded(windows.iter().map(Window::sum)),
            Self::Hanging if hanging == 0 => None,
            Self::Hanging => {
                Some(Reading { value: hanging as f64, limit: 0.0, window: Duration::ZERO })
            }
        }
    }
}

#[cfg(test)]
mod tests;
