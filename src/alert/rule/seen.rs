//! Which rules an event or a call's outcome meets: plain functions.

use std::error::Error;

use super::{Condition, Rule};
use crate::alert::observation::{Generation, Holds, Lasts, Observation};
use crate::error::{CircuitOpen, CircuitState, DeadlineExceeded, OpenReason, cause_ref};
use crate::event::{AlertKind, Decision, Event, RegionChange, RetryDecided};
use crate::scope::CallScope;
use crate::verdict::{Cause, Class, Verdict};

/// The rules about what is seen rather than measured. Other rules are passed over.
#[derive(Clone, Debug)]
pub(in crate::alert) struct Rules(Vec<Rule>);

impl Rules {
    pub(in crate::alert) fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self(rules.into_iter().collect())
    }

    /// Returns the observation with the rules that it meets, or `None` if it meets none.
    fn judge<'a>(&self, seen: Observation<'a>) -> Option<Observation<'a>> {
        let met = self.0.iter().filter(|rule| match rule.condition {
            Condition::Seen { kind, retries } => {
                kind == seen.kind && retries.is_none_or(|most| seen.details.retries > Some(most))
            }
            Condition::Measured(_) | Condition::Hanging(_) | Condition::Unmeasured => false,
        });
        let holds = met.fold(Holds::default(), |holds, rule| holds.and(rule.severity, rule.hold));
        (!holds.is_empty()).then_some(Observation { holds, ..seen })
    }

    /// Calls `emit` with each observation in this event that meets a rule.
    pub(in crate::alert) fn event<'a>(
        &self,
        event: &Event<'a>,
        mut emit: impl FnMut(Observation<'a>),
    ) {
        let mut seen = |seen| self.judge(seen).into_iter().for_each(&mut emit);
        match event {
            Event::RetryDecided(event) => given_up(event).into_iter().for_each(seen),
            Event::CircuitChanged(event) => {
                let generation = Some(Generation(event.generation));
                let circuit = |lasts| Observation { generation, ..circuit(event.circuit, lasts) };
                match event.to {
                    // The calls that a latched credential's circuit rejects report it.
                    _ if event.reason.is_some_and(OpenReason::is_latch) => {}
                    CircuitState::Open | CircuitState::ForcedOpen => {
                        seen(circuit(Lasts::UntilOver).cause(event.cause));
                    }
                    CircuitState::Closed | CircuitState::ForcedClosed => {
                        seen(circuit(Lasts::Over));
                    }
                    CircuitState::HalfOpen | CircuitState::RampUp => {}
                }
            }
            Event::GateClosed(event) => {
                let about = Observation::new(AlertKind::RateLimited, Lasts::For(event.pause));
                seen(about.of(event.limiter));
            }
            Event::RegionChanged(event) => {
                let out = |lasts| Observation::new(AlertKind::RegionOut, lasts).of(event.region);
                let all = |lasts| Observation::new(AlertKind::AllRegionsOut, lasts);
                match event.change {
                    RegionChange::Out { cause, .. } => seen(out(Lasts::UntilOver).cause(cause)),
                    RegionChange::Healthy => {
                        seen(out(Lasts::Over));
                        seen(all(Lasts::Over));
                    }
                    RegionChange::Removed => seen(out(Lasts::Over)),
                    RegionChange::Added => seen(all(Lasts::Over)),
                }
            }
            Event::AllRegionsOut(_) => {
                seen(Observation::new(AlertKind::AllRegionsOut, Lasts::UntilOver));
            }
            // An alert about an alert would never end.
            _ => {}
        }
    }

    /// Returns the observation in what a caller got, if it meets a rule.
    pub(in crate::alert) fn outcome<'a>(
        &self,
        verdict: &Verdict,
        error: Option<&'a (dyn Error + 'static)>,
    ) -> Option<Observation<'a>> {
        let late = error.and_then(|error| cause_ref::<DeadlineExceeded>(error));
        let seen = failure(verdict, late.map(|late| late.attempt().saturating_sub(1)))?;
        if (verdict.class() == Class::CircuitOpen || verdict.cause() == Cause::CircuitOpen)
            && let Some(open) = error.and_then(|error| cause_ref::<CircuitOpen>(error))
        {
            let seen = match verdict.class() {
                // The same alert as the breaker's event makes: the breaker may have another observer.
                Class::CircuitOpen => circuit(open.circuit(), seen.lasts),
                // A latched credential is notified with what the server said.
                _ => seen,
            };
            return self.judge(seen.cause(open.cause()));
        }
        self.judge(seen)
    }
}

fn circuit(name: &str, lasts: Lasts) -> Observation<'_> {
    // A breaker below a failover knows the region of the attempt.
    let region = CallScope::current().and_then(|scope| scope.region());
    Observation { region, ..Observation::new(AlertKind::CircuitOpen, lasts).of(name) }
}

/// Returns what a retry that gave up says: a timeout, as only the retry knows the number of attempts, and what
/// stops every call, which must be notified even without an alert layer above. Other failures are left to that
/// layer.
fn given_up(event: &RetryDecided<'_>) -> Option<Observation<'static>> {
    if let Decision::Retry { .. } = event.decision {
        return None;
    }
    let seen = failure(&event.verdict, Some(event.attempt.saturating_sub(1)))?;
    (seen.kind != AlertKind::CallFailed).then_some(seen)
}

fn failure(verdict: &Verdict, retries: Option<u32>) -> Option<Observation<'static>> {
    let cause = verdict.cause();
    let kind = match verdict.class() {
        // Of a request's own fault nobody need be notified.
        Class::Success | Class::Rejected => return None,
        Class::QuotaExhausted => AlertKind::QuotaExhausted,
        Class::CredentialRejected => AlertKind::CredentialRejected,
        _ if matches!(cause, Cause::Timeout | Cause::Deadline) => AlertKind::Timeout,
        _ => AlertKind::CallFailed,
    };
    let mut seen = Observation::new(kind, Lasts::For(std::time::Duration::ZERO)).cause(cause);
    seen.details.retries = retries;
    Some(seen)
}

#[cfg(test)]
mod tests;
