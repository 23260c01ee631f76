use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::*;
use crate::alert::message::key;
use crate::error::InvalidConfig;
use crate::event::{Alert, AlertKind, Severity};
use crate::verdict::Cause;

pub(in crate::alert) fn alert(
    severity: Severity,
    service: &str,
    region: &str,
    resolved: bool,
) -> Alert {
    let message = if resolved {
        format!("Resolved: region {region} healthy after 1 m")
    } else {
        format!("Region out: {region}, timeout, retry in 10 s")
    };
    let mut alert = Alert::new(AlertKind::RegionOut, severity, message);
    alert.key = key(service, AlertKind::RegionOut, region, None);
    alert.service = service.into();
    alert.region = Some(region.to_owned());
    alert.resolved = resolved;
    alert.causes = vec![Cause::Timeout];
    alert.at = UNIX_EPOCH + Duration::from_millis(1_795_323_067_250);
    alert.since = alert.at - Duration::from_secs(60);
    alert.repeat_interval = Duration::from_secs(3600);
    alert
}

fn request(sink: &impl Sink, alert: &Alert) -> Request<Bytes> {
    sink.request(&[Arc::new(alert.clone())]).unwrap()
}

fn sent(sink: &impl Sink, alert: &Alert) -> Value {
    body(&request(sink, alert))
}

fn body(request: &Request<Bytes>) -> Value {
    assert_eq!(request.method(), "POST");
    assert_eq!(request.headers()["content-type"], "application/json");
    serde_json::from_slice(request.body()).unwrap()
}

fn slack() -> Slack {
    Slack::new("https://hooks.slack.test/services/T0/B0/hook-secret")
}

fn opsgenie() -> Opsgenie {
    Opsgenie::new("genie-secret")
}

fn teams() -> Teams {
    Teams::new("https://workflow.test/workflow-secret")
}

fn alertmanager() -> Alertmanager {
    Alertmanager::new("http://alerts.test:9093/")
}

fn webhook() -> Webhook {
    Webhook::new("https://webhook.test/webhook-secret")
}

fn pager() -> PagerDuty {
    PagerDuty::new("routing-secret")
}

#[test]
fn slack_message_matches_golden() {
    let alert = alert(Severity::Warning, "checkout", "us-west-2", false);
    let expected = json!({
        "text": "🟡 WARNING: Region out: us-west-2, timeout, retry in 10 s",
        "blocks": [
            {
                "type": "header",
                "text": { "type": "plain_text", "text": "🟡 Alert: WARNING", "emoji": true },
            },
            {
                "type": "section",
                "fields": [
                    {
                        "type": "mrkdwn",
                        "text": "*Message:*\nRegion out: us-west-2, timeout, retry in 10 s",
                        "verbatim": true,
                    },
                    { "type": "mrkdwn", "text": "*Time:*\n2026-11-22T04:51:07.250Z", "verbatim": true },
                    { "type": "mrkdwn", "text": "*Service:*\ncheckout", "verbatim": true },
                    { "type": "mrkdwn", "text": "*Region:*\nus-west-2", "verbatim": true },
                    { "type": "mrkdwn", "text": "*Type:*\nregion_out", "verbatim": true },
                    { "type": "mrkdwn", "text": "*Failures:*\ntimeout", "verbatim": true },
                ],
            },
        ],
    });
    assert_eq!(sent(&slack(), &alert), expected);
}

#[test]
fn pager_duty_event_matches_golden() {
    let trigger = alert(Severity::Critical, "checkout", "us-west-2", false);
    let expected = json!({
        "routing_key": "routing-secret",
        "event_action": "trigger",
        "dedup_key": "checkout/region_out/us-west-2",
        "payload": {
            "summary": "Region out: us-west-2, timeout, retry in 10 s",
            "severity": "critical",
            "source": "checkout",
            "timestamp": "2026-11-22T04:51:07.250Z",
            "custom_details": {
                "type": "region_out",
                "message": "Region out: us-west-2, timeout, retry in 10 s",
                "region": "us-west-2",
                "failures": "timeout",
            },
        },
    });
    assert_eq!(sent(&pager(), &trigger), expected);
    let resolve = alert(Severity::Critical, "checkout", "us-west-2", true);
    let expected = json!({
        "routing_key": "routing-secret",
        "event_action": "resolve",
        "dedup_key": "checkout/region_out/us-west-2",
    });
    assert_eq!(sent(&pager(), &resolve), expected);
}

#[test]
fn slack_group_matches_golden() {
    let regions = ["us", "eu"];
    let alerts: Vec<_> =
        regions.map(|region| Arc::new(alert(Severity::Warning, "checkout", region, false))).into();
    let body: Value = body(&slack().request(&alerts).unwrap());
    assert_eq!(
        body["text"],
        "🟡 WARNING: Region out: us, timeout, retry in 10 s; \
         Region out: eu, timeout, retry in 10 s"
    );
    assert_eq!(body["blocks"][0]["text"]["text"], "🟡 Alert: WARNING (2)");
    let shown = |block: usize| body["blocks"][block]["fields"][3]["text"].as_str().unwrap();
    assert_eq!([shown(1), shown(2)], ["*Region:*\nus", "*Region:*\neu"]);
    assert_eq!(body["blocks"].as_array().unwrap().len(), 3);
}

#[test]
fn opsgenie_alert_matches_golden() {
    let raised = alert(Severity::Critical, "checkout", "us-west-2", false);
    let expected = json!({
        "message": "Region out: us-west-2, timeout, retry in 10 s",
        "alias": "checkout/region_out/us-west-2",
        "description": "Region out: us-west-2, timeout, retry in 10 s",
        "details": { "type": "region_out", "region": "us-west-2", "failures": "timeout" },
        "entity": "us-west-2",
        "source": "checkout",
        "tags": ["region_out", "critical"],
        "priority": "P1",
    });
    assert_eq!(sent(&opsgenie(), &raised), expected);
    let create = request(&opsgenie(), &raised);
    assert_eq!(create.uri(), "https://api.opsgenie.com/v2/alerts");
    assert_eq!(create.headers()["authorization"], "GenieKey genie-secret");
    assert!(!format!("{create:?}").contains("genie-secret"));
    let resolved = alert(Severity::Critical, "checkout", "กรุงเทพ 1", true);
    let expected =
        json!({ "source": "checkout", "note": "Resolved: region กรุงเทพ 1 healthy after 1 m" });
    assert_eq!(sent(&opsgenie(), &resolved), expected);
    let close = "https://api.eu.opsgenie.com/v2/alerts/checkout%2Fregion_out%2F\
                 %E0%B8%81%E0%B8%A3%E0%B8%B8%E0%B8%87%E0%B9%80%E0%B8%97%E0%B8%9E%201\
                 /close?identifierType=alias";
    let elsewhere = opsgenie().base_url("https://api.eu.opsgenie.com/");
    assert_eq!(request(&elsewhere, &resolved).uri(), close);
}

#[test]
fn teams_card_matches_golden() {
    let raised = alert(Severity::Critical, "checkout", "us-west-2", false);
    let run = |run: Value| json!({ "type": "RichTextBlock", "inlines": [run] });
    let expected = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": [
                    run(json!({
                        "type": "TextRun", "text": "🔴 Alert: CRITICAL", "weight": "Bolder",
                        "size": "Large", "color": "Attention",
                    })),
                    run(json!({
                        "type": "TextRun",
                        "text": "Region out: us-west-2, timeout, retry in 10 s",
                    })),
                    run(json!({
                        "type": "TextRun", "isSubtle": true,
                        "text": "2026-11-22T04:51:07.250Z · checkout · us-west-2",
                    })),
                    run(json!({
                        "type": "TextRun", "isSubtle": true,
                        "text": "Type: region_out · Failures: timeout",
                    })),
                ],
            },
        }],
    });
    assert_eq!(sent(&teams(), &raised), expected);
}

/// The severity has changed: the alert of the previous one ends.
#[test]
fn alertmanager_alerts_match_golden() {
    let raised = alert(Severity::Warning, "checkout", "us-west-2", false);
    let raised = Alert { previous_severity: Some(Severity::Info), ..raised };
    let entry = |severity: &str, ends_at: &str| {
        json!({
            "labels": {
                "alertname": "region_out",
                "severity": severity,
                "service": "checkout",
                "region": "us-west-2",
            },
            "annotations": {
                "summary": "Region out: us-west-2, timeout, retry in 10 s",
                "description": "Type: region_out · Failures: timeout",
            },
            "startsAt": "2026-11-22T04:50:07.250Z",
            "endsAt": ends_at,
        })
    };
    // Two hours later, and now.
    let expected = json!([
        entry("warning", "2026-11-22T06:51:07.250Z"),
        entry("info", "2026-11-22T04:51:07.250Z"),
    ]);
    assert_eq!(sent(&alertmanager(), &raised), expected);
    let request = request(&alertmanager(), &raised);
    assert_eq!(request.uri(), "http://alerts.test:9093/api/v2/alerts");
    let resolved = alert(Severity::Info, "checkout", "us-west-2", true);
    let body = sent(&alertmanager(), &resolved);
    assert_eq!(body.as_array().unwrap().len(), 1);
    assert_eq!(body[0]["endsAt"], "2026-11-22T04:51:07.250Z");
    assert_eq!(body[0]["labels"]["severity"], "info");
}

#[test]
fn webhook_matches_golden() {
    let resolved = alert(Severity::Warning, "checkout", "us-west-2", true);
    let expected = json!({
        "version": "4",
        "groupKey": "checkout/region_out",
        "truncatedAlerts": 0,
        "status": "resolved",
        "receiver": "tower-upstream",
        "groupLabels": { "alertname": "region_out", "service": "checkout" },
        "commonLabels": { "alertname": "region_out", "service": "checkout" },
        "commonAnnotations": {},
        "externalURL": "",
        "alerts": [{
            "status": "resolved",
            "labels": {
                "alertname": "region_out",
                "severity": "warning",
                "service": "checkout",
                "region": "us-west-2",
            },
            "annotations": {
                "summary": "Resolved: region us-west-2 healthy after 1 m",
                "description": "Type: region_out · Failures: timeout",
            },
            "startsAt": "2026-11-22T04:50:07.250Z",
            "endsAt": "2026-11-22T04:51:07.250Z",
            "generatorURL": "",
            "fingerprint": "checkout/region_out/us-west-2",
        }],
    });
    assert_eq!(sent(&webhook(), &resolved), expected);
}

#[test]
fn pager_duty_base_url_can_be_changed() {
    let alert = alert(Severity::Critical, "checkout", "us", false);
    for (sink, expected) in [
        (pager(), "https://events.pagerduty.com/v2/enqueue"),
        (pager().base_url("http://127.0.0.1:80/"), "http://127.0.0.1:80/v2/enqueue"),
    ] {
        assert_eq!(request(&sink, &alert).uri(), expected);
    }
}

#[test]
fn severity_decides_header_and_payload() {
    for (severity, header, name) in [
        (Severity::Critical, "🔴 Alert: CRITICAL", "critical"),
        (Severity::Warning, "🟡 Alert: WARNING", "warning"),
        (Severity::Info, "ℹ️ Alert: INFO", "info"),
    ] {
        let alert = alert(severity, "checkout", "us", false);
        assert_eq!(sent(&slack(), &alert)["blocks"][0]["text"]["text"], header);
        assert_eq!(sent(&pager(), &alert)["payload"]["severity"], name);
    }
}

fn count(value: &Value) -> usize {
    value.as_str().unwrap().encode_utf16().count()
}

/// Alerts with long, non-ASCII or escaped texts, single and as a group.
fn hard_texts() -> Vec<Vec<Arc<Alert>>> {
    let texts = [
        "ระบบชำระเงินล่มที่กรุงเทพ ".repeat(200),
        "🔥👩‍🚒".repeat(600),
        "<!channel> & <@U1> <https://x|y>".repeat(160),
        "\"\\\n\u{0}\u{7}".repeat(1000),
        "x".repeat(5_000),
        "\u{0E34}".repeat(5_000),
        String::new(),
    ];
    let alert = |text: &String| Arc::new(alert(Severity::Critical, text, text, false));
    texts.iter().map(|text| vec![alert(text)]).chain([texts.iter().map(alert).collect()]).collect()
}

#[test]
fn slack_any_text_fits_and_mentions_no_one() {
    for alerts in hard_texts() {
        let slack = body(&slack().request(&alerts).unwrap());
        assert!(count(&slack["text"]) <= 3000);
        let blocks = slack["blocks"].as_array().unwrap();
        assert!(blocks.len() == alerts.len() + 1 && blocks.len() <= 50);
        assert!(count(&blocks[0]["text"]["text"]) <= 150);
        for field in blocks[1..].iter().flat_map(|block| block["fields"].as_array().unwrap()) {
            assert!((1..=2000).contains(&count(&field["text"])));
        }
        let shown = slack.to_string();
        assert!(!shown.contains('<') && !shown.contains('>'), "{shown}");
    }
}

#[test]
fn pager_duty_any_text_fits() {
    for alert in hard_texts().iter().flatten() {
        let pager = sent(&pager(), alert);
        assert!(count(&pager["payload"]["summary"]) <= 1024);
        assert!(pager["dedup_key"].as_str().unwrap().len() <= 255);
        assert!(pager.to_string().len() < 512 * 1024);
    }
}

#[test]
fn opsgenie_any_text_fits() {
    for alert in hard_texts().iter().flatten() {
        let body = sent(&opsgenie(), alert);
        for (field, max) in [
            ("message", 130),
            ("alias", 512),
            ("entity", 512),
            ("source", 100),
            ("description", 15_000),
        ] {
            assert!(count(&body[field]) <= max, "{field}");
        }
        let details = body["details"].as_object().unwrap();
        let size: usize = details.iter().map(|(name, value)| name.len() + count(value)).sum();
        assert!(size <= 8000);
        let resolved = Alert { resolved: true, ..(**alert).clone() };
        assert!(request(&opsgenie(), &resolved).uri().path().is_ascii());
    }
}

/// In a run of text Markdown has no effect, nor has a mention without an entity.
#[test]
fn teams_any_text_fits() {
    for alerts in hard_texts() {
        let request = teams().request(&alerts).unwrap();
        assert!(request.body().len() <= 28 * 1024, "{}", request.body().len());
        let card = body(&request)["attachments"][0]["content"].clone();
        let blocks = card["body"].as_array().unwrap();
        assert_eq!(blocks.len(), 1 + 3 * alerts.len());
        assert!(blocks.iter().all(|block| block["inlines"][0]["type"] == "TextRun"));
        assert!(card["msteams"].is_null());
    }
}

#[test]
fn alertmanager_any_text_has_short_nonempty_labels() {
    for alerts in hard_texts() {
        let entries = body(&alertmanager().request(&alerts).unwrap());
        let posted = body(&webhook().request(&alerts).unwrap())["alerts"].clone();
        for entry in entries.as_array().into_iter().chain(posted.as_array()).flatten() {
            for value in entry["labels"].as_object().unwrap().values() {
                assert!(count(value) <= 1024);
            }
            assert_ne!(entry["labels"]["region"], "");
            assert!(count(&entry["annotations"]["summary"]) <= 4096);
        }
    }
}

#[test]
fn sink_invalid_config_is_rejected_without_secrets() {
    for url in ["", "secret", "/secret", "https://", "https://a b/secret", "://secret"] {
        let results: [Result<(), InvalidConfig>; 6] = [
            Slack::new(url).check(),
            Teams::new(url).check(),
            Webhook::new(url).check(),
            Alertmanager::new(url).check(),
            Opsgenie::new("secret").base_url(url).check(),
            PagerDuty::new("secret").base_url(url).check(),
        ];
        for result in results {
            let error = result.expect_err(url).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
    assert!(PagerDuty::new("").check().is_err());
    assert!(Opsgenie::new("").check().is_err() && Opsgenie::new("a\nb").check().is_err());
    assert!(slack().check().is_ok() && pager().check().is_ok() && teams().check().is_ok());
    assert!(opsgenie().check().is_ok() && alertmanager().check().is_ok());
    assert!(webhook().check().is_ok());
    let shown = format!("{:?} {:?} {:#?}", slack(), pager(), pager());
    let shown = format!("{shown} {:?} {:?} {:?}", opsgenie(), teams(), webhook());
    assert!(!shown.contains("secret") && !shown.contains("hooks"), "{shown}");
}
