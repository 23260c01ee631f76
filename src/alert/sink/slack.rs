use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::{Secret, Sink, check, context, fit, fit_slack, icon, post, rfc3339, worst};
use crate::error::{BoxError, InvalidConfig};
use crate::event::Alert;

/// Slack, through an incoming webhook.
///
/// A message has a header `Alert: SEVERITY` and, for each alert, a section with message, time,
/// service and region. In names `*`, `_`, `~` and backticks are Slack's formatting; nothing in them
/// is a mention or a link. Slack refuses posts that come more often than about once a second, so no more
/// are made, and its `Retry-After` is obeyed.
#[derive(Clone, Debug)]
pub struct Slack {
    url: Secret,
}

/// What Slack's blocks hold at most, in characters.
const TEXT: usize = 3000;
const HEADER: usize = 150;
const FIELD: usize = 2000;
/// Slack takes 50 blocks in a message; nobody reads one that long.
const GROUP: usize = 10;

impl Slack {
    /// Posts to this incoming webhook, `https://hooks.slack.com/services/..`. Its URL is a
    /// secret: anybody who knows it can post.
    #[must_use]
    pub fn new(webhook_url: impl Into<String>) -> Self {
        Self { url: Secret::new(webhook_url) }
    }

    fn body(alerts: &[Arc<Alert>]) -> Value {
        let severity = worst(alerts);
        let (icon, severity) = (icon(severity), severity.name().to_uppercase());
        let many = if alerts.len() > 1 { format!(" ({})", alerts.len()) } else { String::new() };
        let header = json!({
            "type": "header",
            "text": {
                "type": "plain_text",
                "text": fit(&format!("{icon} Alert: {severity}{many}"), HEADER),
                "emoji": true,
            },
        });
        let all: Vec<_> = alerts.iter().map(|alert| said(alert)).collect();
        let text = fit_slack(&format!("{icon} {severity}: {}", all.join("; ")), TEXT);
        let blocks: Vec<_> =
            [header].into_iter().chain(alerts.iter().map(|alert| section(alert))).collect();
        json!({ "text": text, "blocks": blocks })
    }
}

fn said(alert: &Alert) -> String {
    format!("{}: {}", alert.kind, alert.message)
}

fn section(alert: &Alert) -> Value {
    let field = |name: &str, value: &str| {
        // The title and its markup count too. They need no escape.
        let title = format!("*{name}:*\n");
        let value = fit_slack(value, FIELD - title.len());
        // Without `verbatim` Slack makes links of names, and mentions of what looks like one.
        json!({ "type": "mrkdwn", "text": title + &value, "verbatim": true })
    };
    json!({
        "type": "section",
        "fields": [
            field("Message", &format!("{}\n{}", said(alert), context(alert))),
            field("Time", &rfc3339(alert.at)),
            field("Service", &alert.service),
            field("Region", alert.region.as_deref().unwrap_or("-")),
        ],
    })
}

impl Sink for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn group_size(&self) -> usize {
        GROUP
    }

    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
        post(self.url.expose(), &Self::body(alerts))
    }

    fn pause(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        check(self.url.expose(), "Slack's webhook")
    }
}
