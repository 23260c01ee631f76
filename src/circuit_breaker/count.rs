use std::fmt;
use std::sync::Arc;

use http::StatusCode;

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
    /// asks for patience is well. So is a rejected one, except that it proves
    /// a half-open circuit's upstream alive.
    #[must_use]
    pub fn by_default(verdict: &Verdict) -> Self {
        match verdict.class() {
            Class::Success => Self::Success,
            Class::Transient if is_conflict(verdict.cause()) => Self::Neutral,
            Class::Overloaded | Class::NotSent | Class::Transient => Self::Failure,
            Class::Throttled
            | Class::QuotaExhausted
            | Class::CredentialRejected
            | Class::Rejected
            | Class::CircuitOpen
            | Class::Local => Self::Neutral,
        }
    }

    /// What it counts as for a probe: that the request was at fault proves the
    /// upstream alive.
    pub(super) fn of_probe(self, verdict: &Verdict) -> Self {
        match (self, verdict.class()) {
            (Self::Neutral, Class::Rejected) => Self::Success,
            _ => self,
        }
    }
}

fn is_conflict(cause: Cause) -> bool {
    matches!(cause, Cause::Status(StatusCode::CONFLICT | StatusCode::TOO_EARLY))
}

/// The user's closure in the place of [`Count::by_default`].
#[derive(Clone)]
pub(super) struct CountFn(Option<Arc<dyn Fn(&Verdict) -> Count + Send + Sync>>);

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
