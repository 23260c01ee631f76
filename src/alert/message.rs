use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::lifecycle::Notice;
use super::observation::{Details, Reading};
use super::rule::percent;
use crate::event::{Alert, AlertKind};
use crate::verdict::Cause;

/// The longest key that PagerDuty takes.
const LONGEST_KEY: usize = 255;

impl Alert {
    pub(super) fn of_notice(
        service: &Arc<str>,
        notice: &Notice,
        since: SystemTime,
        at: SystemTime,
        repeats_in: Duration,
    ) -> Self {
        let about = |kinds: &[AlertKind]| {
            kinds.contains(&notice.kind).then(|| notice.label.clone().into_string())
        };
        let region = notice.region.map(str::to_owned);
        Self {
            kind: notice.kind,
            severity: notice.severity,
            previous_severity: notice.was,
            resolved: notice.resolved,
            key: key(service, notice),
            message: if notice.resolved { ended(notice) } else { begun(notice) },
            service: Arc::clone(service),
            region: about(&[AlertKind::RegionOut]).or(region),
            circuit: about(&[AlertKind::CircuitOpen]),
            limiter: about(&[AlertKind::RateLimited]),
            objective: about(&[AlertKind::BudgetBurn, AlertKind::SlowCalls]),
            causes: notice.details.cause.into_iter().collect(),
            retries: notice.details.retries,
            since,
            at,
            repeat_interval: repeats_in,
        }
    }
}

fn begun(notice: &Notice) -> String {
    let label = &notice.label;
    let Details { cause, retries, reading } = notice.details;
    let cause = cause.unwrap_or(Cause::Unknown);
    let unknown = Reading { value: 0.0, limit: 0.0, over: Duration::ZERO };
    let Reading { value, limit, over } = reading.unwrap_or(unknown);
    match (notice.kind, retries) {
        (AlertKind::Timeout, Some(1)) => "no answer in time after 1 retry".to_owned(),
        (AlertKind::Timeout, Some(retries)) => format!("no answer in time after {retries} retries"),
        (AlertKind::Timeout, None) => "no answer in time".to_owned(),
        (AlertKind::CallFailed, _) => format!("a call failed: {cause}"),
        (AlertKind::CircuitOpen, _) => format!("circuit {label} opened: {cause}"),
        (AlertKind::RegionOut, _) => format!("region {label} is lost: {cause}"),
        (AlertKind::AllRegionsOut, _) => "no region is healthy".to_owned(),
        (AlertKind::CredentialRejected, _) => format!("the credential was refused: {cause}"),
        (AlertKind::QuotaExhausted, _) => format!("the quota is spent: {cause}"),
        (AlertKind::RateLimited, _) => format!("the upstream asked limiter {label} for a pause"),
        (AlertKind::ErrorRatio, _) => {
            let (value, limit) = (percent(value), percent(limit));
            format!("{value} % of the calls failed in {}, more than {limit} %", said(over))
        }
        (AlertKind::SlowCalls, _) => {
            let (value, limit) = (percent(value), percent(limit));
            let over = said(over);
            format!(
                "{value} % of the calls were slower than {label} in {over}, more than {limit} %"
            )
        }
        (AlertKind::CallsHanging, _) if value > 1.0 => {
            format!("{value} calls have had no answer for too long")
        }
        (AlertKind::CallsHanging, _) => "a call has had no answer for too long".to_owned(),
        (AlertKind::RetrySpend, _) => {
            format!("retries cost {value:.2} in {}, more than {limit:.2}", said(over))
        }
        (AlertKind::BudgetBurn, _) => format!(
            "{label}: the error budget is spent {value:.1} times too fast over {}, more than {limit}",
            said(over)
        ),
    }
}

fn ended(notice: &Notice) -> String {
    let label = &notice.label;
    match notice.kind {
        AlertKind::Timeout => "no more calls without an answer in time".to_owned(),
        AlertKind::CallFailed => {
            format!("no more calls fail so: {}", notice.details.cause.unwrap_or(Cause::Unknown))
        }
        AlertKind::CircuitOpen => format!("circuit {label} closed"),
        AlertKind::RegionOut => format!("region {label} isn't lost any more"),
        AlertKind::AllRegionsOut => "a region is healthy again".to_owned(),
        AlertKind::CredentialRejected => "the credential isn't refused any more".to_owned(),
        AlertKind::QuotaExhausted => "no more calls fail for a spent quota".to_owned(),
        AlertKind::RateLimited => format!("limiter {label} was asked for no more pauses"),
        AlertKind::ErrorRatio => "few enough calls fail again".to_owned(),
        AlertKind::SlowCalls => format!("calls keep to {label} again"),
        AlertKind::CallsHanging => "no call hangs any more".to_owned(),
        AlertKind::RetrySpend => "retries cost little enough again".to_owned(),
        AlertKind::BudgetBurn => format!("{label}: the error budget lasts again"),
    }
}

/// A span of time in the largest unit that it is a whole number of.
fn said(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds > 0 && seconds % 86_400 == 0 => format!("{} d", seconds / 86_400),
        seconds if seconds > 0 && seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds if seconds > 0 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        _ => format!("{span:?}"),
    }
}

/// The alert's key. A long one is cut, and ends with a digest of the whole.
fn key(service: &str, notice: &Notice) -> String {
    let mut key = format!("{service}/{}", notice.kind);
    if notice.kind == AlertKind::CallFailed {
        let cause = notice.details.cause.unwrap_or(Cause::Unknown);
        key = format!("{key}/{cause}");
    } else if !notice.label.is_empty() {
        key = format!("{key}/{}", notice.label);
    }
    if key.len() > LONGEST_KEY {
        let digest = format!("#{:016x}", fnv(key.as_bytes()));
        let most = LONGEST_KEY - digest.len();
        key.truncate((0..=most).rfind(|at| key.is_char_boundary(*at)).unwrap_or_default());
        key += &digest;
    }
    key
}

/// FNV-1a. Keys must be the same in every build and process, which std's hashers don't promise.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
