//! Times as RFC 3339 writes them, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-11-22T04:51:07.250Z`. What was before 1970 is shown as 1970.
pub(super) fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day, so many days after the first of 1970: Howard Hinnant's
/// `civil_from_days`, for days that aren't negative.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years begin in March, so that a leap day is a year's last; an era is 400 of them.
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_times() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (1_735_689_600_001, "2025-01-01T00:00:00.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_000, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_millis(millis)), expected);
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn agrees_with_httpdate_on_every_day() {
        for day in (0..80_000).map(|day| UNIX_EPOCH + Duration::from_secs(day * 86_400)) {
            let shown = httpdate::fmt_http_date(day);
            let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul"];
            let months = [&months[..], &["Aug", "Sep", "Oct", "Nov", "Dec"]].concat();
            let month = 1 + months.iter().position(|month| *month == &shown[8..11]).unwrap();
            let (year, day_of_month) = (&shown[12..16], &shown[5..7]);
            let expected = format!("{year}-{month:02}-{day_of_month}T00:00:00.000Z");
            assert_eq!(rfc3339(day), expected);
        }
    }
}
