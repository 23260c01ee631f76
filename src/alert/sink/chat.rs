use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::request::{Secret, Sink, check_url, post};
use super::text::{context, context_line, fit, fit_slack, header, rfc3339, severity, title};
use crate::error::{BoxError, InvalidConfig};
use crate::event::{Alert, Severity};

/// The maximum number of alerts in a message. Slack accepts 50 blocks, but people don't read that many.
const GROUP_SIZE: usize = 10;

/// Slack, through an incoming webhook.
///
/// A message has a header `Alert: SEVERITY` and, for each alert, a section with message, time, service,
/// region and context. In names `*`, `_`, `~` and backticks are formatting; mentions and links are
/// escaped. Slack rejects more than about one request a second, so no more are sent, and its
/// `Retry-After` is obeyed.
#[derive(Clone, Debug)]
pub struct Slack {
    url: Secret,
}

impl Slack {
    /// The maximum sizes of Slack's blocks, in characters.
    const MAX_TEXT: usize = 3000;
    const MAX_HEADER: usize = 150;
    const MAX_FIELD: usize = 2000;

    /// Creates a sink for this incoming webhook, `https://hooks.slack.com/services/..`. Its URL is a
    /// secret: anybody who knows it can post.
    #[must_use]
    pub fn new(webhook_url: impl Into<String>) -> Self {
        Self { url: Secret::new(webhook_url) }
    }

    fn section(alert: &Alert) -> Value {
        let field = |title: &str, text: &str| {
            // The title counts too. It needs no escape.
            let title = format!("*{title}:*\n");
            let text = fit_slack(text, Self::MAX_FIELD - title.len());
            // Without `verbatim` Slack creates links and mentions from names.
            json!({ "type": "mrkdwn", "text": title + &text, "verbatim": true })
        };
        let mut section = vec![
            field("Message", &alert.message),
            field("Time", &rfc3339(alert.at)),
            field("Service", &alert.service),
            field("Region", alert.region.as_deref().unwrap_or("-")),
        ];
        section.extend(context(alert).map(|(name, text)| field(&title(name), &text)));
        json!({ "type": "section", "fields": section })
    }
}

impl Sink for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn group_size(&self) -> usize {
        GROUP_SIZE
    }

    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
        let (emoji, severity) = severity(alerts);
        let messages: Vec<_> = alerts.iter().map(|alert| &*alert.message).collect();
        let severity = severity.name().to_uppercase();
        let text = format!("{emoji} {severity}: {}", messages.join("; "));
        let header = fit(&header(alerts), Self::MAX_HEADER);
        let mut blocks = vec![json!({
            "type": "header",
            "text": { "type": "plain_text", "text": header, "emoji": true },
        })];
        blocks.extend(alerts.iter().map(|alert| Self::section(alert)));
        let text = fit_slack(&text, Self::MAX_TEXT);
        post(self.url.expose(), &json!({ "text": text, "blocks": blocks }))
    }

    fn min_interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        check_url(self.url.expose(), "Slack's webhook")
    }
}

/// Microsoft Teams, through a workflow's webhook ("When a Teams webhook request is received"): an
/// Adaptive Card.
///
/// Texts are runs of rich text, in which Markdown and mentions have no effect. Teams throttles more than
/// four requests a second, so no more are sent, and its `Retry-After` is obeyed.
#[derive(Clone, Debug)]
pub struct Teams {
    url: Secret,
}

impl Teams {
    /// The maximum size of a message in bytes, escapes included: Teams accepts 28 kB.
    const MAX_BODY: usize = 28_000;
    /// The maximum length of a text, in characters.
    const MAX_TEXT: usize = 2000;

    /// Creates a sink for this workflow. Its URL is a secret: anybody who knows it can post.
    #[must_use]
    pub fn new(workflow_url: impl Into<String>) -> Self {
        Self { url: Secret::new(workflow_url) }
    }

    /// Creates the message, with texts of at most `max` characters.
    fn body(alerts: &[Arc<Alert>], max: usize) -> Value {
        let color = match severity(alerts).1 {
            Severity::Critical => "Attention",
            Severity::Warning => "Warning",
            Severity::Info => "Accent",
        };
        let mut body = vec![Self::paragraph(json!({
            "text": header(alerts), "weight": "Bolder", "size": "Large", "color": color,
        }))];
        for alert in alerts {
            let service = fit(&alert.service, max / 4);
            let region = fit(alert.region.as_deref().unwrap_or("-"), max / 4);
            let facts = format!("{} · {service} · {region}", rfc3339(alert.at));
            let context = fit(&context_line(alert), max);
            body.push(Self::paragraph(json!({ "text": fit(&alert.message, max) })));
            body.push(Self::paragraph(json!({ "text": facts, "isSubtle": true })));
            body.push(Self::paragraph(json!({ "text": context, "isSubtle": true })));
        }
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": body,
                },
            }],
        })
    }

    fn paragraph(mut run: Value) -> Value {
        run["type"] = json!("TextRun");
        json!({ "type": "RichTextBlock", "inlines": [run] })
    }
}

impl Sink for Teams {
    fn name(&self) -> &'static str {
        "teams"
    }

    fn group_size(&self) -> usize {
        GROUP_SIZE
    }

    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
        let mut max = Self::MAX_TEXT;
        loop {
            // Escapes make texts longer, so the whole message is measured.
            let request = post(self.url.expose(), &Self::body(alerts, max))?;
            if request.body().len() <= Self::MAX_BODY || max == 0 {
                return Ok(request);
            }
            max /= 2;
        }
    }

    fn min_interval(&self) -> Duration {
        Duration::from_millis(250)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        check_url(self.url.expose(), "the Teams workflow")
    }
}
