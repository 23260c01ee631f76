//! `retry-after` and its siblings in milliseconds.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

use super::value::{http_date, millis, plausible, seconds, text, until};

/// If several headers have a known value, the most precise one counts.
pub(super) fn parse(headers: &HeaderMap) -> Option<Duration> {
    longest(headers, "retry-after-ms", millis)
        .or_else(|| longest(headers, "x-ms-retry-after-ms", millis))
        .or_else(|| {
            longest(headers, RETRY_AFTER.as_str(), |text| {
                seconds(text).or_else(|| until(http_date(text)?, headers))
            })
        })
}

/// Returns the longest wait that a header asks for. Proxies on the way may have added values, and the
/// longest is too early for none of them.
fn longest(
    headers: &HeaderMap,
    name: &str,
    read: impl Fn(&str) -> Option<Duration>,
) -> Option<Duration> {
    let waits = headers.get_all(name).iter().filter_map(|value| read(text(value)?));
    waits.filter_map(plausible).max()
}
