//! What is worth an alert, and how bad it is: plain functions of an event or an outcome.

use std::error::Error;

use super::{AlertKind, Severity};
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

/// What was seen, before anything is allocated for it: most of what is seen has
/// been told already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sighting<'a> {
    pub(super) kind: AlertKind,
    pub(super) severity: Severity,
    /// The name of the region, circuit or limiter; empty where there is none.
    pub(super) label: &'a str,
    pub(super) facts: Facts,
    pub(super) lasts: Lasts,
}

/// What a message says beside kind and label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) cause: Option<Cause>,
    /// How often the call was sent again, where that is known.
    pub(super) retries: Option<u32>,
}

/// Until when it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasts {
    /// Until it hasn't been seen for a while: nothing tells its end.
    WhileSeen,
    /// Until its end is told.
    UntilTold,
    /// This is its end.
    Over,
}

impl<'a> Sighting<'a> {
    fn new(kind: AlertKind, severity: Severity) -> Self {
        let lasts = Lasts::WhileSeen;
        Self { kind, severity, label: "", facts: Facts::default(), lasts }
    }

    fn of(mut self, label: &'a str, lasts: Lasts) -> Self {
        (self.label, self.lasts) = (label, lasts);
        self
    }

    fn cause(mut self, cause: Cause) -> Self {
        self.facts.cause = Some(cause);
        self
    }

    fn retries(mut self, retries: Option<u32>) -> Self {
        self.facts.retries = retries;
        self
    }
}

/// What can be set about the rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// A timeout after more retries than this is critical.
    pub(super) timeout_retries: u32,
}

impl Rules {
    /// Tells `seen` what an event is worth.
    pub(super) fn event<'a>(self, event: &Event<'a>, seen: impl FnMut(Sighting<'a>)) {
        // Not every feature's arm calls it in place.
        #[allow(unused_mut)]
        let mut seen = seen;
        match event {
            Event::Retry(event) => self.given_up(event).into_iter().for_each(seen),
            #[cfg(feature = "circuit-breaker")]
            Event::CircuitBreaker(event) => {
                let about = Sighting::new(AlertKind::CircuitOpen, Severity::Warning);
                match event.kind {
                    // The refused calls tell of a latched credential.
                    _ if event.reason.is_some_and(OpenReason::is_latch) => {}
                    CircuitEventKind::Opened { cause, .. } => {
                        seen(about.of(event.circuit, Lasts::UntilTold).cause(cause));
                    }
                    CircuitEventKind::Closed => seen(about.of(event.circuit, Lasts::Over)),
                    CircuitEventKind::HalfOpened
                    | CircuitEventKind::Recovering
                    | CircuitEventKind::Rejected { .. }
                    | CircuitEventKind::WouldReject => {}
                }
            }
            #[cfg(feature = "rate-limit")]
            Event::RateLimit(event) => {
                if let RateLimitEventKind::GateClosed { .. } = event.kind {
                    let about = Sighting::new(AlertKind::RateLimited, Severity::Info);
                    seen(about.of(event.limiter, Lasts::WhileSeen));
                }
            }
            #[cfg(feature = "failover")]
            Event::Failover(event) => {
                let lost = Sighting::new(AlertKind::RegionLost, Severity::Warning);
                let all = Sighting::new(AlertKind::AllRegionsLost, Severity::Critical);
                match event.kind {
                    FailoverEventKind::Lost { cause, .. } => {
                        seen(lost.of(event.region, Lasts::UntilTold).cause(cause));
                    }
                    FailoverEventKind::AllLost => seen(all.of("", Lasts::UntilTold)),
                    FailoverEventKind::Back => {
                        seen(lost.of(event.region, Lasts::Over));
                        seen(all.of("", Lasts::Over));
                    }
                    FailoverEventKind::FailedOver { .. } => {}
                }
            }
            // An alert about an alert would never end.
            _ => {}
        }
    }

    /// What only the retry knows, that it was all in vain; the rest of what is critical, for
    /// those who have no alert layer above.
    fn given_up(self, event: &RetryEvent) -> Option<Sighting<'static>> {
        if let Decision::Retry { .. } = event.decision {
            return None;
        }
        let seen = self.failure(&event.verdict, Some(event.attempt.saturating_sub(1)))?;
        (seen.severity == Severity::Critical).then_some(seen)
    }

    /// What a call's end, as its caller got it, is worth.
    pub(super) fn outcome<'a>(
        self,
        verdict: &Verdict,
        error: Option<&'a (dyn Error + 'static)>,
    ) -> Option<Sighting<'a>> {
        #[cfg(feature = "circuit-breaker")]
        if verdict.class() == Class::CircuitOpen
            && let Some(open) = error.and_then(|error| cause_ref::<CircuitOpen>(error))
        {
            // The same alert as that of the breaker's event, which may not be heard here.
            let about = Sighting::new(AlertKind::CircuitOpen, Severity::Warning);
            return Some(about.of(open.circuit(), Lasts::WhileSeen).cause(open.cause()));
        }
        let late = error.and_then(|error| cause_ref::<DeadlineExceeded>(error));
        self.failure(verdict, late.map(|late| late.attempt().saturating_sub(1)))
    }

    fn failure(self, verdict: &Verdict, retries: Option<u32>) -> Option<Sighting<'static>> {
        let cause = verdict.cause();
        let (kind, severity) = match verdict.class() {
            // The request's own fault is nobody's to mend here.
            Class::Success | Class::Rejected => return None,
            Class::QuotaExhausted => (AlertKind::QuotaExhausted, Severity::Critical),
            Class::CredentialRejected => (AlertKind::CredentialRejected, Severity::Critical),
            _ if matches!(cause, Cause::Timeout | Cause::Deadline) => {
                let in_vain = retries.is_some_and(|retries| retries > self.timeout_retries);
                let severity = if in_vain { Severity::Critical } else { Severity::Info };
                (AlertKind::Timeout, severity)
            }
            _ => (AlertKind::CallFailed, Severity::Info),
        };
        Some(Sighting::new(kind, severity).cause(cause).retries(retries))
    }
}

#[cfg(test)]
mod tests;
