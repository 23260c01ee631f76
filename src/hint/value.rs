//! What the values of hints are written in.

use std::time::{Duration, SystemTime};

use http::header::DATE;
use http::{HeaderMap, HeaderValue};

use crate::time;

/// Shorter than a timer's tick is as good as zero.
const SHORTEST: Duration = Duration::from_millis(1);

/// Longer than this is a mistake or a sentinel ("never"), not a wait.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// A wait that a server can have meant.
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

/// How many; of a fraction, how many whole ones. The largest number of a type
/// is how programs write *unlimited*.
pub(super) fn count(text: &str) -> Option<u64> {
    const UNLIMITED: [u64; 4] = [i32::MAX as u64, u32::MAX as u64, i64::MAX as u64, u64::MAX];
    decimal(text).map(|(whole, _)| whole).filter(|whole| !UNLIMITED.contains(whole))
}

/// The whole and the billionths of a decimal number without sign or exponent:
/// what `f64::from_str` takes and a header never means (`inf`, `NaN`, `1e9`)
/// is malformed.
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

/// An HTTP date, in any of its three forms.
pub(super) fn http_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// The wait until then, by the server's own clock where it tells it.
pub(super) fn until(then: SystemTime, headers: &HeaderMap) -> Option<Duration> {
    let now = headers.get(DATE).and_then(text).and_then(http_date);
    then.duration_since(now.unwrap_or_else(time::wall_now)).ok()
}
