//! Decides whether a failed attempt is followed by another, as a plain function.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use crate::event::{Decision, StopReason};
use crate::time::Instant;
use crate::verdict::{Class, Verdict};

/// How a server's hint of when to return is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HintUse {
    /// Waits for the hint plus the backoff, if that has jitter, so that clients that received the same
    /// hint don't return together. Without jitter, waits for the longer of the two. The default.
    #[default]
    Floor,
    /// Waits for the hint. The backoff is used only without a hint.
    Replace,
    /// Ignores the hint.
    Ignore,
}

/// The shortest wait for an open circuit.
const MIN_CIRCUIT_WAIT: Duration = Duration::from_millis(10);

type RetryIf = Arc<dyn Fn(&Verdict) -> bool + Send + Sync>;

/// The settings of a decision.
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

/// The state of a call when one of its attempts has failed.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub(super) struct AttemptFacts {
    /// The number of attempts made, without those that an open circuit rejected locally.
    pub(super) attempts_made: u32,
    pub(super) max_attempts: u32,
    /// Whether sending the request twice has the same effect as sending it once.
    pub(super) idempotent: bool,
    /// Whether the request, or a copy of it, is left to be sent again.
    pub(super) replayable: bool,
    /// Whether the next attempt goes to another region, to which this one's hint doesn't apply.
    pub(super) other_region: bool,
    /// Whether the result of an earlier attempt can be returned.
    pub(super) has_previous_result: bool,
    /// Whether an attempt was sent since the budget last paid for a retry.
    pub(super) has_unpaid_attempt: bool,
    pub(super) now: Instant,
    pub(super) deadline: Option<Instant>,
}

/// Returns whether a verdict is retried by default. A failure that may pass is, unless the server
/// says otherwise; a faulty request is only if the server says so.
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

/// Returns whether an attempt was rejected locally, before anything was sent. A latched credential
/// isn't included: the upstream rejected it.
pub(super) fn is_rejected_locally(verdict: &Verdict) -> bool {
    matches!(verdict.class(), Class::CircuitOpen | Class::Local) && verdict.is_unsent()
}

impl Policy {
    /// Returns the longest hint that is obeyed.
    #[cfg(feature = "upstream")]
    pub(crate) fn longest_hint(&self) -> Duration {
        if self.hint_use == HintUse::Ignore { Duration::ZERO } else { self.hint_cap }
    }

    /// Decides. `failed` notifies the budget of the failure, `backoff` draws the wait, and `withdraw`
    /// withdraws from the budget. Each is called at most once, in this order, and only if the decision
    /// depends on it.
    pub(super) fn decide(
        &self,
        verdict: &Verdict,
        facts: AttemptFacts,
        failed: impl FnOnce(),
        backoff: impl FnOnce(&Backoff) -> Duration,
        withdraw: impl FnOnce() -> bool,
    ) -> Decision {
        let forbidden = verdict.hint().should_retry == Some(false);
        match verdict.class() {
            Class::Local if facts.has_previous_result && is_rejected_locally(verdict) => {
                return Decision::Stop(StopReason::RejectedLocally);
            }
            Class::Success | Class::Local => return Decision::Return,
            Class::QuotaExhausted => return Decision::Stop(StopReason::QuotaExhausted),
            Class::CredentialRejected => return Decision::Stop(StopReason::CredentialRejected),
            // A faulty request isn't a failure of the upstream, even if the server says not to retry
            // it.
            Class::Rejected if forbidden => return Decision::Return,
            _ if forbidden => {
                failed();
                return Decision::Stop(StopReason::ServerSaidNo);
            }
            _ => {}
        }
        let retryable = match &self.retry_if {
            Some(retry_if) => retry_if(verdict),
            None => is_retryable(verdict),
        };
        if !retryable {
            return match verdict.class() {
                Class::Rejected => Decision::Return,
                _ => Decision::Stop(StopReason::NotRetryable),
            };
        }
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
        // If all calls waited for an open circuit, it would not reject calls at once, as it is for.
        let waits = !self.fail_fast && facts.deadline.is_some();
        if facts.attempts_made >= facts.max_attempts || facts.max_attempts <= 1 {
            Some(StopReason::MaxAttempts)
        } else if !safe {
            Some(StopReason::NotIdempotent)
        } else if verdict.class() == Class::CircuitOpen && !waits && !facts.other_region {
            Some(StopReason::CircuitOpen)
        } else if !facts.replayable {
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
        let circuit_open = verdict.class() == Class::CircuitOpen;
        let wait = if facts.other_region {
            Duration::ZERO
        } else {
            // The time at which a local circuit admits calls isn't a server's hint: only the deadline
            // bounds it.
            let obeyed = circuit_open || self.hint_use != HintUse::Ignore;
            let hint = verdict.hint().retry_after.filter(|_| obeyed);
            // A hint isn't shortened: providers suspend keys that return too early.
            if let Some(requested) = hint.filter(|hint| !circuit_open && *hint > self.hint_cap) {
                let cap = self.hint_cap;
                return Decision::Stop(StopReason::HintAboveCap { requested, cap });
            }
            match (self.hint_use, hint) {
                (HintUse::Replace, Some(hint)) => hint,
                (_, hint) => {
                    let wait = backoff(&self.backoff);
                    let jitter = if self.backoff.has_jitter() { wait } else { Duration::ZERO };
                    wait.max(hint.unwrap_or_default().saturating_add(jitter))
                }
            }
        };
        // Locally rejected attempts aren't counted, so without a wait the call would spin.
        let must_wait = circuit_open && !facts.other_region;
        let wait = if must_wait { wait.max(MIN_CIRCUIT_WAIT) } else { wait };
        let left = facts.deadline.map(|deadline| deadline.saturating_duration_since(facts.now));
        if left.is_some_and(|left| wait >= left) {
            return Decision::Stop(StopReason::Deadline);
        }
        // Waiting for an open circuit is free, since nothing was sent. So is another region: the budget
        // bounds the extra load on a failing upstream, each region is tried once per round, and all
        // calls avoid a region that failed. A new round costs, even if the last attempt of the round
        // before was rejected locally.
        let costs = !facts.other_region && (facts.has_unpaid_attempt || !circuit_open);
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
