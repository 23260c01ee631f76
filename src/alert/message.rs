use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::lifecycle::Notification;
use super::observation::Reading;
use super::rule::percent;
use crate::event::{Alert, AlertKind};
use crate::verdict::Cause;

/// The maximum length of a key that PagerDuty accepts.
const MAX_KEY: usize = 255;

/// Creates the alert of a notification. `since` is on the wall clock and `duration` before `at`.
pub(super) fn alert(
    service: &Arc<str>,
    notification: &Notification,
    at: SystemTime,
    duration: Duration,
    repeat_interval: Duration,
) -> Alert {
    let Notification { kind, label, region, facts, update, .. } = notification;
    let message = if update.resolved {
        resolved(notification, duration)
    } else {
        raised(notification, duration)
    };
    let mut alert = Alert::new(*kind, update.severity, message);
    let label = Some(label.clone().into_string());
    match kind {
        AlertKind::RegionOut => alert.region = label,
        AlertKind::CircuitOpen => alert.circuit = label,
        AlertKind::RateLimited => alert.limiter = label,
        AlertKind::BudgetBurn | AlertKind::SlowCalls => alert.objective = label,
        _ => {}
    }
    alert.region = alert.region.or(region.map(str::to_owned));
    alert.previous_severity = update.previous_severity;
    alert.resolved = update.resolved;
    alert.key = key(service, *kind, &notification.label, facts.cause);
    alert.service = Arc::clone(service);
    alert.causes = facts.cause.into_iter().collect();
    alert.retries = facts.retries;
    alert.since = at.checked_sub(duration).unwrap_or(at);
    alert.at = at;
    alert.repeat_interval = repeat_interval;
    alert
}

fn raised(notification: &Notification, duration: Duration) -> String {
    let Notification { kind, label, facts, calls, .. } = notification;
    let cause = facts.cause.unwrap_or(Cause::Unknown);
    let unknown = Reading { value: 0.0, limit: 0.0, window: Duration::ZERO };
    let Reading { value, limit, window } = facts.reading.unwrap_or(unknown);
    let window = human(window);
    let retry =
        facts.retry_after.map_or_else(String::new, |time| format!(", retry in {}", human(time)));
    let calls = match calls {
        0 | 1 => String::new(),
        calls => format!(", {calls} calls in {}", human(duration)),
    };
    match kind {
        AlertKind::Timeout => match facts.retries {
            Some(1) => format!("Call timed out: {cause} after 1 retry{calls}"),
            Some(retries) => format!("Call timed out: {cause} after {retries} retries{calls}"),
            None => format!("Call timed out: {cause}{calls}"),
        },
        AlertKind::CallFailed => format!("Call failed: {cause}{calls}"),
        AlertKind::CircuitOpen => match facts.reason {
            Some(reason) => format!("Circuit opened: {label}, {reason} ({cause}){retry}"),
            None => format!("Circuit opened: {label}, {cause}{retry}"),
        },
        AlertKind::RegionOut => format!("Region out: {label}, {cause}{retry}"),
        AlertKind::AllRegionsOut => "All regions out: no healthy region left".to_owned(),
        AlertKind::CredentialRejected => format!("Credential rejected: {cause}{calls}"),
        AlertKind::QuotaExhausted => format!("Quota exhausted: {cause}{calls}"),
        AlertKind::RateLimited => {
            format!("Rate limited: {label}, pause requested by the upstream{retry}")
        }
        AlertKind::ErrorRatio => {
            let (value, limit) = (percent(value), percent(limit));
            format!("Error ratio high: {value} % of calls failed in {window}, limit {limit} %")
        }
        AlertKind::SlowCalls => {
            let (value, limit) = (percent(value), percent(limit));
            format!("Calls slow: {value} % above {label} in {window}, limit {limit} %")
        }
        AlertKind::CallsHanging => format!("Calls hanging: {value} in flight for too long"),
        AlertKind::RetrySpend => {
            format!("Retry spend high: {value:.2} in {window}, limit {limit:.2}")
        }
        AlertKind::BudgetBurn => format!(
            "Error budget burning: {label}, burn rate {value:.1} over {window}, limit {limit}"
        ),
    }
}

fn resolved(notification: &Notification, duration: Duration) -> String {
    let Notification { kind, label, facts, .. } = notification;
    let condition = match kind {
        AlertKind::Timeout => "no more timeouts".to_owned(),
        AlertKind::CallFailed => {
            format!("no more calls failed with {}", facts.cause.unwrap_or(Cause::Unknown))
        }
        AlertKind::CircuitOpen => format!("circuit {label} closed"),
        AlertKind::RegionOut => format!("region {label} healthy"),
        AlertKind::AllRegionsOut => "at least one region healthy".to_owned(),
        AlertKind::CredentialRejected => "credential no longer rejected".to_owned(),
        AlertKind::QuotaExhausted => "quota no longer exhausted".to_owned(),
        AlertKind::RateLimited => format!("limiter {label} no longer paused"),
        AlertKind::ErrorRatio => "error ratio within limit".to_owned(),
        AlertKind::SlowCalls => format!("{label} within limit"),
        AlertKind::CallsHanging => "no calls hanging".to_owned(),
        AlertKind::RetrySpend => "retry spend within limit".to_owned(),
        AlertKind::BudgetBurn => format!("error budget of {label} no longer burning"),
    };
    format!("Resolved: {condition} after {}", human(duration))
}

/// Formats a duration in its two largest units, such as `2 m 10 s`.
fn human(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{} ms", duration.as_millis());
    }
    let seconds = duration.saturating_add(Duration::from_millis(500)).as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in units.iter().skip(first).take(2) {
        if rest / unit > 0 {
            parts.push(format!("{} {name}", rest / unit));
        }
        rest %= unit;
    }
    parts.join(" ")
}

/// Returns the key. A long one is cut and ends with a digest of the whole.
pub(super) fn key(service: &str, kind: AlertKind, label: &str, cause: Option<Cause>) -> String {
    let mut key = format!("{service}/{kind}");
    if kind == AlertKind::CallFailed {
        key = format!("{key}/{}", cause.unwrap_or(Cause::Unknown));
    } else if !label.is_empty() {
        key = format!("{key}/{label}");
    }
    if key.len() > MAX_KEY {
        let digest = format!("#{:016x}", fnv_1a(key.as_bytes()));
        let max = MAX_KEY - digest.len();
        key.truncate((0..=max).rfind(|at| key.is_char_boundary(*at)).unwrap_or_default());
        key += &digest;
    }
    key
}

/// FNV-1a. Keys must be the same in every build and process, which std's hashers don't guarantee.
fn fnv_1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn human_duration_has_two_largest_units() {
        for (duration, expected) in [
            (Duration::ZERO, "0 ms"),
            (Duration::from_millis(250), "250 ms"),
            (Duration::from_millis(29_700), "30 s"),
            (Duration::from_secs(130), "2 m 10 s"),
            (Duration::from_secs(300), "5 m"),
            (Duration::from_secs(3_605), "1 h"),
            (Duration::from_secs(3 * 86_400), "3 d"),
            (Duration::from_secs(86_400 + 7_200), "1 d 2 h"),
        ] {
            assert_eq!(human(duration), expected, "{duration:?}");
        }
        assert!(human(Duration::MAX).ends_with(" h"));
    }

    #[test]
    fn key_long_label_ends_with_digest() {
        let key = |label: &str| key("checkout", AlertKind::RegionOut, label, None);
        let long = "กรุงเทพ".repeat(50);
        assert_eq!(key("us"), "checkout/region_out/us");
        assert_ne!(key(&long), key(&format!("{long}1")));
        assert_eq!(key(&long), key(&long));
        assert!(key(&long).len() <= MAX_KEY);
    }
}
