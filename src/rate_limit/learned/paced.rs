use crate::rate_limit::Quota;
use crate::rate_limit::meter::{Pace, Rate};

/// Of a limit that is paced, a tenth passes at once.
const PART: u32 = 10;

/// The pace that spreads a observed rate over its window, if that rate is lower than what is
/// configured. Otherwise calls would use it up at once, and all that come later would wait for the
/// window's end.
pub(super) fn pace(observed: Rate, configured: Rate) -> Option<Pace> {
    // Two fractions, compared by cross-multiplication. The observed window is kept a hundredth longer,
    // so the configured one counts as longer too.
    let window = configured.window.as_nanos();
    let own = window.saturating_add(window / 100).saturating_mul(observed.limit.into());
    let lower = own < observed.window.as_nanos().saturating_mul(configured.limit.into());
    let quota = Quota::new(observed.limit, observed.window);
    lower.then(|| Pace::new(&quota, observed.limit.div_ceil(PART)))
}
