use http::StatusCode;

use super::{Cause, GrpcCode};
use crate::hint::Hint;

/// What an answer means for those who must act on it.
///
/// A verdict is a [`Class`], the row of the table on which every layer acts; a
/// [`Cause`], what was seen; and a [`Hint`], what the server asked for.
///
/// It is made once, next to the answer, from the response's head or the error,
/// and small enough to be copied.
///
/// ```
/// use std::time::Duration;
/// use tower_upstream::classify::{Class, Verdict};
///
/// let verdict = Verdict::throttled().retry_after(Duration::from_secs(2));
/// assert_eq!(verdict.class(), Class::Throttled);
/// assert_eq!(verdict.hint().retry_after, Some(Duration::from_secs(2)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    class: Class,
    cause: Cause,
    hint: Hint,
    in_trailers: bool,
}

/// The rows of the verdict table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// The upstream did what it was asked to: 2xx, 3xx, gRPC `OK`.
    Success,
    /// The upstream asks for fewer calls: 429, `RESOURCE_EXHAUSTED`. Not processed.
    Throttled,
    /// The upstream has too much to do: 503, 529, `UNAVAILABLE` with a pushback.
    Overloaded,
    /// It failed before anything was sent: refused, not connected, `REFUSED_STREAM`.
    NotSent,
    /// It failed in a way that may pass, and may have been processed: a timeout, a reset, a 500.
    Transient,
    /// The account's money or quota is spent; waiting a little won't help.
    QuotaExhausted,
    /// The credential was refused: 401, a suspended key.
    CredentialRejected,
    /// The request's own fault: other 4xx, 501. The upstream is alive.
    Rejected,
    /// This crate answered in the upstream's place, as a circuit is open or a failover has no healthy
    /// region; nothing was sent.
    CircuitOpen,
    /// Another decision on this side: rate limited, load shed, deadline or budget spent.
    Local,
}

impl Verdict {
    /// The upstream did what it was asked to.
    pub const fn success() -> Self {
        Self::new(Class::Success)
    }

    /// The upstream asks for fewer calls.
    pub const fn throttled() -> Self {
        Self::new(Class::Throttled)
    }

    /// The upstream has too much to do.
    pub const fn overloaded() -> Self {
        Self::new(Class::Overloaded)
    }

    /// It failed before anything was sent.
    pub const fn not_sent() -> Self {
        Self::new(Class::NotSent)
    }

    /// It failed in a way that may pass, and may have been processed.
    pub const fn transient() -> Self {
        Self::new(Class::Transient)
    }

    /// The account's money or quota is spent.
    pub const fn quota_exhausted() -> Self {
        Self::new(Class::QuotaExhausted)
    }

    /// The credential was refused.
    pub const fn credential_rejected() -> Self {
        Self::new(Class::CredentialRejected)
    }

    /// The request's own fault.
    pub const fn rejected() -> Self {
        Self::new(Class::Rejected)
    }

    /// A verdict of this class, with no cause or hint known.
    pub const fn new(class: Class) -> Self {
        Self { class, cause: Cause::Unknown, hint: Hint::NONE, in_trailers: false }
    }

    /// The same verdict with this cause.
    pub const fn cause_is(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }

    /// The same verdict with this hint from the server.
    pub const fn hint_is(mut self, hint: Hint) -> Self {
        self.hint = hint;
        self
    }

    /// The same verdict, asked by the server to wait this long.
    pub const fn retry_after(mut self, wait: std::time::Duration) -> Self {
        self.hint = self.hint.retry_after(wait);
        self
    }

    /// The same verdict, read from trailers, after a head that said success.
    pub const fn in_trailers(mut self) -> Self {
        self.in_trailers = true;
        self
    }

    /// The row of the table.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }

    /// What was seen.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// What the server asked for.
    #[must_use]
    pub const fn hint(&self) -> Hint {
        self.hint
    }

    /// Whether it was read from trailers: the upstream had begun to answer, with a head that said success.
    #[must_use]
    pub const fn is_in_trailers(&self) -> bool {
        self.in_trailers
    }

    /// Whether the upstream did what it was asked to.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self.class, Class::Success)
    }

    /// Whether it is certain that the upstream did not act on the request: it
    /// never left, or was refused unprocessed (a 429, or a 503 that says when
    /// to come back). Not if it had begun to answer.
    #[must_use]
    pub const fn is_unprocessed(&self) -> bool {
        match self.class {
            _ if self.in_trailers => false,
            Class::Throttled => true,
            Class::Overloaded => self.hint.retry_after.is_some() && !self.hint.of_limits,
            _ => self.never_left(),
        }
    }

    /// Whether it speaks against the upstream itself: it is overloaded, can't be
    /// reached, or failed. A conflict (409, gRPC's `ABORTED`) or "too early" (425) doesn't.
    #[must_use]
    pub fn is_upstream_failure(&self) -> bool {
        match self.class {
            Class::Overloaded | Class::NotSent => true,
            Class::Transient => !matches!(
                self.cause,
                Cause::Status(StatusCode::CONFLICT | StatusCode::TOO_EARLY)
                    | Cause::Grpc(GrpcCode::Aborted)
            ),
            _ => false,
        }
    }

    /// Whether it shows that the upstream is alive, though it didn't do what it was asked to: it found
    /// the request or its credential at fault, in conflict or too early, or asked for patience. A
    /// fault that this side found says nothing about the upstream.
    #[cfg(any(feature = "circuit-breaker", feature = "failover"))]
    pub(crate) fn is_sign_of_life(&self) -> bool {
        let answered = matches!(self.cause, Cause::Status(_) | Cause::Grpc(_));
        answered
            && match self.class {
                Class::Rejected
                | Class::Throttled
                | Class::CredentialRejected
                | Class::QuotaExhausted => true,
                Class::Transient => !self.is_upstream_failure(),
                _ => false,
            }
    }

    /// Whether nothing left this side, so that a rate limiter's permit can be given back.
    #[must_use]
    pub const fn never_left(&self) -> bool {
        match self.class {
            Class::NotSent | Class::CircuitOpen => true,
            // A call that was cut off by its deadline may have been sent.
            Class::Local => !matches!(self.cause, Cause::Deadline),
            // A circuit breaker has latched the credential, and answered itself.
            _ => matches!(self.cause, Cause::CircuitOpen),
        }
    }
}
