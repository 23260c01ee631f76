use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::alertmanager::{annotations, ends_at, labels};
use super::{Secret, Sink, check, post, rfc3339};
use crate::error::{BoxError, InvalidConfig};
use crate::event::Alert;

/// A webhook of your own, or of any service that takes those of Prometheus Alertmanager. The JSON is that
/// of Alertmanager's `webhook_config`, version 4.
///
/// `fingerprint` is [`Alert::key`], the labels are those of [`Alertmanager`](super::Alertmanager).
/// To send a header, such as a credential, put a layer around the HTTP service.
#[derive(Clone, Debug)]
pub struct Webhook {
    url: Secret,
}

const GROUP: usize = 64;

impl Webhook {
    /// Posts to this URL, which is kept as a secret.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: Secret::new(url) }
    }
}

fn status(resolved: bool) -> &'static str {
    if resolved { "resolved" } else { "firing" }
}

fn entry(alert: &Alert) -> Value {
    json!({
        "status": status(alert.resolved),
        "labels": labels(alert, alert.severity),
        "annotations": annotations(alert),
        "startsAt": rfc3339(alert.since),
        "endsAt": ends_at(alert),
        "generatorURL": "",
        "fingerprint": alert.key,
    })
}

impl Sink for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn group_size(&self) -> usize {
        GROUP
    }

    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
        let first = alerts.first().ok_or("no alert to notify")?;
        let group = json!({ "alertname": first.kind.name(), "service": &*first.service });
        let entries: Vec<_> = alerts.iter().map(|alert| entry(alert)).collect();
        let body = json!({
            "version": "4",
            "groupKey": format!("{}/{}", first.service, first.kind),
            "truncatedAlerts": 0,
            "status": status(first.resolved),
            "receiver": env!("CARGO_PKG_NAME"),
            "groupLabels": group,
            "commonLabels": group,
            "commonAnnotations": {},
            "externalURL": "",
            "alerts": entries,
        });
        post(self.url.expose(), &body)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        check(self.url.expose(), "the webhook")
    }
}
