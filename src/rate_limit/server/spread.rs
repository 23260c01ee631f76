use crate::rate_limit::Quota;
use crate::rate_limit::meter::{Pace, Rate};

/// Such a part of a limit that is spread passes at once.
const PART: u32 = 10;

/// How a told rate is spread over its window, if it is lower than what is configured: calls would
/// else use it up at once, and all that come after them wait for the window's end.
pub(super) fn pace(told: Rate, configured: Rate) -> Option<Pace> {
    // Two fractions, multiplied crosswise. What is told is kept for a hundredth longer.
    let window = configured.window.as_nanos();
    let own = window.saturating_add(window / 100).saturating_mul(told.limit.into());
    let lower = own < told.window.as_nanos().saturating_mul(configured.limit.into());
    let quota = Quota::new(told.limit, told.window);
    lower.then(|| Pace::new(&quota, told.limit.div_ceil(PART)))
}
