use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::request::{Secret, Sink, check_url, post};
use super::text::{context_line, fit, rfc3339};
use crate::error::{BoxError, InvalidConfig};
use crate::event::{Alert, AlertKind, Severity};

/// Alertmanager documents no limits, but labels are meant to be short.
const MAX_LABEL: usize = 1024;
const MAX_ANNOTATION: usize = 4096;
const GROUP_SIZE: usize = 64;

/// Prometheus Alertmanager, through its API v2. It groups, mutes and routes the alerts of several
/// programs.
///
/// Labels are `alertname` (the kind), `severity`, `service`, and if known `region`, `circuit`, `limiter`,
/// `objective` and `cause`. If the program ends first, an alert lasts there for twice the
/// [repeat interval](crate::alert::AlertsBuilder::repeat_interval). If its severity changes, the alert of
/// the previous severity ends there.
#[derive(Clone, Debug)]
pub struct Alertmanager {
    base: Secret,
}

impl Alertmanager {
    /// Creates a sink for this base URL, such as `http://alertmanager:9093`.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self { base: Secret::base_url(base_url) }
    }

    fn url(&self) -> String {
        format!("{}/api/v2/alerts", self.base.expose())
    }
}

impl Sink for Alertmanager {
    fn name(&self) -> &'static str {
        "alertmanager"
    }

    fn group_size(&self) -> usize {
        GROUP_SIZE
    }

    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
        let entries = |alert: &Arc<Alert>| {
            let previous = alert.previous_severity;
            let previous = previous.map(|previous| entry(alert, previous, &rfc3339(alert.at)));
            [entry(alert, alert.severity, &ends_at(alert))].into_iter().chain(previous)
        };
        post(&self.url(), &alerts.iter().flat_map(entries).collect())
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        check_url(&self.url(), "Alertmanager")
    }
}

/// A webhook in the format of Alertmanager's `webhook_config`, version 4: your own, or of any service that
/// accepts those.
///
/// `fingerprint` is [`Alert::key`], the labels are those of [`Alertmanager`]. To send a header, such as a
/// credential, add a layer to the HTTP service.
#[derive(Clone, Debug)]
pub struct Webhook {
    url: Secret,
}

impl Webhook {
    /// Creates a sink for this URL, which is a secret.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: Secret::new(url) }
    }
}

impl Sink for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn group_size(&self) -> usize {
        GROUP_SIZE
    }

    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
        let first = alerts.first().ok_or("a request has at least one alert")?;
        let group = json!({ "alertname": first.kind.name(), "service": &*first.service });
        let status = if first.resolved { "resolved" } else { "firing" };
        let entry = |alert: &Arc<Alert>| {
            let mut entry = entry(alert, alert.severity, &ends_at(alert));
            entry["status"] = json!(status);
            entry["generatorURL"] = json!("");
            entry["fingerprint"] = json!(alert.key);
            entry
        };
        let body = json!({
            "version": "4",
            "groupKey": format!("{}/{}", first.service, first.kind),
            "truncatedAlerts": 0,
            "status": status,
            "receiver": env!("CARGO_PKG_NAME"),
            "groupLabels": group,
            "commonLabels": group,
            "commonAnnotations": {},
            "externalURL": "",
            "alerts": alerts.iter().map(entry).collect::<Value>(),
        });
        post(self.url.expose(), &body)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        check_url(self.url.expose(), "the webhook")
    }
}

fn entry(alert: &Alert, severity: Severity, ends_at: &str) -> Value {
    json!({
        "labels": labels(alert, severity),
        "annotations": {
            "summary": fit(&alert.message, MAX_ANNOTATION),
            "description": fit(&context_line(alert), MAX_ANNOTATION),
        },
        "startsAt": rfc3339(alert.since),
        "endsAt": ends_at,
    })
}

/// Returns the labels, which identify the alert. An empty label counts as missing.
fn labels(alert: &Alert, severity: Severity) -> Value {
    let cause = alert.causes.first().filter(|_| alert.kind == AlertKind::CallFailed);
    let labels = [
        ("alertname", Some(alert.kind.name().to_owned())),
        ("severity", Some(severity.name().to_owned())),
        ("service", Some(alert.service.to_string())),
        ("region", alert.region.clone()),
        ("circuit", alert.circuit.clone()),
        ("limiter", alert.limiter.clone()),
        ("objective", alert.objective.clone()),
        ("cause", cause.map(ToString::to_string)),
    ];
    let known = labels.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let known = known.filter(|(_, value)| !value.is_empty());
    known.map(|(name, value)| (name, fit(&value, MAX_LABEL))).collect()
}

/// Returns when it ended, or until when it lasts without another request.
fn ends_at(alert: &Alert) -> String {
    const MAX: Duration = Duration::from_secs(365 * 86_400);
    let duration = alert.repeat_interval.saturating_mul(2).min(MAX);
    rfc3339(if alert.resolved { alert.at } else { alert.at + duration })
}
