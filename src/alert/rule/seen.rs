//! What was seen, and the rules that it meets: plain functions of an event or an outcome.

use std::error::Error;

use super::{Condition, Rule};
use crate::alert::AlertKind;
#[cfg(feature = "circuit-breaker")]
use crate::alert::sighting::Turn;
use crate::alert::sighting::{Holds, Lasts, Sighting};
#[cfg(feature = "circuit-breaker")]
use crate::circuit_breaker::{CircuitEventKind, CircuitOpen, OpenReason};
use crate::classify::{Cause, Class, Verdict};
use crate::error::cause_ref;
use crate::event::Event;
#[cfg(feature = "failover")]
use crate::failover::FailoverEventKind;
#[cfg(feature = "rate-limit")]
use crate::rate_limit::RateLimitEventKind;
use crate::retry::{DeadlineExceeded, Decision, RetryEvent};
use crate::scope::CallScope;

/// The rules about what is seen, rather than measured.
#[derive(Clone, Debug)]
pub(in crate::alert) struct Rules(Vec<Rule>);

impl Rules {
    pub(in crate::alert) fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self(rules.into_iter().collect())
    }

    /// The same, with the rules that it meets; nothing if there are none.
    fn judge<'a>(&self, seen: Sighting<'a>) -> Option<Sighting<'a>> {
        let met = self.0.iter().filter(|rule| match rule.condition {
            Condition::Seen { kind, retries } => {
                // As many as that, and one more.
                kind == seen.kind && retries.is_none_or(|most| seen.facts.retries > Some(most))
            }
            Condition::Measured(_) | Condition::Hanging(_) | Condition::Unmeasured => false,
        });
        let holds = met.fold(Holds::default(), |holds, rule| holds.and(rule.severity, rule.hold));
        (!holds.is_empty()).then_some(Sighting { holds, ..seen })
    }

    /// Tells `tell` what an event is worth.
    pub(in crate::alert) fn event<'a>(
        &self,
        event: &Event<'a>,
        mut tell: impl FnMut(Sighting<'a>),
    ) {
        // Not every feature's arm calls it more than once.
        #[allow(unused_mut)]
        let mut seen = |seen| self.judge(seen).into_iter().for_each(&mut tell);
        match event {
            Event::Retry(event) => given_up(event).into_iter().for_each(seen),
            #[cfg(feature = "circuit-breaker")]
            Event::CircuitBreaker(event) => {
                let turn = Some(Turn(event.generation));
                let circuit = |lasts| Sighting { turn, ..circuit(event.circuit, lasts) };
                match event.kind {
                    // The refused calls tell of a latched credential.
                    _ if event.reason.is_some_and(OpenReason::is_latch) => {}
                    CircuitEventKind::Opened { cause, .. } => {
                        seen(circuit(Lasts::UntilOver).cause(cause));
                    }
                    CircuitEventKind::Closed => seen(circuit(Lasts::Over)),
                    CircuitEventKind::HalfOpened
                    | CircuitEventKind::Recovering
                    | CircuitEventKind::Rejected { .. }
                    | CircuitEventKind::WouldReject => {}
                }
            }
            #[cfg(feature = "rate-limit")]
            Event::RateLimit(event) => {
                if let RateLimitEventKind::GateClosed { pause } = event.kind {
                    let about = Sighting::new(AlertKind::RateLimited, Lasts::For(pause));
                    seen(about.of(event.limiter));
                }
            }
            #[cfg(feature = "failover")]
            Event::Failover(event) => {
                let lost = |lasts| Sighting::new(AlertKind::RegionLost, lasts).of(event.region);
                let all = |lasts| Sighting::new(AlertKind::AllRegionsLost, lasts);
                match event.kind {
                    FailoverEventKind::Lost { cause, .. } => {
                        seen(lost(Lasts::UntilOver).cause(cause));
                    }
                    FailoverEventKind::AllLost => seen(all(Lasts::UntilOver)),
                    FailoverEventKind::Back => {
                        seen(lost(Lasts::Over));
                        seen(all(Lasts::Over));
                    }
                    FailoverEventKind::Removed => seen(lost(Lasts::Over)),
                    FailoverEventKind::Added => seen(all(Lasts::Over)),
                    FailoverEventKind::FailedOver { .. } => {}
                }
            }
            // An alert about an alert would never end.
            _ => {}
        }
    }

    /// What a call's end, as its caller got it, is worth.
    pub(in crate::alert) fn outcome<'a>(
        &self,
        verdict: &Verdict,
        error: Option<&'a (dyn Error + 'static)>,
    ) -> Option<Sighting<'a>> {
        let late = error.and_then(|error| cause_ref::<DeadlineExceeded>(error));
        let seen = failure(verdict, late.map(|late| late.attempt().saturating_sub(1)))?;
        #[cfg(feature = "circuit-breaker")]
        if (verdict.class() == Class::CircuitOpen || verdict.cause() == Cause::CircuitOpen)
            && let Some(open) = error.and_then(|error| cause_ref::<CircuitOpen>(error))
        {
            let seen = match verdict.class() {
                // The same alert as that of the breaker's event, which may not be heard here.
                Class::CircuitOpen => circuit(open.circuit(), seen.lasts),
                // A latched credential is what the server said that it is.
                _ => seen,
            };
            return self.judge(seen.cause(open.cause()));
        }
        self.judge(seen)
    }
}

#[cfg(feature = "circuit-breaker")]
fn circuit(name: &str, lasts: Lasts) -> Sighting<'_> {
    // A breaker below a failover is told the region of the attempt.
    let region = CallScope::current().and_then(|scope| scope.region());
    Sighting { region, ..Sighting::new(AlertKind::CircuitOpen, lasts).of(name) }
}

/// What only the retry knows, that it was all in vain; and what stops every call, for those who
/// have no alert layer above. The rest is for the outcome to tell.
fn given_up(event: &RetryEvent) -> Option<Sighting<'static>> {
    if let Decision::Retry { .. } = event.decision {
        return None;
    }
    let seen = failure(&event.verdict, Some(event.attempt.saturating_sub(1)))?;
    (seen.kind != AlertKind::CallFailed).then_some(seen)
}

fn failure(verdict: &Verdict, retries: Option<u32>) -> Option<Sighting<'static>> {
    let cause = verdict.cause();
    let kind = match verdict.class() {
        // The request's own fault is nobody's to mend here.
        Class::Success | Class::Rejected => return None,
        Class::QuotaExhausted => AlertKind::QuotaExhausted,
        Class::CredentialRejected => AlertKind::CredentialRejected,
        _ if matches!(cause, Cause::Timeout | Cause::Deadline) => AlertKind::Timeout,
        _ => AlertKind::CallFailed,
    };
    let mut seen = Sighting::new(kind, Lasts::For(std::time::Duration::ZERO)).cause(cause);
    seen.facts.retries = retries;
    Some(seen)
}

#[cfg(test)]
mod tests;
