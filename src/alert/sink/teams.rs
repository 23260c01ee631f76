use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::{Secret, Sink, check, context, fit, icon, post, rfc3339, worst};
use crate::error::{BoxError, InvalidConfig};
use crate::event::{Alert, Severity};

/// Microsoft Teams, through a workflow's webhook ("When a Teams webhook request is received"): an
/// Adaptive Card.
///
/// Texts are runs of rich text, in which Markdown and mentions mean nothing. Teams throttles more than four
/// posts a second, so no more are made, and its `Retry-After` is obeyed.
#[derive(Clone, Debug)]
pub struct Teams {
    url: Secret,
}

/// The bytes of a message, escapes included: Teams takes 28 kB.
const MESSAGE: usize = 28_000;
/// How much of a text is worth reading, in characters.
const TEXT: usize = 2000;
const GROUP: usize = 10;

impl Teams {
    /// Posts to this workflow's URL, which is a secret: anybody who knows it can post.
    #[must_use]
    pub fn new(workflow_url: impl Into<String>) -> Self {
        Self { url: Secret::new(workflow_url) }
    }

    /// The message, with texts of at most `most` characters.
    fn body(alerts: &[Arc<Alert>], most: usize) -> Value {
        let severity = worst(alerts);
        let color = match severity {
            Severity::Critical => "Attention",
            Severity::Warning => "Warning",
            Severity::Info => "Accent",
        };
        let many = if alerts.len() > 1 { format!(" ({})", alerts.len()) } else { String::new() };
        let severity_shown = severity.name().to_uppercase();
        let header = format!("{} Alert: {severity_shown}{many}", icon(severity));
        let mut body = vec![text(json!({
            "text": header, "weight": "Bolder", "size": "Large", "color": color,
        }))];
        for alert in alerts {
            let said = fit(&format!("{}: {}", alert.kind, alert.message), most);
            let region = fit(alert.region.as_deref().unwrap_or("-"), most / 4);
            let service = fit(&alert.service, most / 4);
            let details = format!("{} · {service} · {region}", rfc3339(alert.at));
            let context = fit(&context(alert).to_string(), most);
            body.push(text(json!({ "text": said })));
            body.push(text(json!({ "text": details, "isSubtle": true })));
            body.push(text(json!({ "text": context, "isSubtle": true, "fontType": "Monospace" })));
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
}

/// A paragraph of one run.
fn text(mut run: Value) -> Value {
    run["type"] = json!("TextRun");
    json!({ "type": "RichTextBlock", "inlines": [run] })
}

impl Sink for Teams {
    fn name(&self) -> &'static str {
        "teams"
    }

    fn group_size(&self) -> usize {
        GROUP
    }

    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
        let mut most = TEXT;
        loop {
            // Escapes make texts longer: only the whole message shows by how much.
            let request = post(self.url.expose(), &Self::body(alerts, most))?;
            if request.body().len() <= MESSAGE || most == 0 {
                return Ok(request);
            }
            most /= 2;
        }
    }

    fn pause(&self) -> Duration {
        Duration::from_millis(250)
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        check(self.url.expose(), "the Teams workflow")
    }
}
