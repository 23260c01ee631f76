use std::sync::Arc;
use std::time::SystemTime;

use super::rule::{Facts, Sighting};
use super::{AlertKind, Severity};
use crate::classify::Cause;

/// One alert, as sinks and the history get it.
///
/// It is made of names that you gave, numbers and kinds of failure: never an error's text, a
/// header, a URL or a body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alert {
    /// What it is about.
    pub kind: AlertKind,
    /// How bad it is; [`Severity::Info`] if it is resolved.
    pub severity: Severity,
    /// Whether what it is about is over.
    pub resolved: bool,
    /// The same for every alert about the same thing, resolved or not; at most 255 bytes.
    pub key: String,
    /// What happened, in a sentence.
    pub message: String,
    /// Whose alert it is: [`service`](super::AlertsBuilder::service).
    pub service: Arc<str>,
    /// The region, where it is about one.
    pub region: Option<String>,
    /// The circuit, where it is about one.
    pub circuit: Option<String>,
    /// The rate limiter, where it is about one.
    pub limiter: Option<String>,
    /// What kinds of failure led to it.
    pub causes: Vec<Cause>,
    /// How often the call was sent again, where that is known.
    pub retries: Option<u32>,
    /// When.
    pub at: SystemTime,
}

/// The longest key that PagerDuty takes.
const LONGEST_KEY: usize = 255;

impl Alert {
    pub(super) fn new(
        service: &Arc<str>,
        seen: &Sighting<'_>,
        resolved: bool,
        at: SystemTime,
    ) -> Self {
        let about = |kind| (seen.kind == kind).then(|| seen.label.to_owned());
        Self {
            kind: seen.kind,
            severity: if resolved { Severity::Info } else { seen.severity },
            resolved,
            key: key(service, seen),
            message: if resolved { ended(seen) } else { begun(seen) },
            service: Arc::clone(service),
            region: about(AlertKind::RegionLost),
            circuit: about(AlertKind::CircuitOpen),
            limiter: about(AlertKind::RateLimited),
            causes: seen.facts.cause.into_iter().collect(),
            retries: seen.facts.retries,
            at,
        }
    }
}

fn begun(seen: &Sighting<'_>) -> String {
    let label = seen.label;
    let Facts { cause, retries } = seen.facts;
    let cause = cause.unwrap_or(Cause::Unknown);
    match (seen.kind, retries) {
        (AlertKind::Timeout, Some(1)) => "no answer in time after 1 retry".to_owned(),
        (AlertKind::Timeout, Some(retries)) => format!("no answer in time after {retries} retries"),
        (AlertKind::Timeout, None) => "no answer in time".to_owned(),
        (AlertKind::CallFailed, _) => format!("a call failed: {cause}"),
        (AlertKind::CircuitOpen, _) => format!("circuit {label} opened: {cause}"),
        (AlertKind::RegionLost, _) => format!("region {label} is lost: {cause}"),
        (AlertKind::AllRegionsLost, _) => "no region is healthy".to_owned(),
        (AlertKind::CredentialRejected, _) => format!("the credential was refused: {cause}"),
        (AlertKind::QuotaExhausted, _) => format!("the quota is spent: {cause}"),
        (AlertKind::RateLimited, _) => format!("the upstream asked limiter {label} for a pause"),
    }
}

fn ended(seen: &Sighting<'_>) -> String {
    let label = seen.label;
    match seen.kind {
        AlertKind::Timeout => "no more calls without an answer in time".to_owned(),
        AlertKind::CallFailed => {
            format!("no more calls fail so: {}", seen.facts.cause.unwrap_or(Cause::Unknown))
        }
        AlertKind::CircuitOpen => format!("circuit {label} closed"),
        AlertKind::RegionLost => format!("region {label} is back"),
        AlertKind::AllRegionsLost => "a region is healthy again".to_owned(),
        AlertKind::CredentialRejected => "the credential isn't refused any more".to_owned(),
        AlertKind::QuotaExhausted => "no more calls fail for a spent quota".to_owned(),
        AlertKind::RateLimited => format!("limiter {label} was asked for no more pauses"),
    }
}

/// A long key keeps what fits of its start, and a digest of all of it.
fn key(service: &str, seen: &Sighting<'_>) -> String {
    let mut key = format!("{service}/{}", seen.kind);
    if seen.kind == AlertKind::CallFailed {
        let cause = seen.facts.cause.unwrap_or(Cause::Unknown);
        key = format!("{key}/{cause}");
    } else if !seen.label.is_empty() {
        key = format!("{key}/{}", seen.label);
    }
    if key.len() > LONGEST_KEY {
        let digest = format!("#{:016x}", fnv(key.as_bytes()));
        let most = LONGEST_KEY - digest.len();
        key.truncate((0..=most).rfind(|at| key.is_char_boundary(*at)).unwrap_or_default());
        key += &digest;
    }
    key
}

/// FNV-1a: the same in every build and process, as a key must be.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
