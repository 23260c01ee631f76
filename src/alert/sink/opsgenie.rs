use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use serde_json::json;

use super::{Secret, Sink, check, context, fit, post};
use crate::error::{BoxError, InvalidConfig};
use crate::event::{Alert, Severity};

/// Opsgenie, through its Alert API: an alert creates one there, and its end closes that. The alias is
/// [`Alert::key`].
///
/// What is critical has priority P1, a warning P3, the rest P5. If an alert gets worse, the one that is
/// open there keeps its priority and message. Give what must wake somebody a sink of its own, with
/// [`Severity::Critical`] as the least.
#[derive(Clone, Debug)]
pub struct Opsgenie {
    base: Secret,
    key: Secret,
}

/// What the API takes at most, in characters.
const MESSAGE: usize = 130;
const ENTITY: usize = 512;
const SOURCE: usize = 100;
const DESCRIPTION: usize = 15_000;
/// All details together have 8000, names included.
const DETAIL: usize = 1000;

impl Opsgenie {
    /// Creates alerts with this integration's API key, which is a secret, at
    /// `https://api.opsgenie.com`.
    #[must_use]
    pub fn new(api_key: impl Into<String>) -> Self {
        Self { base: Secret::new("https://api.opsgenie.com"), key: Secret::new(api_key) }
    }

    /// Sends to `/v2/alerts` at another base URL, such as `https://api.eu.opsgenie.com`.
    #[must_use]
    pub fn base_url(mut self, base: impl Into<String>) -> Self {
        self.base = Secret::new(base.into().trim_end_matches('/'));
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
}

impl Sink for Opsgenie {
    fn name(&self) -> &'static str {
        "opsgenie"
    }

    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
        let [alert] = alerts else {
            return Err("a request makes one alert".into());
        };
        let source = fit(&alert.service, SOURCE);
        let mut request = if alert.resolved {
            let url = format!("{}/{}/close?identifierType=alias", self.url(), encode(&alert.key));
            post(&url, &json!({ "source": source, "note": fit(&alert.message, DESCRIPTION) }))?
        } else {
            let mut details = context(alert);
            // The API takes texts only.
            for detail in details.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
                let text = detail.as_str().map_or_else(|| detail.to_string(), str::to_owned);
                *detail = json!(fit(&text, DETAIL));
            }
            let body = json!({
                "message": fit(&format!("{}: {}", alert.kind, alert.message), MESSAGE),
                "alias": alert.key,
                "description": fit(&alert.message, DESCRIPTION),
                "details": details,
                "entity": fit(alert.region.as_deref().unwrap_or(&alert.service), ENTITY),
                "source": source,
                "tags": [alert.kind.name(), alert.severity.name()],
                "priority": match alert.severity {
                    Severity::Critical => "P1",
                    Severity::Warning => "P3",
                    Severity::Info => "P5",
                },
            });
            post(&self.url(), &body)?
        };
        request.headers_mut().insert(AUTHORIZATION, self.authorization()?);
        Ok(request)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        if self.key.expose().is_empty() || self.authorization().is_err() {
            return Err(InvalidConfig::new("Opsgenie needs an API key that fits in a header"));
        }
        check(&self.url(), "Opsgenie")
    }
}

/// Escapes a segment of a path: everything except what RFC 3986 calls unreserved.
fn encode(segment: &str) -> String {
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
