//! Rules: which conditions raise an alert, and with which severity.

mod counters;
mod definition;
mod matcher;
mod meter;
mod slo;

pub use self::definition::Rule;
pub(super) use self::definition::percent;
pub(super) use self::matcher::RuleMatcher;
pub(super) use self::meter::{CallStart, Meter};
pub use self::slo::{BurnRate, Objective, Slo};
