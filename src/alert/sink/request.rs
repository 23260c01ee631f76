use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use crate::error::{BoxError, InvalidConfig};
use crate::event::Alert;

/// A service that receives alerts: creates the HTTP request that sends them.
///
/// The service has accepted the alerts if it responds with 2xx. A sink is called in a task of its own: if
/// it panics, only the alerts of that request are lost.
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
///     fn name(&self) -> &str {
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
///         let is_absolute = self.url.parse::<http::Uri>().is_ok_and(|url| url.scheme().is_some());
///         is_absolute.then_some(()).ok_or_else(|| InvalidConfig::new("`Plain` needs an absolute URL"))
///     }
/// }
/// # assert!(Plain { url: "https://alerts.example.com/".to_owned() }.check().is_ok());
/// # assert!(Plain { url: "alerts".to_owned() }.check().is_err());
/// ```
pub trait Sink: Send + Sync + 'static {
    /// Returns the name in events.
    fn name(&self) -> &str;

    /// Creates the request that sends these alerts: at least one and at most
    /// [`group_size`](Self::group_size), all of one kind, and all raised or all resolved.
    ///
    /// # Errors
    ///
    /// If no request can be created: the alerts count as failed.
    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError>;

    /// Returns the maximum number of alerts in one [request](Self::request). Default: 1.
    fn group_size(&self) -> usize {
        1
    }

    /// Returns the minimum time between two requests. Meanwhile alerts wait and are coalesced. Default: 0.
    fn min_interval(&self) -> Duration {
        Duration::ZERO
    }

    /// Checks the configuration, once, when the alerts are built. Default: valid.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid. The message must not contain a secret.
    fn check(&self) -> Result<(), InvalidConfig> {
        Ok(())
    }
}

/// A text that is never printed, such as a webhook's URL or a routing key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Creates a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Returns the text, to send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Creates a base URL, without a slash at its end.
    pub(super) fn base_url(url: impl Into<String>) -> Self {
        Self::new(url.into().trim_end_matches('/'))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Creates a `POST` of JSON. Its error does not contain the URL.
pub(super) fn post(url: &str, body: &Value) -> Result<Request<Bytes>, BoxError> {
    let request = Request::post(url).header(CONTENT_TYPE, "application/json");
    Ok(request.body(serde_json::to_vec(body)?.into())?)
}

/// Checks that requests to this URL can be created. The error does not contain it: it is a secret.
pub(super) fn check_url(url: &str, owner: &str) -> Result<(), InvalidConfig> {
    let is_absolute =
        |uri: http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    match url.parse().map(is_absolute) {
        Ok(true) => Ok(()),
        _ => Err(InvalidConfig::new(format!(
            "the URL of {owner} is invalid; it needs a scheme (https://) and a host"
        ))),
    }
}
