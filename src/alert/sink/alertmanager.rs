use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::{Secret, Sink, check, context, fit, post, rfc3339};
use crate::error::{BoxError, InvalidConfig};
use crate::event::{Alert, AlertKind, Severity};

/// Prometheus Alertmanager, through its API v2. It groups, mutes and routes the alerts of several
/// programs.
///
/// Labels are `alertname` (the kind), `severity`, `service`, and `region`, `circuit`, `limiter`,
/// `objective` and `cause` where it is about one. If the program ends first, an alert lasts there for
/// twice the [repeat interval](super::super::AlertsBuilder::repeat_interval). When its severity changes, the
/// alert of the former severity ends there.
#[derive(Clone, Debug)]
pub struct Alertmanager {
    base: Secret,
}

/// Of our choice: Alertmanager documents no limits, but labels are meant to be short.
const LABEL: usize = 1024;
const ANNOTATION: usize = 4096;
const GROUP: usize = 64;

impl Alertmanager {
    /// Posts to `/api/v2/alerts` at this base URL, such as `http://alertmanager:9093`.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self { base: Secret::new(base_url.into().trim_end_matches('/')) }
    }

    fn url(&self) -> String {
        format!("{}/api/v2/alerts", self.base.expose())
    }
}

/// What notify an alert from others. No label is empty: an empty one counts as missing.
pub(super) fn labels(alert: &Alert, severity: Severity) -> Value {
    let mut labels = json!({
        "alertname": alert.kind.name(),
        "severity": severity.name(),
        "service": fit(&alert.service, LABEL),
    });
    let cause = alert.causes.first().filter(|_| alert.kind == AlertKind::CallFailed);
    for (name, value) in [
        ("region", alert.region.clone()),
        ("circuit", alert.circuit.clone()),
        ("limiter", alert.limiter.clone()),
        ("objective", alert.objective.clone()),
        ("cause", cause.map(ToString::to_string)),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            labels[name] = json!(fit(&value, LABEL));
        }
    }
    labels
}

pub(super) fn annotations(alert: &Alert) -> Value {
    json!({
        "summary": fit(&alert.message, ANNOTATION),
        "description": fit(&context(alert).to_string(), ANNOTATION),
    })
}

/// When it ended, or until when it lasts if nothing more is notified.
pub(super) fn ends_at(alert: &Alert) -> String {
    const FAR: Duration = Duration::from_secs(365 * 86_400);
    let lasts = alert.repeat_interval.saturating_mul(2).min(FAR);
    rfc3339(if alert.resolved { alert.at } else { alert.at + lasts })
}

fn entries(alert: &Alert) -> impl Iterator<Item = Value> {
    let entry = move |severity, ends_at| {
        json!({
            "labels": labels(alert, severity),
            "annotations": annotations(alert),
            "startsAt": rfc3339(alert.since),
            "endsAt": ends_at,
        })
    };
    let was = alert.previous_severity.map(|was| entry(was, rfc3339(alert.at)));
    [entry(alert.severity, ends_at(alert))].into_iter().chain(was)
}

impl Sink for Alertmanager {
    fn name(&self) -> &'static str {
        "alertmanager"
    }

    fn group_size(&self) -> usize {
        GROUP
    }

    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
        let body: Value = alerts.iter().flat_map(|alert| entries(alert)).collect();
        post(&self.url(), &body)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        check(&self.url(), "Alertmanager")
    }
}
