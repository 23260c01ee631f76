//! Slack and PagerDuty, as far as they are needed to receive of alerts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;

use super::clock::Clock;
use super::network::Network;
use super::server::serve;

/// A message as it came in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Received {
    pub(crate) sink: &'static str,
    pub(crate) severity: String,
    pub(crate) kind: String,
    pub(crate) at: Duration,
    pub(crate) text: String,
}

/// Both, in one.
#[derive(Clone)]
pub(crate) struct Receivers {
    clock: Clock,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receivers {
    /// Opens them. Replies with Slack's webhook and PagerDuty's base URL too.
    pub(crate) fn open(network: &Network, clock: Clock) -> std::io::Result<(Self, String, String)> {
        let receivers = Self { clock, received: Arc::default() };
        let open = |name, path, app: Router<Self>| {
            let mut place = network.place(name)?;
            let url = format!("http://{}{path}", place.authority());
            tokio::spawn(serve(place.listen()?, app.with_state(receivers.clone())));
            Ok::<_, std::io::Error>(url)
        };
        let slack = Router::new().route("/services/T0/B0/secret", post(slack));
        let slack = open("hooks.slack.test", "/services/T0/B0/secret", slack)?;
        let pager = Router::new().route("/v2/enqueue", post(pager_duty));
        let pager = open("events.pagerduty.test", "", pager)?;
        Ok((receivers, slack, pager))
    }

    /// What was received so far, in order.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Takes in a message, if it is one.
    fn receive(&self, message: Option<Message>) -> StatusCode {
        let Some(Message { sink, severity, kind, text }) = message else {
            return StatusCode::BAD_REQUEST;
        };
        let at = self.clock.elapsed();
        self.received.lock().unwrap().push(Received { sink, severity, kind, at, text });
        StatusCode::ACCEPTED
    }
}

struct Message {
    sink: &'static str,
    severity: String,
    kind: String,
    text: String,
}

async fn slack(State(receivers): State<Receivers>, Json(body): Json<Value>) -> StatusCode {
    receivers.receive(of_slack(&body))
}

async fn pager_duty(State(receivers): State<Receivers>, Json(body): Json<Value>) -> StatusCode {
    receivers.receive(of_pager_duty(&body))
}

/// `🟡 WARNING: Region out: us-west-2, timeout, retry in 10 s`; the kind is the first alert's field `Type`.
fn of_slack(body: &Value) -> Option<Message> {
    let (severity, text) = body["text"].as_str()?.split_once(": ")?;
    let severity = severity.split_whitespace().last()?.to_lowercase();
    let mut fields = body["blocks"][1]["fields"].as_array()?.iter();
    let kind = fields.find_map(|field| field["text"].as_str()?.strip_prefix("*Type:*\n"))?;
    let (kind, text) = (kind.to_owned(), text.to_owned());
    Some(Message { sink: "slack", severity, kind, text })
}

/// What resolves an incident has no payload, and is information; its key is `service/kind/…`.
fn of_pager_duty(body: &Value) -> Option<Message> {
    let sink = "pagerduty";
    let kind = body["dedup_key"].as_str()?.split('/').nth(1)?.to_owned();
    Some(match body["event_action"].as_str()? {
        "trigger" => {
            let severity = body["payload"]["severity"].as_str()?.to_owned();
            let text = body["payload"]["summary"].as_str()?.to_owned();
            Message { sink, severity, kind, text }
        }
        _ => {
            let text = format!("{kind} is resolved");
            Message { sink, severity: "info".to_owned(), kind, text }
        }
    })
}
