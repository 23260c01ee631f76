use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::alert::rule::{Facts, Lasts, Sighting};
use crate::alert::{AlertKind, Severity};
use crate::classify::Cause;

fn alert(severity: Severity, service: &str, region: &str, resolved: bool) -> Alert {
    let at = UNIX_EPOCH + Duration::from_millis(1_795_323_067_250);
    let facts = Facts { cause: Some(Cause::Timeout), retries: None };
    let (kind, lasts) = (AlertKind::RegionLost, Lasts::UntilTold);
    let seen = Sighting { kind, severity, label: region, facts, lasts };
    Alert::new(&Arc::from(service), &seen, resolved, at)
}

fn sent(sink: &impl Sink, alert: &Alert) -> Value {
    let request = sink.request(alert).unwrap();
    assert_eq!(request.method(), "POST");
    assert_eq!(request.headers()["content-type"], "application/json");
    serde_json::from_slice(request.body()).unwrap()
}

fn slack() -> Slack {
    Slack::new("https://hooks.slack.test/services/T0/B0/hook-secret")
}

fn pager() -> PagerDuty {
    PagerDuty::new("routing-secret")
}

#[test]
fn golden_slack() {
    let alert = alert(Severity::Warning, "checkout", "us-west-2", false);
    let expected = json!({
        "text": "🟡 WARNING: region_lost: region us-west-2 is lost: timeout",
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
                        "text": "*Message:*\nregion_lost: region us-west-2 is lost: timeout\n\
                                 {\"failures\":[\"timeout\"],\"region\":\"us-west-2\"}",
                    },
                    { "type": "mrkdwn", "text": "*Time:*\n2026-11-22T04:51:07.250Z" },
                    { "type": "mrkdwn", "text": "*Service:*\ncheckout" },
                    { "type": "mrkdwn", "text": "*Region:*\nus-west-2" },
                ],
            },
        ],
    });
    assert_eq!(sent(&slack(), &alert), expected);
}

#[test]
fn golden_pager_duty() {
    let trigger = alert(Severity::Critical, "checkout", "us-west-2", false);
    let expected = json!({
        "routing_key": "routing-secret",
        "event_action": "trigger",
        "dedup_key": "checkout/region_lost/us-west-2",
        "payload": {
            "summary": "region_lost: region us-west-2 is lost: timeout",
            "severity": "critical",
            "source": "checkout",
            "timestamp": "2026-11-22T04:51:07.250Z",
            "custom_details": {
                "message": "region us-west-2 is lost: timeout",
                "region": "us-west-2",
                "failures": ["timeout"],
            },
        },
    });
    assert_eq!(sent(&pager(), &trigger), expected);
    let resolve = alert(Severity::Critical, "checkout", "us-west-2", true);
    let expected = json!({
        "routing_key": "routing-secret",
        "event_action": "resolve",
        "dedup_key": "checkout/region_lost/us-west-2",
    });
    assert_eq!(sent(&pager(), &resolve), expected);
}

#[test]
fn pager_duty_elsewhere() {
    let alert = alert(Severity::Critical, "checkout", "us", false);
    for (sink, expected) in [
        (pager(), "https://events.pagerduty.com/v2/enqueue"),
        (pager().base_url("http://127.0.0.1:80/"), "http://127.0.0.1:80/v2/enqueue"),
    ] {
        assert_eq!(sink.request(&alert).unwrap().uri(), expected);
    }
}

#[test]
fn severities() {
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

#[test]
fn any_text_stays_within_the_documented_sizes() {
    let count = |value: &Value| value.as_str().unwrap().encode_utf16().count();
    let texts = [
        "ระบบชำระเงินล่มที่กรุงเทพ ".repeat(200),
        "🔥👩‍🚒".repeat(600),
        "<!channel> & <@U1> <https://x|y>".repeat(160),
        "\"\\\n\u{0}\u{7}".repeat(1000),
        "x".repeat(5_000),
        "\u{0E34}".repeat(5_000),
        String::new(),
    ];
    for text in &texts {
        let alert = alert(Severity::Critical, text, text, false);
        let slack = sent(&slack(), &alert);
        assert!(count(&slack["text"]) <= 3000);
        assert!(count(&slack["blocks"][0]["text"]["text"]) <= 150);
        for field in slack["blocks"][1]["fields"].as_array().unwrap() {
            assert!((1..=2000).contains(&count(&field["text"])));
        }
        let shown = slack.to_string();
        assert!(!shown.contains('<') && !shown.contains('>'), "{shown}");
        let pager = sent(&pager(), &alert);
        assert!(count(&pager["payload"]["summary"]) <= 1024);
        assert!(pager["dedup_key"].as_str().unwrap().len() <= 255);
        assert!(pager.to_string().len() < 512 * 1024);
    }
}

#[test]
fn long_keys_are_told_apart_and_stay_the_same() {
    let key = |region: &str| alert(Severity::Info, "checkout", region, false).key;
    let long = "กรุงเทพ".repeat(50);
    assert_ne!(key(&long), key(&format!("{long}1")));
    assert_eq!(key(&long), key(&long));
    assert!(key(&long).len() <= 255);
}

#[test]
fn what_cannot_work_is_refused_and_shows_no_secret() {
    for url in ["", "secret", "/secret", "https://", "https://a b/secret", "://secret"] {
        let error = Slack::new(url).check().expect_err(url).to_string();
        assert!(!error.contains("secret"), "{error}");
        assert!(PagerDuty::new("secret").base_url(url).check().is_err());
    }
    assert!(PagerDuty::new("").check().is_err());
    assert!(slack().check().is_ok() && pager().check().is_ok());
    let shown = format!("{:?} {:?} {:#?}", slack(), pager(), pager());
    assert!(!shown.contains("secret") && !shown.contains("hooks"), "{shown}");
}
