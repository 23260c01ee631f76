//! Where alerts go: alerts as an HTTP request.

mod alertmanager;
mod calendar;
mod opsgenie;
mod pager_duty;
mod secret;
mod slack;
mod teams;
mod text;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

pub use self::alertmanager::Alertmanager;
pub use self::opsgenie::Opsgenie;
pub use self::pager_duty::PagerDuty;
pub use self::secret::Secret;
pub use self::slack::Slack;
pub use self::teams::Teams;
pub use self::webhook::Webhook;
use crate::error::{BoxError, InvalidConfig};
use crate::event::{Alert, Severity};

/// Makes the HTTP request that notify alerts to a service.
///
/// The service accepted the alerts if it answers with 2xx. A sink is called in a task of its own: if it
/// panics, only the alerts of that request are lost.
///
/// ```
/// use std::sync::Arc;
///
/// use bytes::Bytes;
/// use http::Request;
/// use tower_upstream::alert::{Alert, Sink};
/// use tower_upstream::{BoxError, InvalidConfig};
///
/// /// Posts a line for each alert.
/// struct Plain {
///     url: String,
/// }
///
/// impl Sink for Plain {
///     fn name(&self) -> &'static str {
///         "plain"
///     }
///
///     fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
///         let line = |alert: &Arc<Alert>| format!("{}: {}\n", alert.kind, alert.message);
///         let lines: String = alerts.iter().map(line).collect();
///         Ok(Request::post(&self.url).body(lines.into())?)
///     }
///
///     fn group_size(&self) -> usize {
///         20
///     }
///
///     fn check(&self) -> Result<(), InvalidConfig> {
///         let absolute = self.url.parse::<http::Uri>().is_ok_and(|url| url.scheme().is_some());
///         absolute.then_some(()).ok_or_else(|| InvalidConfig::new("`Plain` needs an absolute URL"))
///     }
/// }
/// # assert!(Plain { url: "https://alerts.example.com/".to_owned() }.check().is_ok());
/// # assert!(Plain { url: "alerts".to_owned() }.check().is_err());
/// ```
pub trait Sink: Send + Sync + 'static {
    /// The sink's name in events.
    fn name(&self) -> &'static str;

    /// The request that notify these alerts. They are at least one and at most
    /// [`group_size`](Self::group_size), all of one kind, and all begun or all over.
    ///
    /// # Errors
    ///
    /// If no request can be made of them: the alerts count as failed.
    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError>;

    /// How many alerts of one kind one [request](Self::request) can emit. Default: 1.
    fn group_size(&self) -> usize {
        1
    }

    /// How long to leave between two requests. What comes sooner waits, and is coalesced. Default: 0.
    fn pause(&self) -> Duration {
        Duration::ZERO
    }

    /// Checks once, when the alerts are built, that the sink can work. Default: it can.
    ///
    /// # Errors
    ///
    /// If it can't. The message must show no secret.
    fn check(&self) -> Result<(), InvalidConfig> {
        Ok(())
    }
}

/// A `POST` of JSON. An error doesn't show the URL.
fn post(url: &str, body: &Value) -> Result<Request<Bytes>, BoxError> {
    let request = Request::post(url).header(CONTENT_TYPE, "application/json");
    Ok(request.body(serde_json::to_vec(body)?.into())?)
}

/// Checks that requests can be made for this URL.
fn check(url: &str, whose: &str) -> Result<(), InvalidConfig> {
    let absolute =
        |uri: http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    match url.parse().map(absolute) {
        Ok(true) => Ok(()),
        // The URL isn't repeated: it is a secret.
        _ => Err(InvalidConfig::new(format!(
            "the URL of {whose} must begin with https:// and a host"
        ))),
    }
}

/// What is known about an alert besides its message.
fn context(alert: &Alert) -> Value {
    let causes: Vec<String> = alert.causes.iter().map(ToString::to_string).collect();
    let mut context = json!({ "region": alert.region, "failures": causes });
    let names =
        [("circuit", &alert.circuit), ("limiter", &alert.limiter), ("objective", &alert.objective)];
    for (what, name) in names.into_iter().filter(|(_, name)| name.is_some()) {
        context[what] = json!(name);
    }
    if let Some(retries) = alert.retries {
        context["retry_count"] = json!(retries);
    }
    context
}

/// The severity to show where nothing else shows that the alert is over.
fn shown(alert: &Alert) -> Severity {
    if alert.resolved { Severity::Info } else { alert.severity }
}

/// The sign of a severity.
fn icon(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "🔴",
        Severity::Warning => "🟡",
        Severity::Info => "ℹ️",
    }
}

/// The severity of a message: that of its worst alert.
fn worst(alerts: &[Arc<Alert>]) -> Severity {
    alerts.iter().map(|alert| shown(alert)).max().unwrap_or(Severity::Info)
}

#[cfg(test)]
pub(super) mod tests;
