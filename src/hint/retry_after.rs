//! `retry-after` and its siblings in milliseconds.

use std::time::{Duration, SystemTime};

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};

use crate::time;

/// Longer than this is a mistake or a sentinel ("never"), not a wait.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The more precise header wins where a server sends several that mean something.
pub(super) fn parse(headers: &HeaderMap) -> Option<Duration> {
    longest(headers, "retry-after-ms", millis)
        .or_else(|| longest(headers, "x-ms-retry-after-ms", millis))
        .or_else(|| {
            longest(headers, RETRY_AFTER.as_str(), |text| {
                seconds(text).or_else(|| until(text, headers))
            })
        })
}

/// The wait that a header asks for: the longest, if proxies on the way added
/// theirs, as that comes too early for none of them.
fn longest(
    headers: &HeaderMap,
    name: &str,
    read: impl Fn(&str) -> Option<Duration>,
) -> Option<Duration> {
    let waits = headers.get_all(name).iter().filter_map(|value| read(text(value)?));
    waits.filter(|wait| !wait.is_zero() && *wait <= LONGEST).max()
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim)
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(number(text)?).ok()
}

fn millis(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(number(text)? / 1000.0).ok()
}

/// A decimal number without sign or exponent: what `f64::from_str` takes and a
/// header never means (`inf`, `NaN`, `1e9`) is malformed.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { text.parse().ok() } else { None }
}

/// The wait until an HTTP date, by the server's own clock where it tells it.
fn until(text: &str, headers: &HeaderMap) -> Option<Duration> {
    let then: SystemTime = httpdate::parse_http_date(text).ok()?;
    let now = headers.get(DATE).and_then(self::text);
    let now = now.and_then(|date| httpdate::parse_http_date(date).ok());
    then.duration_since(now.unwrap_or_else(time::wall_now)).ok()
}
