//! Reads when a limit is reset, in any of the formats that servers use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use jiff::{Span, SpanRelativeTo, Timestamp};

use super::super::value::{http_date, plausible, seconds, until};

pub(super) fn read(text: &str, headers: &HeaderMap) -> Option<Duration> {
    if let Some(number) = seconds(text) {
        return of_number(number, headers);
    }
    // The format is recognised by its shape, since a parser that fails allocates its error.
    let wait = match text.as_bytes() {
        [_, _, _, _, b'-', ..] => until(rfc_3339(text)?, headers),
        [b'A'..=b'Z', ..] => until(http_date(text)?, headers),
        _ => duration(text),
    };
    wait.and_then(plausible)
}

/// Reads seconds from now, seconds since 1970 or milliseconds since 1970: the first of them that gives a
/// plausible wait. A number that is plausible as one of them is years off as another.
fn of_number(number: Duration, headers: &HeaderMap) -> Option<Duration> {
    let since_1970 = |number| until(UNIX_EPOCH.checked_add(number)?, headers).and_then(plausible);
    plausible(number).or_else(|| since_1970(number)).or_else(|| since_1970(number / 1000))
}

fn rfc_3339(text: &str) -> Option<SystemTime> {
    text.parse().ok().map(Timestamp::into)
}

/// Reads a duration as Go prints it: `6m0s`, `1d2h`, `12ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    length.try_into().ok()
}
