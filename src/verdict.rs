//! The meaning of one result: a [`Verdict`] of [`Class`], [`Cause`] and hint.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::hint::Hint;

/// The meaning of a response or error for every layer.
///
/// A verdict has a [`Class`], the row of the verdict table on which layers act; a [`Cause`], the
/// kind of status or failure; and a [`Hint`], the server's request to wait. It is created once,
/// from the response's head or the error, and is cheap to copy.
///
/// ```
/// use std::time::Duration;
/// use tower_upstream::classify::{Class, Verdict};
///
/// let verdict = Verdict::throttled().with_retry_after(Duration::from_secs(2));
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
    /// The upstream processed the request: 2xx, 3xx, gRPC `OK`.
    Success,
    /// The upstream requests a lower rate: 429, `RESOURCE_EXHAUSTED`. Not processed.
    Throttled,
    /// The upstream is overloaded: 503, 529, `UNAVAILABLE` with a pushback.
    Overloaded,
    /// The attempt failed before anything was sent: refused, not connected, `REFUSED_STREAM`.
    NotSent,
    /// A temporary failure after which the request may have been processed: timeout, reset, 500.
    Transient,
    /// The credential's money or quota is spent; a short wait doesn't help.
    QuotaExhausted,
    /// The upstream rejected the credential: 401, a suspended key.
    CredentialRejected,
    /// The request itself is at fault: other 4xx, 501. The upstream is alive.
    Rejected,
    /// A circuit of this crate is open, or a failover has no healthy region. Nothing was sent.
    CircuitOpen,
    /// Another local decision: rate limited, load shed, deadline or budget spent.
    Local,
}

impl Verdict {
    /// Creates a verdict of class [`Class::Success`].
    pub const fn success() -> Self {
        Self::new(Class::Success)
    }

    /// Creates a verdict of class [`Class::Throttled`].
    pub const fn throttled() -> Self {
        Self::new(Class::Throttled)
    }

    /// Creates a verdict of class [`Class::Overloaded`].
    pub const fn overloaded() -> Self {
        Self::new(Class::Overloaded)
    }

    /// Creates a verdict of class [`Class::NotSent`].
    pub const fn not_sent() -> Self {
        Self::new(Class::NotSent)
    }

    /// Creates a verdict of class [`Class::Transient`].
    pub const fn transient() -> Self {
        Self::new(Class::Transient)
    }

    /// Creates a verdict of class [`Class::QuotaExhausted`].
    pub const fn quota_exhausted() -> Self {
        Self::new(Class::QuotaExhausted)
    }

    /// Creates a verdict of class [`Class::CredentialRejected`].
    pub const fn credential_rejected() -> Self {
        Self::new(Class::CredentialRejected)
    }

    /// Creates a verdict of class [`Class::Rejected`].
    pub const fn rejected() -> Self {
        Self::new(Class::Rejected)
    }

    /// Creates a verdict of this class, with an unknown cause and no hint.
    pub const fn new(class: Class) -> Self {
        Self { class, cause: Cause::Unknown, hint: Hint::NONE, in_trailers: false }
    }

    /// Sets the cause.
    pub const fn with_cause(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }

    /// Sets the server's hint.
    pub const fn with_hint(mut self, hint: Hint) -> Self {
        self.hint = hint;
        self
    }

    /// Sets the wait that the server requested.
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.hint = self.hint.with_retry_after(wait);
        self
    }

    /// Marks the verdict as read from trailers that follow a successful head.
    pub const fn in_trailers(mut self) -> Self {
        self.in_trailers = true;
        self
    }

    /// Returns the row of the verdict table.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }

    /// Returns the kind of status or failure.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// Returns the server's hint.
    #[must_use]
    pub const fn hint(&self) -> Hint {
        self.hint
    }

    /// Returns whether the verdict was read from trailers that follow a successful head.
    #[must_use]
    pub const fn is_in_trailers(&self) -> bool {
        self.in_trailers
    }

    /// Returns whether the class is [`Class::Success`].
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self.class, Class::Success)
    }

    /// Returns whether the upstream certainly did not process the request: nothing was sent, or it
    /// was refused unprocessed (a 429, or a 503 with a `Retry-After`). False once a response has
    /// started.
    #[must_use]
    pub const fn is_unprocessed(&self) -> bool {
        match self.class {
            _ if self.in_trailers => false,
            Class::Throttled => true,
            Class::Overloaded => self.hint.retry_after.is_some() && !self.hint.of_limits,
            _ => self.is_unsent(),
        }
    }

    /// Returns whether the upstream itself failed: it is overloaded, unreachable or broken.
    /// Conflicts (409, gRPC's `ABORTED`) and "too early" (425) are no such failures.
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

    /// Returns whether the result proves that the upstream is alive, although it isn't a success:
    /// the upstream itself answered with a status that isn't [its own
    /// failure](Self::is_upstream_failure). A local rejection proves nothing.
    pub(crate) fn is_proof_of_life(&self) -> bool {
        let responded = matches!(self.cause, Cause::Status(_) | Cause::Grpc(_));
        responded
            && match self.class {
                Class::Rejected
                | Class::Throttled
                | Class::CredentialRejected
                | Class::QuotaExhausted => true,
                Class::Transient => !self.is_upstream_failure(),
                _ => false,
            }
    }

    /// Returns whether nothing was sent, so that a rate limiter's permit can be refunded.
    #[must_use]
    pub const fn is_unsent(&self) -> bool {
        match self.class {
            Class::NotSent | Class::CircuitOpen => true,
            // A call that its deadline ended may have been sent.
            Class::Local => !matches!(self.cause, Cause::Deadline),
            // A latched credential: the circuit breaker rejected the call.
            _ => matches!(self.cause, Cause::CircuitOpen),
        }
    }
}

/// The kind of a status or failure, without its text.
///
/// Error messages can contain URLs, keys and bodies. A cause contains none of them, so it is safe in
/// logs, metrics and alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Unknown, or not set by the classifier.
    Unknown,
    /// An HTTP status.
    Status(StatusCode),
    /// A gRPC status.
    Grpc(GrpcCode),
    /// No response within the timeout.
    Timeout,
    /// The connection could not be established.
    Connect,
    /// The connection broke, or the peer violated the protocol.
    Connection,
    /// The HTTP/2 peer refused the stream, or went away before it processed the stream.
    RefusedStream,
    /// A circuit is open, or a failover has no healthy region.
    CircuitOpen,
    /// A local limit: this crate's rate limiter, or tower's load shed.
    LocalLimit,
    /// The call's own deadline passed.
    Deadline,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {}", status.as_u16()),
            Self::Grpc(code) => write!(f, "grpc status {code}"),
            Self::Unknown => f.write_str("unknown failure"),
            Self::Timeout => f.write_str("timeout"),
            Self::Connect => f.write_str("connection failed"),
            Self::Connection => f.write_str("connection broken"),
            Self::RefusedStream => f.write_str("stream refused"),
            Self::CircuitOpen => f.write_str("circuit open"),
            Self::LocalLimit => f.write_str("local limit"),
            Self::Deadline => f.write_str("deadline exceeded"),
        }
    }
}

macro_rules! grpc_codes {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        /// A gRPC status code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // gRPC defines their meaning
        pub enum GrpcCode {
            $($name = $number,)*
        }

        impl GrpcCode {
            /// Returns the code with this number; `UNKNOWN` for an unknown number, as gRPC requires.
            #[must_use]
            pub const fn from_number(number: u32) -> Self {
                match number {
                    $($number => Self::$name,)*
                    _ => Self::Unknown,
                }
            }

            /// Returns the code with this name in the gRPC specification's spelling.
            pub(crate) fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Returns the code's name in the gRPC specification's spelling.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

grpc_codes! {
    Ok = 0, "OK";
    Cancelled = 1, "CANCELLED";
    Unknown = 2, "UNKNOWN";
    InvalidArgument = 3, "INVALID_ARGUMENT";
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED";
    NotFound = 5, "NOT_FOUND";
    AlreadyExists = 6, "ALREADY_EXISTS";
    PermissionDenied = 7, "PERMISSION_DENIED";
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED";
    FailedPrecondition = 9, "FAILED_PRECONDITION";
    Aborted = 10, "ABORTED";
    OutOfRange = 11, "OUT_OF_RANGE";
    Unimplemented = 12, "UNIMPLEMENTED";
    Internal = 13, "INTERNAL";
    Unavailable = 14, "UNAVAILABLE";
    DataLoss = 15, "DATA_LOSS";
    Unauthenticated = 16, "UNAUTHENTICATED";
}

impl fmt::Display for GrpcCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
