//! Times as RFC 3339 writes them, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// `2026-11-22T04:51:07.250Z`. A time before 1970 is shown as 1970, and one that RFC 3339 has no
/// year for as the last that jiff knows.
pub(super) fn rfc3339(at: SystemTime) -> String {
    let at = Timestamp::try_from(at.max(UNIX_EPOCH)).unwrap_or(Timestamp::MAX);
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn milliseconds_are_always_shown_and_not_rounded_up() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999_999_999, "2000-02-28T23:59:59.999Z"),
            (1_735_689_600_001_000_000, "2025-01-01T00:00:00.001Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_nanos(nanos)), expected);
        }
    }

    #[test]
    fn a_time_out_of_reach_is_the_nearest_within() {
        let century = Duration::from_secs(100 * 365 * 86_400);
        for (at, expected) in [
            (UNIX_EPOCH - Duration::from_nanos(1), "1970-01-01T00:00:00.000Z"),
            (UNIX_EPOCH - 1000 * century, "1970-01-01T00:00:00.000Z"),
            (UNIX_EPOCH + 1000 * century, "9999-12-30T22:00:00.999Z"),
        ] {
            assert_eq!(rfc3339(at), expected);
        }
    }
}
