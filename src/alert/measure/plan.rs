//! What rules and objectives ask to be measured.

use std::time::Duration;

use super::counts;
use crate::alert::rule::{Condition, Limit, Measure, Rule};
use crate::alert::slo::Slo;
use crate::error::InvalidConfig;
use crate::event::{AlertKind, Severity};

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
