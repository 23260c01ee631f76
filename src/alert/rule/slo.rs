use std::time::Duration;

use super::definition::{Condition, Limit, Measure, Rule, Unit, percent};
use crate::error::InvalidConfig;
use crate::event::{AlertKind, Severity};
use crate::sliding_window::CallCounts;

/// A service level objective: the share of the calls that must be good.
///
/// The share that may be bad is the error budget. Alerts follow chapter 5 of Google's *SRE workbook*,
/// "multiwindow, multi-burn-rate": a burn rate of 1 spends the budget in exactly the period, and an
/// alert fires while a rate is exceeded over a long window (the condition is significant) and over a
/// short one (it still lasts).
///
/// Calls count as their callers see them: a call that was retried is one call. Calls that their callers
/// dropped don't count, nor do requests that the upstream rejected as invalid.
///
/// ```
/// use std::time::Duration;
/// use tower_upstream::alert::{Alerts, Slo};
///
/// # fn main() -> Result<(), tower_upstream::InvalidConfig> {
/// let alerts = Alerts::builder()
///     .slo(Slo::availability(0.995))
///     .slo(Slo::latency(0.5, Duration::from_millis(50)))
///     .build()?;
/// assert_eq!(alerts.objectives()[0].budget_left, 1.0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Slo {
    pub(super) name: String,
    pub(super) measure: Measure,
    pub(super) target: f64,
    pub(super) period: Duration,
    min_calls: u64,
    rates: Vec<BurnRate>,
}

/// A rate at which an error budget is spent too fast.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct BurnRate {
    factor: f64,
    pub(super) long: Duration,
    pub(super) short: Duration,
    severity: Severity,
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

impl BurnRate {
    /// The rates that the *SRE workbook* recommends for a period of 30 days. 14.4 over 1 h and 5 min, and
    /// 6 over 6 h and 30 min, are critical: by then 2 % and 5 % of the budget are spent. 3 over 1 day and
    /// 2 h, and 1 over 3 days and 6 h, are warnings: 10 % each.
    pub const WORKBOOK: [Self; 4] = [
        Self::with(14.4, HOUR, HOUR / 12, Severity::Critical),
        Self::with(6.0, 6 * HOUR, HOUR / 2, Severity::Critical),
        Self::with(3.0, DAY, 2 * HOUR, Severity::Warning),
        Self::with(1.0, 3 * DAY, 6 * HOUR, Severity::Warning),
    ];

    /// Creates a burn rate: 1 spends the budget in exactly the period, 2 in half of it. Default: over 1
    /// hour and 5 minutes, a warning.
    pub const fn new(factor: f64) -> Self {
        Self::with(factor, HOUR, HOUR / 12, Severity::Warning)
    }

    const fn with(factor: f64, long: u64, short: u64, severity: Severity) -> Self {
        let (long, short) = (Duration::from_secs(long), Duration::from_secs(short));
        Self { factor, long, short, severity }
    }

    /// Sets the long window, over which the rate must be exceeded. Default: 1 hour.
    pub const fn long_window(self, long: Duration) -> Self {
        Self { long, ..self }
    }

    /// Sets the short window, over which the rate must be exceeded too: no longer than the long one.
    /// Default: 5 minutes.
    pub const fn short_window(self, short: Duration) -> Self {
        Self { short, ..self }
    }

    /// Sets the severity. Default: [`Severity::Warning`].
    pub const fn severity(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }
}

/// The status of an objective, from [`Alerts::objectives`](crate::alert::Alerts::objectives).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Objective {
    /// Its [name](Slo::name).
    pub name: String,
    /// The share of the calls that must be good.
    pub target: f64,
    /// The number of calls that counted in the period, or since the alerts were built if that is shorter.
    pub calls: u64,
    /// The number of bad calls among them.
    pub bad: u64,
    /// The share of the error budget of these calls that is left: 1 if no call was bad, 0 if it is
    /// spent, negative if it is overdrawn.
    pub budget_left: f64,
}

impl Slo {
    /// Creates an objective for the share of calls that succeed; 0.995 is 99.5 %.
    pub fn availability(target: f64) -> Self {
        Self::new(format!("availability {} %", percent(target)), Measure::Failures, target)
    }

    /// Creates an objective for the share of calls that succeed within the limit; 0.5 is the median. A
    /// call that failed within the limit doesn't count, one that failed later is bad.
    ///
    /// Burn rates of 1 ÷ (1 − target) or more can't be exceeded; alerts on them are left out. Half of the
    /// calls may be slower than a median, so its budget burns at 2 even if all are: use
    /// [`Rule::slow_median`] for an earlier alert.
    pub fn latency(target: f64, limit: Duration) -> Self {
        let name = format!("latency p{} of {limit:?}", percent(target));
        Self::new(name, Measure::Slower(limit), target)
    }

    fn new(name: String, measure: Measure, target: f64) -> Self {
        let rates = BurnRate::WORKBOOK.to_vec();
        let period = Duration::from_secs(30 * DAY);
        Self { name, measure, target, period, min_calls: 100, rates }
    }

    /// Sets the name in alerts and status. Default: made of the target, such as `availability 99.5 %`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the minimum number of calls in the long window. Default: 100.
    pub fn min_calls(mut self, calls: u64) -> Self {
        self.min_calls = calls;
        self
    }

    /// Sets the period of the error budget, from 1 minute to 90 days. Default: 30 days.
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// Sets the burn rates that raise alerts. Default: [`BurnRate::WORKBOOK`].
    pub fn burn_rates(mut self, rates: impl IntoIterator<Item = BurnRate>) -> Self {
        self.rates = rates.into_iter().collect();
        self
    }

    /// Returns the share of the calls that may be bad.
    fn budget(&self) -> f64 {
        1.0 - self.target
    }

    pub(in crate::alert) fn check(&self) -> Result<(), InvalidConfig> {
        if !(self.target > 0.0 && self.target < 1.0) {
            return Err(InvalidConfig::new(format!(
                "the target of the objective {} is {}; it must be a share between 0 and 1, such as 0.995",
                self.name, self.target
            )));
        }
        if let Some(rate) = self.rates.iter().find(|rate| rate.short > rate.long) {
            return Err(InvalidConfig::new(format!(
                "the short window of a burn rate, {:?}, is longer than the long one, {:?}",
                rate.short, rate.long
            )));
        }
        // The period is checked as a window.
        let period = BurnRate::new(0.0).long_window(self.period).short_window(self.period);
        self.rates.iter().chain([&period]).try_for_each(|rate| self.rule(rate).check())
    }

    /// Returns the status, from the counts of the period.
    #[allow(clippy::cast_precision_loss)] // past 2^53 calls a share is still a share
    pub(super) fn status(&self, CallCounts { calls, bad }: CallCounts) -> Objective {
        let share = if calls == 0 { 0.0 } else { bad as f64 / calls as f64 };
        let budget_left = 1.0 - share / self.budget();
        Objective { name: self.name.clone(), target: self.target, calls, bad, budget_left }
    }

    /// Returns a rule for each burn rate that can be exceeded.
    pub(super) fn rules(&self) -> impl Iterator<Item = Rule> {
        self.rates.iter().filter(|rate| self.can_exceed(rate)).map(|rate| self.rule(rate))
    }

    fn can_exceed(&self, rate: &BurnRate) -> bool {
        rate.factor * self.budget() < 1.0 || rate.factor.is_nan()
    }

    fn rule(&self, rate: &BurnRate) -> Rule {
        // A rate that can't be exceeded is left out, not an error: the check needs a valid limit.
        let max = if self.can_exceed(rate) { rate.factor } else { 1.0 };
        let condition = Condition::Measured(Limit {
            kind: AlertKind::BudgetBurn,
            label: self.name.clone(),
            measure: self.measure,
            unit: Unit::ShareOf(self.budget()),
            max,
            windows: vec![rate.long, rate.short],
            min_calls: self.min_calls,
        });
        Rule { condition, severity: rate.severity, hold: Duration::ZERO }
    }
}
