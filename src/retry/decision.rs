//! Decides whether a failed attempt is followed by another, as a plain function.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Backoff;
use crate::event::{Decision, StopReason};
use crate::time::Instant;
use crate::verdict::{Class, Verdict};

/// How a server's hint of when to come back is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HintUse {
    /// Waits for the hint plus the backoff, if that has jitter: no call comes sooner than asked,
    /// and clients that were given the same hint don't come back together. Without jitter it waits
    /// for the longer of the two. The default.
    #[default]
    Floor,
    /// Waits for the hint. The backoff is used only without a hint.
    Replace,
    /// Ignores the hint.
    Ignore,
}

/// The shortest wait for an open circuit.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

type RetryIf = Arc<dyn Fn(&Verdict) -> bool + Send + Sync>;

/// The settings that a decision is made by.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) hint_use: HintUse,
    pub(super) hint_cap: Duration,
    pub(super) non_idempotent: bool,
    /// Whether a call ends at an open circuit instead of waiting for it.
    pub(super) fail_fast: bool,
    pub(super) retry_if: Option<RetryIf>,
}

/// What is known about a call when an attempt of it has failed.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub(super) struct AttemptFacts {
    /// How many attempts were made, not counting those that an open circuit here turned away.
    pub(super) made: u32,
    /// How many attempts may be made.
    pub(super) max_attempts: u32,
    /// Whether sending the request twice has the same effect as sending it once.
    pub(super) idempotent: bool,
    /// Whether the request, or a copy of it, is left to be sent again.
    pub(super) saved: bool,
    /// Whether the next attempt goes to another region, for which this one's hint doesn't hold.
    pub(super) elsewhere: bool,
    /// Whether the answer of an earlier attempt is there to be returned.
    pub(super) answered: bool,
    /// Whether an attempt was sent since the budget last paid for a retry.
    pub(super) owes: bool,
    pub(super) now: Instant,
    pub(super) deadline: Option<Instant>,
}

/// Returns whether a verdict is worth another attempt by default: a failure that may pass by
/// itself is, unless the server says otherwise; a fault of the request is only if the server says so.
#[must_use]
pub fn is_retryable(verdict: &Verdict) -> bool {
    match verdict.class() {
        Class::Throttled
        | Class::Overloaded
        | Class::NotSent
        | Class::Transient
        | Class::CircuitOpen => verdict.hint().should_retry != Some(false),
        Class::Rejected => verdict.hint().should_retry == Some(true),
        Class::Success | Class::QuotaExhausted | Class::CredentialRejected | Class::Local => false,
    }
}

/// Whether an attempt ended on this side before anything was sent, so that the upstream knows
/// nothing of it. A latched credential isn't meant: it was the upstream that refused it.
pub(super) fn is_rejected_locally(verdict: &Verdict) -> bool {
    matches!(verdict.class(), Class::CircuitOpen | Class::Local) && verdict.is_unsent()
}

impl Policy {
    /// Returns the longest hint that is obeyed.
    #[cfg(feature = "upstream")]
    pub(crate) fn longest_hint(&self) -> Duration {
        if self.hint_use == HintUse::Ignore { Duration::ZERO } else { self.hint_cap }
    }

    /// Decides. `failed` tells the budget of the failure, `backoff` draws the wait, and `withdraw`
    /// takes from the budget. Each is called at most once, in this order, and only if the decision
    /// gets to it.
    pub(super) fn decide(
        &self,
        verdict: &Verdict,
        facts: AttemptFacts,
        failed: impl FnOnce(),
        backoff: impl FnOnce(&Backoff) -> Duration,
        withdraw: impl FnOnce() -> bool,
    ) -> Decision {
        let hint = verdict.hint();
        match verdict.class() {
            Class::Local if facts.answered && is_rejected_locally(verdict) => {
                return Decision::Stop(StopReason::RejectedLocally);
            }
            Class::Success | Class::Local => return Decision::Return,
            Class::QuotaExhausted => return Decision::Stop(StopReason::QuotaExhausted),
            Class::CredentialRejected => return Decision::Stop(StopReason::CredentialRejected),
            // A fault of the request isn't a failure that was stopped, even if the server says not to
            // retry it.
            Class::Rejected if hint.should_retry == Some(false) => return Decision::Return,
            _ if hint.should_retry == Some(false) => {
                failed();
                return Decision::Stop(StopReason::ServerSaidNo);
            }
            _ => {}
        }
        let worth_it = match &self.retry_if {
            Some(retry_if) => retry_if(verdict),
            None => is_retryable(verdict),
        };
        if !worth_it {
            return match verdict.class() {
                Class::Rejected => Decision::Return,
                _ => Decision::Stop(StopReason::NotRetryable),
            };
        }
        // An open circuit here isn't one more failed attempt.
        if verdict.class() != Class::CircuitOpen {
            failed();
        }
        match self.stop_reason(verdict, facts) {
            Some(reason) => Decision::Stop(reason),
            None => self.decide_wait(verdict, facts, backoff, withdraw),
        }
    }

    fn stop_reason(&self, verdict: &Verdict, facts: AttemptFacts) -> Option<StopReason> {
        let safe = facts.idempotent
            || self.non_idempotent
            || verdict.is_unprocessed()
            || verdict.hint().should_retry == Some(true);
        if facts.made >= facts.max_attempts || facts.max_attempts <= 1 {
            Some(StopReason::MaxAttempts)
        } else if !safe {
            Some(StopReason::NotIdempotent)
        } else if verdict.class() == Class::CircuitOpen
            && (self.fail_fast || facts.deadline.is_none())
            && !facts.elsewhere
        {
            // All callers would wait as long as the circuit is open, while its purpose is to answer
            // at once.
            Some(StopReason::CircuitOpen)
        } else if !facts.saved {
            Some(StopReason::NotReplayable)
        } else {
            None
        }
    }

    fn decide_wait(
        &self,
        verdict: &Verdict,
        facts: AttemptFacts,
        backoff: impl FnOnce(&Backoff) -> Duration,
        withdraw: impl FnOnce() -> bool,
    ) -> Decision {
        // The time at which a circuit here lets calls through isn't a server's hint: only the deadline
        // bounds it.
        let rejected_locally = verdict.class() == Class::CircuitOpen;
        let asked = match self.hint_use {
            _ if facts.elsewhere => None,
            HintUse::Ignore if !rejected_locally => None,
            _ => verdict.hint().retry_after,
        };
        // A hint isn't shortened: keys are suspended for calling sooner than asked.
        if let Some(asked) = asked.filter(|asked| !rejected_locally && *asked > self.hint_cap) {
            return Decision::Stop(StopReason::HintAboveCap {
                requested: asked,
                cap: self.hint_cap,
            });
        }
        let wait = match (self.hint_use, asked) {
            _ if facts.elsewhere => Duration::ZERO,
            (HintUse::Replace, Some(asked)) => asked,
            (_, asked) => {
                let (wait, asked) = (backoff(&self.backoff), asked.unwrap_or_default());
                // Clients that were given the same hint must not come back together: a backoff
                // that has jitter goes on top of it.
                let on_top = if self.backoff.has_jitter() { wait } else { Duration::ZERO };
                wait.max(asked.saturating_add(on_top))
            }
        };
        // Attempts that are turned away aren't counted, so without a wait they would spin.
        let wait =
            if rejected_locally && !facts.elsewhere { wait.max(SHORTEST_WAIT) } else { wait };
        let left = facts.deadline.map(|deadline| deadline.saturating_duration_since(facts.now));
        if left.is_some_and(|left| wait >= left) {
            return Decision::Stop(StopReason::Deadline);
        }
        // Waiting for an open circuit costs nothing, as nothing was sent. Going to another region costs
        // nothing either: the budget bounds the extra load on an upstream that fails, and that region
        // isn't known to. Each region is tried once per round, and a region that failed is avoided by
        // all calls. A new round costs, even if the last attempt of the round before was turned away.
        let costs = !facts.elsewhere && (facts.owes || !rejected_locally);
        if costs && !withdraw() {
            return Decision::Stop(StopReason::Budget);
        }
        Decision::Retry { wait }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("max_attempts", &self.max_attempts)
            .field("backoff", &self.backoff)
            .field("hint_use", &self.hint_use)
            .field("hint_cap", &self.hint_cap)
            .field("non_idempotent", &self.non_idempotent)
            .field("fail_fast", &self.fail_fast)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
