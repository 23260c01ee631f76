//! Which replies are looked through for limits.

use super::*;

const SPENT: &str = "
    x-ratelimit-limit: 60
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 30";

fn verdict(status: u16, text: &str) -> tower_upstream::classify::Verdict {
    Outcome::head(StatusCode::from_u16(status).unwrap(), &headers(text)).verdict()
}

#[test]
fn a_refusal_waits_for_the_limit_at_its_end() {
    for status in [429, 503, 529] {
        let hint = verdict(status, SPENT).hint();
        assert_eq!((hint.retry_after, hint.of_limits), (Some(Duration::from_secs(30)), true));
    }
}

#[test]
fn no_other_reply_does() {
    for status in (100..=999).filter(|status| ![429, 503, 529].contains(status)) {
        assert_eq!(verdict(status, SPENT).hint(), Hint::NONE, "{status}");
    }
}

#[test]
fn what_is_asked_for_wins() {
    for header in ["retry-after: 2", "retry-after-ms: 2000", "grpc-retry-pushback-ms: 2000"] {
        let hint = verdict(429, &format!("{SPENT}\n{header}")).hint();
        assert_eq!(hint, Hint::NONE.with_retry_after(Duration::from_secs(2)), "{header}");
    }
    let hint = verdict(429, &format!("{SPENT}\nretry-after: soon")).hint();
    assert_eq!(hint.retry_after, Some(Duration::from_secs(30)), "it means nothing");
    let hint = verdict(429, &format!("{SPENT}\ngrpc-retry-pushback-ms: -1")).hint();
    assert_eq!(hint, Hint::NONE.with_should_retry(false), "pushback has the last word");
}

/// A gateway writes limits on whatever its backend replies, also on a 503 of
/// half the work done.
#[test]
fn a_limit_at_its_end_is_no_proof_that_nothing_was_processed() {
    let said = |text: &str| verdict(503, text).is_unprocessed();
    assert!(!said(SPENT));
    assert!(said(&format!("{SPENT}\nretry-after: 2")));
    assert!(verdict(503, SPENT).with_retry_after(Duration::from_secs(1)).is_unprocessed());
}

#[test]
fn a_limit_at_its_end_is_no_pushback() {
    let grpc = |code: u8| {
        let text = format!("content-type: application/grpc\ngrpc-status: {code}\n{SPENT}");
        let verdict = verdict(200, &text);
        (verdict.class(), verdict.hint().retry_after.map(|wait| wait.as_secs()))
    };
    assert_eq!(grpc(0), (Class::Success, None));
    assert_eq!(grpc(8), (Class::Throttled, Some(30)));
    assert_eq!(grpc(13), (Class::Transient, None));
    assert_eq!(grpc(14), (Class::Transient, None));
}
