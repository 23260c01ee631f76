//! `retry-after` and its siblings in milliseconds.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use crate::time;

/// Longer than this is a mistake or a sentinel ("never"), not a wait.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The more precise header wins where a server sends several.
pub(super) fn parse(headers: &HeaderMap) -> Option<Duration> {
    let wait = ["retry-after-ms", "x-ms-retry-after-ms"]
        .into_iter()
        .find_map(|name| number(text(headers, name)?).map(|millis| millis / 1000.0))
        .or_else(|| number(headers.get(RETRY_AFTER)?.to_str().ok()?));
    match wait {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => until(headers),
    }
    .filter(|wait| !wait.is_zero() && *wait <= LONGEST)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A decimal number without sign or exponent: what `f64::from_str` takes and a
/// header never means (`inf`, `NaN`, `1e9`) is malformed.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { text.parse().ok() } else { None }
}

/// The wait until an HTTP date, by the server's own clock where it tells it.
fn until(headers: &HeaderMap) -> Option<Duration> {
    let date = |name| httpdate::parse_http_date(headers.get(name)?.to_str().ok()?.trim()).ok();
    let then: SystemTime = date(RETRY_AFTER)?;
    then.duration_since(date(DATE).unwrap_or_else(time::wall_now)).ok()
}
