//! Objectives, and alerts on how fast their error budgets are spent.

use std::time::Duration;

use super::rule::{Condition, Limit, Measure, Rule, Unit, percent};
use crate::error::InvalidConfig;
use crate::event::{AlertKind, Severity};
use crate::sliding_window::CallCounts;

/// A service level objective: which share of the calls is to be good.
///
/// The share that may be bad is the error budget. Alerts follow chapter 5 of Google's *SRE workbook*,
/// "multiwindow, multi-burn-rate": a burn rate of 1 spends the budget in exactly the period, and an alert
/// fires while a rate is exceeded over a long window (it matters) and over a short one (it still goes on).
///
/// Calls count as their callers see them: a call that was retried is one call. A call that its caller
/// dropped doesn't count, nor does a request that failed by its own fault.
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

/// When an error budget is spent too fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnRate {
    /// The burn rate: 1 spends the budget in exactly the period, 2 in half of it.
    pub factor: f64,
    /// The long window, over which the rate must be exceeded.
    pub long: Duration,
    /// The short window, over which it must be exceeded too: no longer than the long one.
    pub short: Duration,
    /// How bad that is.
    pub severity: Severity,
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

impl BurnRate {
    /// What the *SRE workbook* recommends for a period of 30 days. 14.4 over 1 h and 5 min, and 6 over 6 h
    /// and 30 min, are critical: by then 2 % and 5 % of the budget are spent. 3 over 1 day and 2 h, and 1
    /// over 3 days and 6 h, are warnings: 10 % each.
    pub const WORKBOOK: [Self; 4] = [
        Self::new(14.4, HOUR, HOUR / 12, Severity::Critical),
        Self::new(6.0, 6 * HOUR, HOUR / 2, Severity::Critical),
        Self::new(3.0, DAY, 2 * HOUR, Severity::Warning),
        Self::new(1.0, 3 * DAY, 6 * HOUR, Severity::Warning),
    ];

    const fn new(factor: f64, long: u64, short: u64, severity: Severity) -> Self {
        let (long, short) = (Duration::from_secs(long), Duration::from_secs(short));
        Self { factor, long, short, severity }
    }
}

/// How an objective does, for a status page. Made by [`Alerts::objectives`](super::Alerts::objectives).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Objective {
    /// Its [name](Slo::name).
    pub name: String,
    /// Which share of the calls is to be good.
    pub target: f64,
    /// How many calls counted in the period, or since the alerts were built if that is shorter.
    pub calls: u64,
    /// How many of them were bad.
    pub bad: u64,
    /// Which share of the error budget of these calls is left: 1 if no call was bad, 0 if it is spent,
    /// negative if it is overdrawn.
    pub budget_left: f64,
}

impl Slo {
    /// This share of the calls is to succeed; 0.995 is 99.5 %.
    pub fn availability(target: f64) -> Self {
        Self::new(format!("availability {} %", percent(target)), Measure::Failures, target)
    }

    /// This share of the calls is to be answered within the limit; 0.5 is the median. A call that failed
    /// sooner doesn't count, one that failed later is bad.
    ///
    /// Burn rates of 1 ÷ (1 − target) or more can't be exceeded, and alerts on them are left out. Half of all
    /// calls may be slower than a median, so its budget burns at 2 even if all are. To receive of slow medians
    /// sooner use [`Rule::slow_median`].
    pub fn latency(target: f64, limit: Duration) -> Self {
        let name = format!("latency p{} of {limit:?}", percent(target));
        Self::new(name, Measure::Slower(limit), target)
    }

    fn new(name: String, measure: Measure, target: f64) -> Self {
        let rates = BurnRate::WORKBOOK.to_vec();
        let period = Duration::from_secs(30 * DAY);
        Self { name, measure, target, period, min_calls: 100, rates }
    }

    /// The name in alerts and status. Default: made of the target, such as `availability 99.5 %`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Alerts only with at least this many calls in the long window: a handful says little. Default: 100.
    pub fn min_calls(mut self, calls: u64) -> Self {
        self.min_calls = calls;
        self
    }

    /// How long the budget must last: from 1 minute to 90 days. Default: 30 days.
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// Which rates are too fast. Default: [`BurnRate::WORKBOOK`].
    pub fn burn_rates(mut self, rates: impl IntoIterator<Item = BurnRate>) -> Self {
        self.rates = rates.into_iter().collect();
        self
    }

    /// The error budget: which share of the calls may be bad.
    pub(super) fn budget(&self) -> f64 {
        1.0 - self.target
    }

    pub(super) fn check(&self) -> Result<(), InvalidConfig> {
        if !(self.target > 0.0 && self.target < 1.0) {
            return Err(InvalidConfig::new(format!(
                "an objective of {} can't be met or missed; a target is a share between 0 and 1, \
                 as 0.995",
                self.target
            )));
        }
        if let Some(rate) = self.rates.iter().find(|rate| rate.short > rate.long) {
            return Err(InvalidConfig::new(format!(
                "a burn rate over {:?} and {:?}: the short window is longer than the long one",
                rate.long, rate.short
            )));
        }
        // The period is a window too, and is checked as one.
        let rates = self.rates.iter().map(|rate| self.rule(rate));
        rates.chain([self.rule(&self.whole())]).try_for_each(|rule| rule.check())
    }

    /// Returns how it does, from what was counted in the period.
    #[allow(clippy::cast_precision_loss)] // past 2^53 calls a share is still a share
    pub(super) fn status(&self, CallCounts { calls, bad }: CallCounts) -> Objective {
        let share = if calls == 0 { 0.0 } else { bad as f64 / calls as f64 };
        let budget_left = 1.0 - share / self.budget();
        Objective { name: self.name.clone(), target: self.target, calls, bad, budget_left }
    }

    fn whole(&self) -> BurnRate {
        let (long, short) = (self.period, self.period);
        BurnRate { factor: 0.0, long, short, severity: Severity::Info }
    }

    /// Its alerts as rules.
    pub(super) fn rules(&self) -> impl Iterator<Item = Rule> {
        let reachable = self.rates.iter().filter(|rate| !self.is_beyond_reach(rate));
        reachable.map(|rate| self.rule(rate))
    }

    /// Whether the rate isn't exceeded even if every call is bad.
    fn is_beyond_reach(&self, rate: &BurnRate) -> bool {
        rate.factor * self.budget() >= 1.0
    }

    fn rule(&self, rate: &BurnRate) -> Rule {
        // A rate that can't be exceeded is left out, not refused: give the check a limit that passes.
        let most = if self.is_beyond_reach(rate) { 1.0 } else { rate.factor };
        let condition = Condition::Measured(Limit {
            kind: AlertKind::BudgetBurn,
            label: self.name.clone(),
            measure: self.measure,
            unit: Unit::ShareOf(self.budget()),
            most,
            windows: vec![rate.long, rate.short],
            min_calls: self.min_calls,
        });
        Rule { condition, severity: rate.severity, hold: Duration::ZERO }
    }
}
