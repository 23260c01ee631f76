//! Whether a failed attempt is followed by another: one place, a plain function.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Backoff;
use crate::classify::{Class, Verdict};
use crate::time::Instant;

/// What is done with a server's hint of when to come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HintUse {
    /// The hint, with a backoff that has jitter on top: never sooner than asked,
    /// and those who were told the same don't come back together. Without jitter
    /// the longer of the two. The default.
    #[default]
    Floor,
    /// The wait is the hint; the backoff counts only where there is none.
    Replace,
    /// The hint is ignored.
    Ignore,
}

/// The shortest wait for a circuit.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

type RetryIf = Arc<dyn Fn(&Verdict) -> bool + Send + Sync>;

/// Everything that a decision goes by.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) hint_use: HintUse,
    pub(super) hint_cap: Duration,
    pub(super) non_idempotent: bool,
    /// An open circuit isn't waited for.
    pub(super) fail_fast: bool,
    pub(super) retry_if: Option<RetryIf>,
}

/// What is known of the call when an attempt has failed.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub(super) struct Facts {
    /// How many attempts were made: one that an open circuit here turned away wasn't.
    pub(super) made: u32,
    /// How many there may be.
    pub(super) max_attempts: u32,
    /// Whether sending twice does no more than sending once.
    pub(super) idempotent: bool,
    /// Whether there is something left to send.
    pub(super) kept: bool,
    /// Whether the next attempt goes to another region, of which what this one
    /// asked for says nothing.
    pub(super) elsewhere: bool,
    /// Whether there is an answer of an earlier attempt to return.
    pub(super) answered: bool,
    /// Whether an attempt was sent since a retry was last paid for.
    pub(super) owes: bool,
    pub(super) now: Instant,
    pub(super) deadline: Option<Instant>,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// It isn't a failure of the upstream: it goes to the caller.
    Return,
    /// Another attempt is made after this wait.
    Retry {
        /// How long.
        wait: Duration,
    },
    /// It is a failure, and goes to the caller all the same.
    Stop(StopReason),
}

/// Why a failed attempt isn't followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// It was the last one allowed.
    MaxAttempts,
    /// The server said not to send it again.
    ServerSaidNo,
    /// The account's quota is spent.
    QuotaExhausted,
    /// The credential was refused.
    CredentialRejected,
    /// The layer was told not to retry this verdict.
    NotRetryable,
    /// It may have been processed, and isn't idempotent.
    NotIdempotent,
    /// There is nothing left to send: the body was longer than what is
    /// recorded, or the request can't be repeated.
    NotReplayable,
    /// The server asked for a longer wait than the cap on it.
    HintAboveCap {
        /// What the server asked for.
        asked: Duration,
        /// The cap.
        cap: Duration,
    },
    /// The wait would pass the deadline, or an attempt in flight did.
    Deadline,
    /// The budget is spent.
    Budget,
    /// The circuit is open, and the call [fails fast](crate::RetryLayer::fail_fast) or has no deadline,
    /// without which nothing bounds the wait.
    CircuitOpen,
    /// A limit on this side turned the attempt away. The answer of the one before is returned.
    TurnedAway,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxAttempts => f.write_str("it was the last attempt"),
            Self::ServerSaidNo => f.write_str("the server said not to retry"),
            Self::QuotaExhausted => f.write_str("quota exhausted"),
            Self::CredentialRejected => f.write_str("credential rejected"),
            Self::NotRetryable => f.write_str("the layer doesn't retry this"),
            Self::NotIdempotent => {
                f.write_str("it may have been processed, and isn't safe to send twice")
            }
            Self::NotReplayable => f.write_str("the request can't be sent again"),
            Self::HintAboveCap { asked, cap } => {
                write!(f, "the server asked for {asked:.1?}, the cap is {cap:.1?}")
            }
            Self::Deadline => f.write_str("the deadline leaves no time"),
            Self::Budget => f.write_str("the retry budget is spent"),
            Self::CircuitOpen => {
                f.write_str("the circuit is open, and the call doesn't wait for it")
            }
            Self::TurnedAway => f.write_str("it was turned away on this side"),
        }
    }
}

/// Whether a verdict is worth another attempt by default: what may pass by
/// itself, unless the server says otherwise, and a request's own fault only if
/// the server says so.
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

/// Whether an attempt ended on this side before anything was sent, of which the upstream knows
/// nothing. A credential that is latched is something else: that is what the upstream said of it.
pub(super) fn is_turned_away(verdict: &Verdict) -> bool {
    matches!(verdict.class(), Class::CircuitOpen | Class::Local) && verdict.never_left()
}

impl Policy {
    /// The longest wait for which a server is obeyed.
    #[cfg(feature = "upstream")]
    pub(crate) fn longest_hint(&self) -> Duration {
        if self.hint_use == HintUse::Ignore { Duration::ZERO } else { self.hint_cap }
    }

    /// Decides. `failed` tells the budget that it has failed, `backoff` makes the wait by chance,
    /// `withdraw` takes from the budget; each is called once at most, in this order, and only
    /// when it comes to that.
    pub(super) fn decide(
        &self,
        verdict: &Verdict,
        facts: Facts,
        failed: impl FnOnce(),
        backoff: impl FnOnce(&Backoff) -> Duration,
        withdraw: impl FnOnce() -> bool,
    ) -> Decision {
        let hint = verdict.hint();
        match verdict.class() {
            Class::Local if facts.answered && is_turned_away(verdict) => {
                return Decision::Stop(StopReason::TurnedAway);
            }
            Class::Success | Class::Local => return Decision::Return,
            Class::QuotaExhausted => return Decision::Stop(StopReason::QuotaExhausted),
            Class::CredentialRejected => return Decision::Stop(StopReason::CredentialRejected),
            // The request's own fault stays that, also where the server adds that it is.
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
        // An open circuit here is no failure of another attempt.
        if verdict.class() != Class::CircuitOpen {
            failed();
        }
        match self.stop_reason(verdict, facts) {
            Some(reason) => Decision::Stop(reason),
            None => self.decide_wait(verdict, facts, backoff, withdraw),
        }
    }

    fn stop_reason(&self, verdict: &Verdict, facts: Facts) -> Option<StopReason> {
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
            // Every caller would wait as long as the circuit is open, and an open
            // circuit is there to answer at once.
            Some(StopReason::CircuitOpen)
        } else if !facts.kept {
            Some(StopReason::NotReplayable)
        } else {
            None
        }
    }

    fn decide_wait(
        &self,
        verdict: &Verdict,
        facts: Facts,
        backoff: impl FnOnce(&Backoff) -> Duration,
        withdraw: impl FnOnce() -> bool,
    ) -> Decision {
        // When a circuit here lets calls through isn't the server's word, and only the deadline's concern.
        let turned_away = verdict.class() == Class::CircuitOpen;
        let asked = match self.hint_use {
            _ if facts.elsewhere => None,
            HintUse::Ignore if !turned_away => None,
            _ => verdict.hint().retry_after,
        };
        // A hint isn't shortened: calling sooner than asked is what gets keys suspended.
        if let Some(asked) = asked.filter(|asked| !turned_away && *asked > self.hint_cap) {
            return Decision::Stop(StopReason::HintAboveCap { asked, cap: self.hint_cap });
        }
        let wait = match (self.hint_use, asked) {
            _ if facts.elsewhere => Duration::ZERO,
            (HintUse::Replace, Some(asked)) => asked,
            (_, asked) => {
                let (wait, asked) = (backoff(&self.backoff), asked.unwrap_or_default());
                // Those who were told the same time must not come back together
                // either: a backoff that has jitter goes on top of the hint.
                let on_top = if self.backoff.has_jitter() { wait } else { Duration::ZERO };
                wait.max(asked.saturating_add(on_top))
            }
        };
        // Attempts that are turned away aren't counted: without a wait they would spin.
        let wait = if turned_away && !facts.elsewhere { wait.max(SHORTEST_WAIT) } else { wait };
        let left = facts.deadline.map(|deadline| deadline.saturating_duration_since(facts.now));
        if left.is_some_and(|left| wait >= left) {
            return Decision::Stop(StopReason::Deadline);
        }
        // An open circuit here sends nothing, so waiting for it costs nothing. Nor does going to
        // another region: a budget bounds what an upstream that fails gets on top, and the other one
        // doesn't fail. Each region is tried once a round, and one that failed is left out by all calls.
        // But a new round costs, also if the last attempt of the one before was turned away.
        let costs = !facts.elsewhere && (facts.owes || !turned_away);
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
