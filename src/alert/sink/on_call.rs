use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use serde_json::json;

use super::request::{Secret, Sink, check_url, post};
use super::text::{details, fit, rfc3339};
use crate::error::{BoxError, InvalidConfig};
use crate::event::{Alert, Severity};

/// `PagerDuty`, through its Events API v2.
///
/// An alert triggers an incident and its end resolves it, by [`Alert::key`].
#[derive(Clone, Debug)]
pub struct PagerDuty {
    base: Secret,
    routing_key: Secret,
}

impl PagerDuty {
    /// The maximum length of a summary, in characters.
    const MAX_SUMMARY: usize = 1024;
    /// `PagerDuty` documents only that an event has at most 512 kB.
    const MAX_DETAIL: usize = 4096;

    /// Creates a sink for the integration of this routing key, which is a secret, at
    /// `https://events.pagerduty.com`.
    #[must_use]
    pub fn new(routing_key: impl Into<String>) -> Self {
        let base = Secret::new("https://events.pagerduty.com");
        Self { base, routing_key: Secret::new(routing_key) }
    }

    /// Sets another base URL, such as `https://events.eu.pagerduty.com`.
    #[must_use]
    pub fn base_url(mut self, base: impl Into<String>) -> Self {
        self.base = Secret::base_url(base);
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
        let alert = single(alerts)?;
        let mut body = json!({
            "routing_key": self.routing_key.expose(),
            "event_action": if alert.resolved { "resolve" } else { "trigger" },
            "dedup_key": alert.key,
        });
        if !alert.resolved {
            let mut details = details(alert, Self::MAX_DETAIL);
            details["message"] = json!(fit(&alert.message, Self::MAX_DETAIL));
            body["payload"] = json!({
                "summary": fit(&alert.message, Self::MAX_SUMMARY),
                "severity": alert.severity.name(),
                "source": fit(&alert.service, Self::MAX_SUMMARY),
                "timestamp": rfc3339(alert.at),
                "custom_details": details,
            });
        }
        post(&self.url(), &body)
    }

    /// An integration accepts 120 events a minute.
    fn min_interval(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        if self.routing_key.expose().is_empty() {
            return Err(InvalidConfig::new("PagerDuty needs a routing key"));
        }
        check_url(&self.url(), "PagerDuty")
    }
}

/// Opsgenie, through its Alert API: an alert creates one there, and its end closes it. The alias is
/// [`Alert::key`].
///
/// Critical alerts have priority P1, warnings P3, others P5. If an alert becomes more severe, the open one
/// keeps its priority and message: add a separate sink for [`Severity::Critical`] if those must page.
#[derive(Clone, Debug)]
pub struct Opsgenie {
    base: Secret,
    key: Secret,
}

impl Opsgenie {
    /// The maximum lengths of the API, in characters.
    const MAX_MESSAGE: usize = 130;
    const MAX_ENTITY: usize = 512;
    const MAX_SOURCE: usize = 100;
    const MAX_DESCRIPTION: usize = 15_000;
    /// All details together have 8000, names included.
    const MAX_DETAIL: usize = 1000;

    /// Creates a sink for the integration of this API key, which is a secret, at
    /// `https://api.opsgenie.com`.
    #[must_use]
    pub fn new(api_key: impl Into<String>) -> Self {
        Self { base: Secret::new("https://api.opsgenie.com"), key: Secret::new(api_key) }
    }

    /// Sets another base URL, such as `https://api.eu.opsgenie.com`.
    #[must_use]
    pub fn base_url(mut self, base: impl Into<String>) -> Self {
        self.base = Secret::base_url(base);
        self
    }

    fn authorization(&self) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(format!("GenieKey {}", self.key.expose()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn url(&self) -> String {
        format!("{}/v2/alerts", self.base.expose())
    }

    fn create(&self, alert: &Alert) -> Result<Request<Bytes>, BoxError> {
        let body = json!({
            "message": fit(&alert.message, Self::MAX_MESSAGE),
            "alias": alert.key,
            "description": fit(&alert.message, Self::MAX_DESCRIPTION),
            "details": details(alert, Self::MAX_DETAIL),
            "entity": fit(alert.region.as_deref().unwrap_or(&alert.service), Self::MAX_ENTITY),
            "source": fit(&alert.service, Self::MAX_SOURCE),
            "tags": [alert.kind.name(), alert.severity.name()],
            "priority": match alert.severity {
                Severity::Critical => "P1",
                Severity::Warning => "P3",
                Severity::Info => "P5",
            },
        });
        post(&self.url(), &body)
    }

    fn close(&self, alert: &Alert) -> Result<Request<Bytes>, BoxError> {
        let alias = percent_encode(&alert.key);
        let url = format!("{}/{alias}/close?identifierType=alias", self.url());
        let source = fit(&alert.service, Self::MAX_SOURCE);
        let note = fit(&alert.message, Self::MAX_DESCRIPTION);
        post(&url, &json!({ "source": source, "note": note }))
    }
}

impl Sink for Opsgenie {
    fn name(&self) -> &'static str {
        "opsgenie"
    }

    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
        let alert = single(alerts)?;
        let mut request = if alert.resolved { self.close(alert)? } else { self.create(alert)? };
        request.headers_mut().insert(AUTHORIZATION, self.authorization()?);
        Ok(request)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        if self.key.expose().is_empty() || self.authorization().is_err() {
            return Err(InvalidConfig::new(
                "Opsgenie needs an API key that is a valid header value",
            ));
        }
        check_url(&self.url(), "Opsgenie")
    }
}

fn single(alerts: &[Arc<Alert>]) -> Result<&Alert, BoxError> {
    match alerts {
        [alert] => Ok(alert),
        _ => Err("a request has exactly one alert".into()),
    }
}

/// Escapes a path segment: all bytes except those that RFC 3986 calls unreserved.
fn percent_encode(segment: &str) -> String {
    let mut out = String::new();
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
