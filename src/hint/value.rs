//! The formats in which the values of hints are written.

use std::time::{Duration, SystemTime};

use http::header::DATE;
use http::{HeaderMap, HeaderValue};

use crate::time;

/// A shorter wait is shorter than a timer's tick, and so the same as zero.
const SHORTEST: Duration = Duration::from_millis(1);

/// A longer wait is a mistake, or stands for "never".
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Returns the wait if a server can have meant it.
pub(super) fn plausible(wait: Duration) -> Option<Duration> {
    (SHORTEST..=LONGEST).contains(&wait).then_some(wait)
}

pub(super) fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(str::trim)
}

pub(super) fn seconds(text: &str) -> Option<Duration> {
    let (whole, billionths) = decimal(text)?;
    Some(Duration::new(whole, billionths))
}

/// A protobuf duration in JSON, such as `34.5s`.
#[cfg(feature = "peek")]
pub(crate) fn protobuf_duration(text: &str) -> Option<Duration> {
    plausible(seconds(text.strip_suffix('s')?)?)
}

pub(super) fn millis(text: &str) -> Option<Duration> {
    seconds(text).map(|thousandfold| thousandfold / 1000)
}

/// Reads a count, without its fraction. The largest number of an integer type means *unlimited*, and
/// is left out.
pub(super) fn count(text: &str) -> Option<u64> {
    const UNLIMITED: [u64; 4] = [i32::MAX as u64, u32::MAX as u64, i64::MAX as u64, u64::MAX];
    decimal(text).map(|(whole, _)| whole).filter(|whole| !UNLIMITED.contains(whole))
}

/// Returns the whole and the billionths of a decimal number without sign and exponent. `f64::from_str`
/// would also accept `inf`, `NaN` and `1e9`, which a header never means.
fn decimal(text: &str) -> Option<(u64, u32)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(part) || (whole.is_empty() && part.is_empty()) {
        return None;
    }
    let digits = part.bytes().chain(std::iter::repeat(b'0')).take(9);
    let billionths = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some((if whole.is_empty() { 0 } else { whole.parse().ok()? }, billionths))
}

/// Reads an HTTP date, in any of its three forms.
pub(super) fn http_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// Returns the wait until then, by the server's own clock if the response has a `Date`.
pub(super) fn until(then: SystemTime, headers: &HeaderMap) -> Option<Duration> {
    let now = headers.get(DATE).and_then(text).and_then(http_date);
    then.duration_since(now.unwrap_or_else(time::wall_now)).ok()
}
