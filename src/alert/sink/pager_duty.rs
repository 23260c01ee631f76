use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::json;

use super::{Secret, Sink, check, context, fit, post, rfc3339};
use crate::error::{BoxError, InvalidConfig};
use crate::event::Alert;

/// `PagerDuty`, through its Events API v2.
///
/// An alert triggers an incident, and its end resolves it, by [`Alert::key`].
#[derive(Clone, Debug)]
pub struct PagerDuty {
    base: Secret,
    routing_key: Secret,
}

/// What an event holds at most, in characters.
const SUMMARY: usize = 1024;
/// Of our choice: `PagerDuty` documents only that an event has at most 512 kB.
const DETAIL: usize = 4096;

impl PagerDuty {
    /// Sends to the integration of this routing key, which is a secret, at
    /// `https://events.pagerduty.com`.
    #[must_use]
    pub fn new(routing_key: impl Into<String>) -> Self {
        let base = Secret::new("https://events.pagerduty.com");
        Self { base, routing_key: Secret::new(routing_key) }
    }

    /// Sends to `/v2/enqueue` at another base URL, such as `https://events.eu.pagerduty.com`.
    #[must_use]
    pub fn base_url(mut self, base: impl Into<String>) -> Self {
        self.base = Secret::new(base.into().trim_end_matches('/'));
        self
    }

    fn url(&self) -> String {
        format!("{}/v2/enqueue", self.base.expose())
    }
}

impl Sink for PagerDuty {
    fn name(&self) -> &'static str {
        "pagerduty"
    }

    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
        let [alert] = alerts else {
            return Err("an event makes one alert".into());
        };
        let mut body = json!({
            "routing_key": self.routing_key.expose(),
            "event_action": if alert.resolved { "resolve" } else { "trigger" },
            "dedup_key": alert.key,
        });
        if !alert.resolved {
            let mut details = context(alert);
            details["message"] = json!(alert.message);
            for detail in details.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
                if let Some(text) = detail.as_str() {
                    *detail = json!(fit(text, DETAIL));
                }
            }
            body["payload"] = json!({
                "summary": fit(&format!("{}: {}", alert.kind, alert.message), SUMMARY),
                "severity": alert.severity.to_string(),
                "source": fit(&alert.service, SUMMARY),
                "timestamp": rfc3339(alert.at),
                "custom_details": details,
            });
        }
        post(&self.url(), &body)
    }

    /// An integration takes 120 events a minute.
    fn pause(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        if self.routing_key.expose().is_empty() {
            return Err(InvalidConfig::new("PagerDuty needs a routing key"));
        }
        check(&self.url(), "PagerDuty")
    }
}
