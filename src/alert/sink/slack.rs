use bytes::Bytes;
use http::Request;
use serde_json::json;

use super::calendar::rfc3339;
use super::text::{fit, fit_slack};
use super::{Secret, Sink, check, context, post};
use crate::alert::{Alert, Severity};
use crate::error::{BoxError, InvalidConfig};

/// Slack, through an incoming webhook.
///
/// A message has a header `Alert: SEVERITY` and a section with message, time, service and
/// region. Slack cuts off whoever posts more than about once a second; its `Retry-After` is obeyed.
#[derive(Clone, Debug)]
pub struct Slack {
    url: Secret,
}

/// What Slack's blocks hold at most, in characters.
const TEXT: usize = 3000;
const HEADER: usize = 150;
const FIELD: usize = 2000;

impl Slack {
    /// Posts to this incoming webhook, `https://hooks.slack.com/services/..`. Its URL is a
    /// secret: whoever knows it can post.
    #[must_use]
    pub fn new(webhook_url: impl Into<String>) -> Self {
        Self { url: Secret::new(webhook_url) }
    }
}

impl Sink for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn request(&self, alert: &Alert) -> Result<Request<Bytes>, BoxError> {
        let icon = match alert.severity {
            Severity::Critical => "🔴",
            Severity::Warning => "🟡",
            Severity::Info => "ℹ️",
        };
        let severity = alert.severity.to_string().to_uppercase();
        let (kind, message) = (alert.kind, &alert.message);
        let region = alert.region.as_deref().unwrap_or("-");
        let field = |name: &str, value: &str| {
            // The title and its markup count too, and need no escape.
            let title = format!("*{name}:*\n");
            let value = fit_slack(value, FIELD - title.len());
            json!({ "type": "mrkdwn", "text": title + &value })
        };
        let said = format!("{kind}: {message}");
        let body = json!({
            "text": fit_slack(&format!("{icon} {severity}: {said}"), TEXT),
            "blocks": [
                {
                    "type": "header",
                    "text": {
                        "type": "plain_text",
                        "text": fit(&format!("{icon} Alert: {severity}"), HEADER),
                        "emoji": true,
                    },
                },
                {
                    "type": "section",
                    "fields": [
                        field("Message", &format!("{said}\n{}", context(alert))),
                        field("Time", &rfc3339(alert.at)),
                        field("Service", &alert.service),
                        field("Region", region),
                    ],
                },
            ],
        });
        post(self.url.expose(), &body)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        check(self.url.expose(), "Slack's webhook")
    }
}
