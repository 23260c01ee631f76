use std::error::Error;
use std::time::Duration;

use super::definition::{Condition, Rule};
use crate::alert::observation::{Generation, HoldTimes, Lifetime, Observation};
use crate::error::{CircuitOpen, CircuitState, DeadlineExceeded, OpenReason, cause_ref};
use crate::event::{AlertKind, CircuitChanged, Decision, Event, RegionChange, RetryDecided};
use crate::scope::CallScope;
use crate::verdict::{Cause, Class, Verdict};

/// The rules about events and results of calls. Rules that measure are ignored.
#[derive(Clone, Debug)]
pub(in crate::alert) struct RuleMatcher(Vec<Rule>);

impl RuleMatcher {
    pub(in crate::alert) fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Returns the observation with the hold times of the rules that match it, or `None` if none does.
    fn matched<'a>(&self, observation: Observation<'a>) -> Option<Observation<'a>> {
        let matching = self.0.iter().filter(|rule| match rule.condition {
            Condition::Observed { kind, retries } => {
                kind == observation.kind
                    && retries.is_none_or(|max| observation.facts.retries > Some(max))
            }
            Condition::Measured(_) | Condition::Hanging(_) | Condition::Unmeasured => false,
        });
        let hold_times =
            matching.fold(HoldTimes::default(), |holds, rule| holds.with(rule.severity, rule.hold));
        hold_times.highest().map(|_| Observation { hold_times, ..observation })
    }

    /// Calls `notify` with each observation in this event that matches a rule.
    pub(in crate::alert) fn match_event<'a>(
        &self,
        event: &Event<'a>,
        mut notify: impl FnMut(Observation<'a>),
    ) {
        let mut observe = |one| self.matched(one).into_iter().for_each(&mut notify);
        match event {
            Event::RetryDecided(event) => final_failure(event).into_iter().for_each(observe),
            Event::CircuitChanged(event) => circuit_change(event).into_iter().for_each(observe),
            Event::GateClosed(event) => {
                let lifetime = Lifetime::AtLeast(event.pause);
                let mut closed = Observation::new(AlertKind::RateLimited, event.limiter, lifetime);
                closed.facts.retry_after = Some(event.pause);
                observe(closed);
            }
            Event::RegionChanged(event) => {
                let region =
                    |lifetime| Observation::new(AlertKind::RegionOut, event.region, lifetime);
                let all_out = Observation::new(AlertKind::AllRegionsOut, "", Lifetime::Ended);
                match event.change {
                    RegionChange::Out { cause, out_for } => {
                        let mut out = region(Lifetime::UntilResolved).with_cause(cause);
                        out.facts.retry_after = Some(out_for);
                        observe(out);
                    }
                    RegionChange::Healthy => {
                        observe(region(Lifetime::Ended));
                        observe(all_out);
                    }
                    RegionChange::Removed => observe(region(Lifetime::Ended)),
                    RegionChange::Added => observe(all_out),
                }
            }
            Event::AllRegionsOut(_) => {
                observe(Observation::new(AlertKind::AllRegionsOut, "", Lifetime::UntilResolved));
            }
            // Alerts about alerts would never end.
            _ => {}
        }
    }

    /// Returns the observation in a call's result, if it matches a rule.
    pub(in crate::alert) fn match_result<'a>(
        &self,
        verdict: &Verdict,
        error: Option<&'a (dyn Error + 'static)>,
    ) -> Option<Observation<'a>> {
        let expired = error.and_then(|error| cause_ref::<DeadlineExceeded>(error));
        let retries = expired.map(|expired| expired.attempt().saturating_sub(1));
        let mut failed = Observation { is_call: true, ..failure(verdict, retries)? };
        if (verdict.class() == Class::CircuitOpen || verdict.cause() == Cause::CircuitOpen)
            && let Some(open) = error.and_then(|error| cause_ref::<CircuitOpen>(error))
        {
            // The same alert as that of the breaker's event: the breaker may have another observer. A
            // latched credential is reported with the upstream's response.
            if verdict.class() == Class::CircuitOpen {
                failed = circuit(open.circuit(), failed.lifetime);
                failed.facts.reason = Some(open.reason());
                failed.facts.retry_after = open.retry_after();
            }
            failed.facts.cause = Some(open.cause());
        }
        self.matched(failed)
    }
}

fn circuit(name: &str, lifetime: Lifetime) -> Observation<'_> {
    // A breaker below a failover knows the region of the attempt.
    let region = CallScope::current().and_then(|scope| scope.region());
    Observation { region, ..Observation::new(AlertKind::CircuitOpen, name, lifetime) }
}

fn circuit_change<'a>(event: &CircuitChanged<'a>) -> Option<Observation<'a>> {
    // A latched credential is reported by the calls that its circuit rejects.
    if event.reason.is_some_and(OpenReason::is_latch) {
        return None;
    }
    let mut changed = match event.to {
        CircuitState::Open | CircuitState::ForcedOpen => {
            let mut opened =
                circuit(event.circuit, Lifetime::UntilResolved).with_cause(event.cause);
            opened.facts.reason = event.reason;
            opened.facts.retry_after = Some(event.open_for).filter(|time| *time < Duration::MAX);
            opened
        }
        CircuitState::Closed | CircuitState::ForcedClosed => {
            circuit(event.circuit, Lifetime::Ended)
        }
        CircuitState::HalfOpen | CircuitState::RampUp => return None,
    };
    changed.generation = Some(Generation(event.generation));
    Some(changed)
}

/// Returns the observation in the last failure of a call's retries: a timeout, whose number of attempts
/// only the retry layer knows, and conditions that stop every call, which need no alert layer. That
/// layer reports other failures.
fn final_failure(event: &RetryDecided<'_>) -> Option<Observation<'static>> {
    if let Decision::Retry { .. } = event.decision {
        return None;
    }
    let failed = failure(&event.verdict, Some(event.attempt.saturating_sub(1)))?;
    (failed.kind != AlertKind::CallFailed).then_some(failed)
}

fn failure(verdict: &Verdict, retries: Option<u32>) -> Option<Observation<'static>> {
    let cause = verdict.cause();
    let kind = match verdict.class() {
        // A request that the upstream rejects as invalid is no condition to be notified of.
        Class::Success | Class::Rejected => return None,
        Class::QuotaExhausted => AlertKind::QuotaExhausted,
        Class::CredentialRejected => AlertKind::CredentialRejected,
        _ if matches!(cause, Cause::Timeout | Cause::Deadline) => AlertKind::Timeout,
        _ => AlertKind::CallFailed,
    };
    let mut failed =
        Observation::new(kind, "", Lifetime::AtLeast(Duration::ZERO)).with_cause(cause);
    failed.facts.retries = retries;
    Some(failed)
}

#[cfg(test)]
mod tests;
