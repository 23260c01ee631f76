use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::alert::Severity;
use crate::classify::{Outcome, Verdict};
use crate::retry::StopReason;

/// The worst that it is at once, by the standard rules.
fn worst(seen: &Sighting<'_>) -> Option<Severity> {
    let at_once = |severity: &Severity| seen.holds.of(*severity) == Some(Duration::ZERO);
    Severity::ALL.into_iter().rfind(at_once)
}

fn rules() -> Rules {
    Rules::new(Rule::standard())
}

fn outcome(verdict: Verdict) -> Option<(AlertKind, Severity)> {
    let seen = rules().outcome(&verdict, None)?;
    Some((seen.kind, worst(&seen)?))
}

fn event(event: &Event<'_>) -> Vec<(AlertKind, Severity, String, Lasts)> {
    let mut all = Vec::new();
    rules().event(event, |seen| {
        all.push((seen.kind, worst(&seen).unwrap(), seen.label.to_owned(), seen.lasts));
    });
    all
}

fn retry(attempt: u32, verdict: Verdict, decision: Decision) -> Option<(AlertKind, Severity)> {
    let told = event(&Event::Retry(RetryEvent { name: "upstream", attempt, verdict, decision }));
    told.first().map(|(kind, severity, ..)| (*kind, *severity))
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
        (1, Severity::Info),
        (4, Severity::Info),
        (5, Severity::Critical),
        (u32::MAX, Severity::Critical),
    ] {
        let told = retry(attempt, timeout, stop);
        assert_eq!(told, Some((AlertKind::Timeout, expected)), "attempt {attempt}");
    }
    let again = Decision::Retry { wait: Duration::ZERO };
    assert_eq!(retry(5, timeout, again), None, "it isn't over yet");
    assert_eq!(retry(5, Verdict::overloaded(), stop), None, "the outcome tells");
    let rejected = retry(1, Verdict::credential_rejected(), Decision::Return);
    assert_eq!(rejected, Some((AlertKind::CredentialRejected, Severity::Critical)));
}

#[test]
fn of_the_rules_that_are_met_the_most_severe_counts_whatever_their_order() {
    let minute = Duration::from_secs(60);
    let mut rules = vec![
        Rule::timeout_after(9).critical(),
        Rule::timeout().warning(),
        Rule::timeout().lasting(minute).critical(),
        Rule::timeout().lasting(minute * 9).critical(),
        Rule::timeout(),
        Rule::circuit_open().critical(),
    ];
    for _ in 0..2 {
        let verdict = Verdict::transient().cause_is(Cause::Timeout);
        let holds = Rules::new(rules.clone()).outcome(&verdict, None).unwrap().holds;
        assert_eq!(holds.of(Severity::Info), Some(Duration::ZERO));
        assert_eq!(holds.of(Severity::Warning), Some(Duration::ZERO));
        assert_eq!(holds.of(Severity::Critical), Some(minute));
        rules.reverse();
    }
    assert_eq!(Rules::new([]).outcome(&Verdict::overloaded(), None), None);
}

#[cfg(feature = "circuit-breaker")]
#[test]
fn circuits() {
    use crate::circuit_breaker::{CircuitEvent, OpenReason};
    let told = |reason, kind| {
        event(&Event::CircuitBreaker(CircuitEvent { circuit: "us", generation: 1, reason, kind }))
    };
    let seen = |kind| told(Some(OpenReason::Consecutive), kind);
    let open_for = Duration::from_secs(30);
    let opened = CircuitEventKind::Opened { cause: Cause::Timeout, open_for };
    let (kind, severity) = (AlertKind::CircuitOpen, Severity::Warning);
    assert_eq!(seen(opened), [(kind, severity, "us".to_owned(), Lasts::UntilOver)]);
    let closed = (kind, severity, "us".to_owned(), Lasts::Over);
    assert_eq!(seen(CircuitEventKind::Closed), [closed]);
    assert_eq!(seen(CircuitEventKind::HalfOpened), []);
    assert_eq!(told(Some(OpenReason::CredentialRejected), opened), []);
    assert_eq!(seen(CircuitEventKind::Rejected { retry_after: None }), []);
}

#[cfg(feature = "rate-limit")]
#[test]
fn pauses() {
    use crate::rate_limit::RateLimitEvent;
    let seen = |kind| event(&Event::RateLimit(RateLimitEvent { limiter: "api", kind }));
    let pause = Duration::from_secs(90);
    let (kind, severity) = (AlertKind::RateLimited, Severity::Info);
    let closed = (kind, severity, "api".to_owned(), Lasts::For(pause));
    assert_eq!(seen(RateLimitEventKind::GateClosed { pause }), [closed]);
    assert_eq!(seen(RateLimitEventKind::Rejected { retry_after: pause }), []);
}

#[cfg(feature = "failover")]
#[test]
fn regions() {
    use crate::failover::FailoverEvent;
    let seen = |region, kind| event(&Event::Failover(FailoverEvent { name: "", region, kind }));
    let lost = (AlertKind::RegionLost, Severity::Warning);
    let all = (AlertKind::AllRegionsLost, Severity::Critical);
    let out_for = Duration::from_secs(10);
    assert_eq!(
        seen("us", FailoverEventKind::Lost { cause: Cause::Timeout, out_for }),
        [(lost.0, lost.1, "us".to_owned(), Lasts::UntilOver)]
    );
    assert_eq!(
        seen("", FailoverEventKind::AllLost),
        [(all.0, all.1, String::new(), Lasts::UntilOver)]
    );
    assert_eq!(
        seen("us", FailoverEventKind::Back),
        [
            (lost.0, lost.1, "us".to_owned(), Lasts::Over),
            (all.0, all.1, String::new(), Lasts::Over)
        ]
    );
    // Nobody will say that it is back, nor that another one was lost which never was.
    let removed = (lost.0, lost.1, "us".to_owned(), Lasts::Over);
    assert_eq!(seen("us", FailoverEventKind::Removed), [removed]);
    assert_eq!(seen("ap", FailoverEventKind::Added), [(all.0, all.1, String::new(), Lasts::Over)]);
    assert_eq!(seen("us", FailoverEventKind::FailedOver { cause: Cause::Timeout }), []);
}

#[test]
fn an_error_is_judged_by_what_it_is() {
    let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
    let verdict = Outcome::error(&error).verdict();
    let seen = rules().outcome(&verdict, Some(&error)).unwrap();
    assert_eq!((seen.kind, worst(&seen)), (AlertKind::Timeout, Some(Severity::Info)));
}
