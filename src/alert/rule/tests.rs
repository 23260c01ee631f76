use http::StatusCode;

use super::*;
use crate::classify::{Outcome, Verdict};
use crate::retry::StopReason;

const RULES: Rules = Rules { timeout_retries: 3 };

fn outcome(verdict: Verdict) -> Option<(AlertKind, Severity)> {
    RULES.outcome(&verdict, None).map(|seen| (seen.kind, seen.severity))
}

fn event(event: &Event<'_>) -> Vec<(AlertKind, Severity, String, Lasts)> {
    let mut all = Vec::new();
    RULES.event(event, |seen| {
        all.push((seen.kind, seen.severity, seen.label.to_owned(), seen.lasts));
    });
    all
}

fn retry(attempt: u32, verdict: Verdict, decision: Decision) -> Option<(AlertKind, Severity)> {
    let event = RetryEvent { name: "upstream", attempt, verdict, decision };
    RULES.given_up(&event).map(|seen| (seen.kind, seen.severity))
}

#[test]
fn outcomes() {
    let status = |status| Cause::Status(StatusCode::from_u16(status).unwrap());
    for (verdict, expected) in [
        (Verdict::success(), None),
        (Verdict::rejected().cause_is(status(404)), None),
        (
            Verdict::credential_rejected().cause_is(status(401)),
            Some((AlertKind::CredentialRejected, Severity::Critical)),
        ),
        (Verdict::quota_exhausted(), Some((AlertKind::QuotaExhausted, Severity::Critical))),
        (Verdict::transient().cause_is(Cause::Timeout), Some((AlertKind::Timeout, Severity::Info))),
        (
            Verdict::new(Class::Local).cause_is(Cause::Deadline),
            Some((AlertKind::Timeout, Severity::Info)),
        ),
        (Verdict::throttled(), Some((AlertKind::CallFailed, Severity::Info))),
        (Verdict::overloaded(), Some((AlertKind::CallFailed, Severity::Info))),
        (Verdict::not_sent(), Some((AlertKind::CallFailed, Severity::Info))),
        (Verdict::new(Class::Local), Some((AlertKind::CallFailed, Severity::Info))),
        // An open circuit of somebody else's making, of which no name is known.
        (Verdict::new(Class::CircuitOpen), Some((AlertKind::CallFailed, Severity::Info))),
    ] {
        assert_eq!(outcome(verdict), expected, "{verdict:?}");
    }
}

#[test]
fn a_timeout_is_critical_after_more_than_so_many_retries() {
    let timeout = Verdict::transient().cause_is(Cause::Timeout);
    let stop = Decision::Stop(StopReason::MaxAttempts);
    for (attempt, expected) in [
        (1, None),
        (4, None),
        (5, Some((AlertKind::Timeout, Severity::Critical))),
        (u32::MAX, Some((AlertKind::Timeout, Severity::Critical))),
    ] {
        assert_eq!(retry(attempt, timeout, stop), expected, "attempt {attempt}");
    }
    let again = Decision::Retry { wait: std::time::Duration::ZERO };
    assert_eq!(retry(5, timeout, again), None, "it isn't over yet");
    assert_eq!(retry(5, Verdict::overloaded(), stop), None, "the outcome tells");
    let rejected = retry(1, Verdict::credential_rejected(), Decision::Return);
    assert_eq!(rejected, Some((AlertKind::CredentialRejected, Severity::Critical)));
}

#[cfg(feature = "circuit-breaker")]
#[test]
fn circuits() {
    use crate::circuit_breaker::{CircuitEvent, OpenReason};
    let told = |reason, kind| {
        event(&Event::CircuitBreaker(CircuitEvent { circuit: "us", generation: 1, reason, kind }))
    };
    let seen = |kind| told(Some(OpenReason::Consecutive), kind);
    let open_for = std::time::Duration::from_secs(30);
    let opened = CircuitEventKind::Opened { cause: Cause::Timeout, open_for };
    let (kind, severity) = (AlertKind::CircuitOpen, Severity::Warning);
    assert_eq!(seen(opened), [(kind, severity, "us".to_owned(), Lasts::UntilTold)]);
    let closed = (kind, severity, "us".to_owned(), Lasts::Over);
    assert_eq!(seen(CircuitEventKind::Closed), [closed]);
    assert_eq!(seen(CircuitEventKind::HalfOpened), []);
    assert_eq!(told(Some(OpenReason::CredentialRejected), opened), []);
    assert_eq!(seen(CircuitEventKind::Rejected { retry_after: None }), []);
}

#[cfg(feature = "failover")]
#[test]
fn regions() {
    use crate::failover::FailoverEvent;
    let seen = |region, kind| event(&Event::Failover(FailoverEvent { region, kind }));
    let lost = (AlertKind::RegionLost, Severity::Warning);
    let all = (AlertKind::AllRegionsLost, Severity::Critical);
    let out_for = std::time::Duration::from_secs(10);
    assert_eq!(
        seen("us", FailoverEventKind::Lost { cause: Cause::Timeout, out_for }),
        [(lost.0, lost.1, "us".to_owned(), Lasts::UntilTold)]
    );
    assert_eq!(
        seen("", FailoverEventKind::AllLost),
        [(all.0, all.1, String::new(), Lasts::UntilTold)]
    );
    assert_eq!(
        seen("us", FailoverEventKind::Back),
        [
            (lost.0, lost.1, "us".to_owned(), Lasts::Over),
            (all.0, all.1, String::new(), Lasts::Over)
        ]
    );
    assert_eq!(seen("us", FailoverEventKind::FailedOver { cause: Cause::Timeout }), []);
}

#[test]
fn an_error_is_judged_by_what_it_is() {
    let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
    let verdict = Outcome::error(&error).verdict();
    let seen = RULES.outcome(&verdict, Some(&error)).unwrap();
    assert_eq!((seen.kind, seen.severity), (AlertKind::Timeout, Severity::Info));
}
