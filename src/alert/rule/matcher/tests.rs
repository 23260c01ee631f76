use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::classify::Outcome;
use crate::error::{CircuitState, OpenReason};
use crate::event::{
    AlertKind, AllRegionsOut, CircuitChanged, CircuitRejected, Decision, Event, FailedOver,
    GateClosed, LimitRejected, RegionChange, RegionChanged, RetryDecided, Severity, StopReason,
};
use crate::verdict::Verdict;

/// The highest that it is at once, by the standard rules.
fn highest(observation: &Observation<'_>) -> Option<Severity> {
    let at_once =
        |severity: &Severity| observation.hold_times.get(*severity) == Some(Duration::ZERO);
    Severity::ALL.into_iter().rfind(at_once)
}

fn rules() -> RuleMatcher {
    RuleMatcher::new(Rule::standard())
}

fn result(verdict: Verdict) -> Option<(AlertKind, Severity)> {
    let observation = rules().match_result(&verdict, None)?;
    Some((observation.kind, highest(&observation)?))
}

fn event(event: &Event<'_>) -> Vec<(AlertKind, Severity, String, Lifetime)> {
    let mut all = Vec::new();
    rules().match_event(event, |observation| {
        all.push((
            observation.kind,
            highest(&observation).unwrap(),
            observation.label.to_owned(),
            observation.lifetime,
        ));
    });
    all
}

fn retry(attempt: u32, verdict: Verdict, decision: Decision) -> Option<(AlertKind, Severity)> {
    let raised = event(&RetryDecided::new("upstream", attempt, verdict, decision).into());
    raised.first().map(|(kind, severity, ..)| (*kind, *severity))
}

#[test]
fn result_verdict_decides_kind_and_severity() {
    let status = |status| Cause::Status(StatusCode::from_u16(status).unwrap());
    for (verdict, expected) in [
        (Verdict::success(), None),
        (Verdict::rejected().with_cause(status(404)), None),
        (
            Verdict::credential_rejected().with_cause(status(401)),
            Some((AlertKind::CredentialRejected, Severity::Critical)),
        ),
        (Verdict::quota_exhausted(), Some((AlertKind::QuotaExhausted, Severity::Critical))),
        (
            Verdict::transient().with_cause(Cause::Timeout),
            Some((AlertKind::Timeout, Severity::Info)),
        ),
        (
            Verdict::new(Class::Local).with_cause(Cause::Deadline),
            Some((AlertKind::Timeout, Severity::Info)),
        ),
        (Verdict::throttled(), Some((AlertKind::CallFailed, Severity::Info))),
        (Verdict::overloaded(), Some((AlertKind::CallFailed, Severity::Info))),
        (Verdict::not_sent(), Some((AlertKind::CallFailed, Severity::Info))),
        (Verdict::new(Class::Local), Some((AlertKind::CallFailed, Severity::Info))),
        // A circuit of another crate has no known name.
        (Verdict::new(Class::CircuitOpen), Some((AlertKind::CallFailed, Severity::Info))),
    ] {
        assert_eq!(result(verdict), expected, "{verdict:?}");
    }
}

#[test]
fn timeout_after_many_retries_is_critical() {
    let timeout = Verdict::transient().with_cause(Cause::Timeout);
    let stop = Decision::Stop(StopReason::MaxAttempts);
    for (attempt, expected) in [
        (1, Severity::Info),
        (4, Severity::Info),
        (5, Severity::Critical),
        (u32::MAX, Severity::Critical),
    ] {
        let raised = retry(attempt, timeout, stop);
        assert_eq!(raised, Some((AlertKind::Timeout, expected)), "attempt {attempt}");
    }
    let again = Decision::Retry { wait: Duration::ZERO };
    assert_eq!(retry(5, timeout, again), None, "the call is retried");
    assert_eq!(retry(5, Verdict::overloaded(), stop), None, "the alert layer reports it");
    let rejected = retry(1, Verdict::credential_rejected(), Decision::Return);
    assert_eq!(rejected, Some((AlertKind::CredentialRejected, Severity::Critical)));
}

#[test]
fn rules_highest_severity_counts_in_any_order() {
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
        let verdict = Verdict::transient().with_cause(Cause::Timeout);
        let holds =
            RuleMatcher::new(rules.clone()).match_result(&verdict, None).unwrap().hold_times;
        assert_eq!(holds.get(Severity::Info), Some(Duration::ZERO));
        assert_eq!(holds.get(Severity::Warning), Some(Duration::ZERO));
        assert_eq!(holds.get(Severity::Critical), Some(minute));
        rules.reverse();
    }
    assert_eq!(RuleMatcher::new(Vec::new()).match_result(&Verdict::overloaded(), None), None);
}

#[test]
fn rules_circuit_events() {
    let open_for = Duration::from_secs(30);
    let changed = |to, reason| {
        let (from, cause) = (CircuitState::Closed, Cause::Timeout);
        let reason = Some(reason);
        event(&CircuitChanged::new("us", from, to, 1, reason, cause, open_for).into())
    };
    let consecutive = OpenReason::Consecutive;
    let (kind, severity) = (AlertKind::CircuitOpen, Severity::Warning);
    let opened = (kind, severity, "us".to_owned(), Lifetime::UntilResolved);
    assert_eq!(changed(CircuitState::Open, consecutive), [opened]);
    let closed = (kind, severity, "us".to_owned(), Lifetime::Ended);
    assert_eq!(changed(CircuitState::Closed, consecutive), [closed]);
    assert_eq!(changed(CircuitState::HalfOpen, consecutive), []);
    assert_eq!(changed(CircuitState::Open, OpenReason::CredentialRejected), []);
    assert_eq!(event(&CircuitRejected::new("us", 1, consecutive, None).into()), []);
}

#[test]
fn rules_rate_limit_events() {
    let pause = Duration::from_secs(90);
    let (kind, severity) = (AlertKind::RateLimited, Severity::Info);
    let closed = (kind, severity, "api".to_owned(), Lifetime::AtLeast(pause));
    assert_eq!(event(&GateClosed::new("api", pause).into()), [closed]);
    assert_eq!(event(&LimitRejected::new("api", pause).into()), []);
}

#[test]
fn rules_region_events() {
    let changed = |region, change| event(&RegionChanged::new("", region, change).into());
    let out = (AlertKind::RegionOut, Severity::Warning);
    let all = (AlertKind::AllRegionsOut, Severity::Critical);
    let out_for = Duration::from_secs(10);
    assert_eq!(
        changed("us", RegionChange::Out { cause: Cause::Timeout, out_for }),
        [(out.0, out.1, "us".to_owned(), Lifetime::UntilResolved)]
    );
    assert_eq!(
        event(&AllRegionsOut::new("").into()),
        [(all.0, all.1, String::new(), Lifetime::UntilResolved)]
    );
    assert_eq!(
        changed("us", RegionChange::Healthy),
        [
            (out.0, out.1, "us".to_owned(), Lifetime::Ended),
            (all.0, all.1, String::new(), Lifetime::Ended)
        ]
    );
    // No other event reports that a removed region is healthy, or that an added one is not out.
    let removed = (out.0, out.1, "us".to_owned(), Lifetime::Ended);
    assert_eq!(changed("us", RegionChange::Removed), [removed]);
    let added = (all.0, all.1, String::new(), Lifetime::Ended);
    assert_eq!(changed("ap", RegionChange::Added), [added]);
    assert_eq!(event(&FailedOver::new("", "us", Cause::Timeout).into()), []);
}

#[test]
fn result_io_timeout_is_timeout() {
    let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
    let verdict = Outcome::error(&error).verdict();
    let observation = rules().match_result(&verdict, Some(&error)).unwrap();
    assert_eq!(
        (observation.kind, highest(&observation)),
        (AlertKind::Timeout, Some(Severity::Info))
    );
}
