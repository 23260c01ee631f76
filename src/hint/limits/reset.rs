//! When a limit is back, in whichever way it is written.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use jiff::{Span, SpanRelativeTo, Timestamp};

use super::super::value::{http_date, plausible, seconds, until};

pub(super) fn read(text: &str, headers: &HeaderMap) -> Option<Duration> {
    if let Some(number) = seconds(text) {
        return of_number(number, headers);
    }
    // By its shape, as a parser that fails makes an error of it, on the heap.
    let wait = match text.as_bytes() {
        [_, _, _, _, b'-', ..] => until(rfc_3339(text)?, headers),
        [b'A'..=b'Z', ..] => until(http_date(text)?, headers),
        _ => duration(text),
    };
    wait.and_then(plausible)
}

/// Seconds from now, or since 1970, or milliseconds since 1970: the first that is a wait. What is
/// one of them is years away from the others.
fn of_number(number: Duration, headers: &HeaderMap) -> Option<Duration> {
    let since_1970 = |number| until(UNIX_EPOCH.checked_add(number)?, headers).and_then(plausible);
    plausible(number).or_else(|| since_1970(number)).or_else(|| since_1970(number / 1000))
}

fn rfc_3339(text: &str) -> Option<SystemTime> {
    text.parse().ok().map(Timestamp::into)
}

/// `6m0s`, `1d2h`, `12ms`: as Go prints them.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    length.try_into().ok()
}
