use std::fmt;
use std::sync::Arc;

use crate::classify::{Cause, Class, Verdict};

/// What a verdict counts as in a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Count {
    /// The upstream works.
    Success,
    /// The upstream doesn't work.
    Failure,
    /// Says nothing about the upstream's health.
    Neutral,
}

impl Count {
    /// What a verdict counts as by default.
    ///
    /// Failures are [`Overloaded`](Class::Overloaded),
    /// [`NotSent`](Class::NotSent) and [`Transient`](Class::Transient), except
    /// for the statuses 409 and 425. A throttled call is neutral: a server that
    /// asks for patience is well. So is a rejected one. Both prove a half-open
    /// circuit's upstream alive.
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

    /// What it counts as for a probe: an upstream that finds the request or its
    /// credential at fault, or asks for patience, is alive. Were it not so, a
    /// suspended key would look like an open circuit for ever. A fault that was
    /// found on this side proves nothing.
    pub(super) fn of_probe(self, verdict: &Verdict) -> Self {
        let is_alive = matches!(
            verdict.class(),
            Class::Rejected | Class::Throttled | Class::CredentialRejected | Class::QuotaExhausted
        );
        match verdict.cause() {
            Cause::Status(_) | Cause::Grpc(_) if is_alive && self == Self::Neutral => Self::Success,
            _ => self,
        }
    }
}

/// The user's closure in the place of [`Count::by_default`].
#[derive(Clone)]
pub(super) struct CountFn(Option<Arc<Closure>>);

type Closure = dyn Fn(&Verdict) -> Count + Send + Sync;

impl CountFn {
    pub(super) const BY_DEFAULT: Self = Self(None);

    pub(super) fn new(f: impl Fn(&Verdict) -> Count + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(f)))
    }

    #[inline]
    pub(super) fn count(&self, verdict: &Verdict) -> Count {
        self.0.as_ref().map_or_else(|| Count::by_default(verdict), |count| count(verdict))
    }
}

impl fmt::Debug for CountFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "closure" } else { "by_default" })
    }
}
