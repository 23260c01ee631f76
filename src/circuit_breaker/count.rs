use std::fmt;
use std::sync::Arc;

use crate::error::OpenReason;
use crate::sync::{AtomicU64, Ordering};
use crate::time::{self, TimeOrigin};
use crate::verdict::{Class, Verdict};

/// What a verdict counts as in a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallResult {
    /// The upstream works.
    Success,
    /// The upstream doesn't work.
    Failure,
    /// Says nothing about the upstream's health.
    Neutral,
}

impl CallResult {
    /// What a verdict counts as by default.
    ///
    /// Failures are [`Overloaded`](Class::Overloaded), [`NotSent`](Class::NotSent) and
    /// [`Transient`](Class::Transient), except for the statuses 409 and 425, and gRPC's `ABORTED`.
    /// Those are neutral. So is a throttled call, as the upstream is healthy, and
    /// so is a rejected one. As a probe's result each of these is a success, since it proves the
    /// upstream alive.
    #[must_use]
    pub fn by_default(verdict: &Verdict) -> Self {
        if verdict.is_success() {
            Self::Success
        } else if verdict.is_upstream_failure() {
            Self::Failure
        } else {
            Self::Neutral
        }
    }

    /// Returns what a probe's result counts as: a proof of life is a success. Otherwise a circuit
    /// could never close for a client whose key is suspended.
    fn of_probe(self, verdict: &Verdict) -> Self {
        match self {
            Self::Neutral if verdict.is_proof_of_life() => Self::Success,
            _ => self,
        }
    }
}

/// Returns the reason to latch the credential of a call. `None` if the verdict is not a refusal of
/// the credential by the upstream.
pub(super) fn credential_rejection(verdict: &Verdict) -> Option<OpenReason> {
    match verdict.class() {
        _ if verdict.is_unsent() => None,
        Class::CredentialRejected => Some(OpenReason::CredentialRejected),
        Class::QuotaExhausted => Some(OpenReason::QuotaExhausted),
        _ => None,
    }
}

/// When a credential was last refused, while that matters.
#[derive(Debug)]
pub(super) struct CredentialRejections {
    start: TimeOrigin,
    /// In nanoseconds from `start`, plus one; 0: not lately.
    last: AtomicU64,
}

impl CredentialRejections {
    pub(super) fn new() -> Self {
        Self { start: TimeOrigin::new(time::now()), last: AtomicU64::new(0) }
    }

    pub(super) fn any(&self) -> bool {
        self.last.load(Ordering::Acquire) != 0
    }

    /// A credential was refused.
    pub(super) fn notice(&self) {
        self.last.fetch_max(self.now(), Ordering::AcqRel);
    }

    /// Which rejection was the last one, and for how many nanoseconds none has come.
    pub(super) fn last(&self) -> (u64, u64) {
        let last = self.last.load(Ordering::Acquire);
        (last, self.now().saturating_sub(last))
    }

    /// From now on there were none, unless another one has come since `last`.
    pub(super) fn clear(&self, last: u64) {
        _ = self.last.compare_exchange(last, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    fn now(&self) -> u64 {
        self.start.nanos(time::now()).saturating_add(1)
    }
}

/// What verdicts count as in a circuit.
#[derive(Clone)]
pub(super) enum CountingPolicy {
    /// By [`CallResult::by_default`].
    ByDefault,
    /// By the user's closure.
    By(Arc<Closure>),
    /// For a credential's circuit: refusals are the failures. Other failures don't speak against a
    /// credential, but only a success brings it back.
    CredentialRejections,
}

type Closure = dyn Fn(&Verdict) -> CallResult + Send + Sync;

impl CountingPolicy {
    pub(super) fn count(&self, verdict: &Verdict) -> CallResult {
        match self {
            Self::ByDefault => CallResult::by_default(verdict),
            Self::By(count) => count(verdict),
            Self::CredentialRejections if verdict.is_success() => CallResult::Success,
            Self::CredentialRejections if credential_rejection(verdict).is_some() => {
                CallResult::Failure
            }
            Self::CredentialRejections => CallResult::Neutral,
        }
    }

    pub(super) fn is_default(&self) -> bool {
        matches!(self, Self::ByDefault)
    }

    /// What a result counts as if the call was a probe.
    pub(super) fn of_probe(&self, count: CallResult, verdict: &Verdict) -> CallResult {
        match self {
            Self::ByDefault | Self::By(_) => count.of_probe(verdict),
            // A latch sends one probe at a time, minutes apart. A neutral result would give the probe's
            // slot back at once, and the next call would be another probe; so it counts as a
            // failure.
            Self::CredentialRejections if count == CallResult::Success => CallResult::Success,
            Self::CredentialRejections => CallResult::Failure,
        }
    }

    /// Returns the reason for which a circuit opens at this verdict, given the trip policy's `reason`.
    /// `None` keeps the reason of the previous opening.
    pub(super) fn reason(&self, reason: OpenReason, verdict: &Verdict) -> Option<OpenReason> {
        match self {
            Self::ByDefault | Self::By(_) => Some(reason),
            Self::CredentialRejections => credential_rejection(verdict),
        }
    }
}

impl fmt::Debug for CountingPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByDefault => "by_default",
            Self::By(_) => "closure",
            Self::CredentialRejections => "refusals",
        })
    }
}
