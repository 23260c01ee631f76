use crate::rate_limit::Quota;
use crate::rate_limit::meter::{Pace, Rate};

/// Of a limit that is spread, a tenth passes at once.
const PART: u32 = 10;

/// The pace that spreads a told rate over its window, if that rate is lower than what is
/// configured. Otherwise calls would use it up at once, and all that come later would wait for the
/// window's end.
pub(super) fn pace(told: Rate, configured: Rate) -> Option<Pace> {
    // Two fractions, compared by cross-multiplication. The told window is kept a hundredth longer,
    // so the configured one counts as longer too.
    let window = configured.window.as_nanos();
    let own = window.saturating_add(window / 100).saturating_mul(told.limit.into());
    let lower = own < told.window.as_nanos().saturating_mul(configured.limit.into());
    let quota = Quota::new(told.limit, told.window);
    lower.then(|| Pace::new(&quota, told.limit.div_ceil(PART)))
}
