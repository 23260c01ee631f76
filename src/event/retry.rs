use std::fmt;
use std::time::Duration;

/// The decision of a retry layer about the result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Return it to the caller: it isn't a failure of the upstream.
    Return,
    /// Make another attempt after a wait.
    Retry {
        /// The wait before the next attempt.
        wait: Duration,
    },
    /// Return it to the caller: it is a failure that isn't retried.
    Stop(StopReason),
}

/// The reason for which a failed attempt isn't followed by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// It was the last attempt allowed.
    MaxAttempts,
    /// The server said not to retry.
    ServerSaidNo,
    /// The credential's quota is spent.
    QuotaExhausted,
    /// The upstream rejected the credential.
    CredentialRejected,
    /// The policy doesn't retry this verdict.
    NotRetryable,
    /// The request may have been processed and isn't idempotent.
    NotIdempotent,
    /// The request can't be repeated: its body was longer than what is recorded, or its type can't
    /// be cloned.
    NotReplayable,
    /// The server's hint exceeds the cap.
    HintAboveCap {
        /// The wait that the server requested.
        requested: Duration,
        /// The cap.
        cap: Duration,
    },
    /// The wait would exceed the deadline, or an attempt in flight did.
    Deadline,
    /// The retry budget is spent.
    Budget,
    /// A circuit is open, and the call doesn't wait for it.
    CircuitOpen,
    /// A local limit rejected the attempt. The result of the previous attempt is returned.
    RejectedLocally,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxAttempts => f.write_str("last attempt"),
            Self::ServerSaidNo => f.write_str("the server said not to retry"),
            Self::QuotaExhausted => f.write_str("quota exhausted"),
            Self::CredentialRejected => f.write_str("credential rejected"),
            Self::NotRetryable => f.write_str("not retryable"),
            Self::NotIdempotent => f.write_str("may have been processed, and not idempotent"),
            Self::NotReplayable => f.write_str("the request can't be repeated"),
            Self::HintAboveCap { requested, cap } => {
                write!(f, "the server requested {requested:.1?}, the cap is {cap:.1?}")
            }
            Self::Deadline => f.write_str("the deadline leaves no time"),
            Self::Budget => f.write_str("retry budget spent"),
            Self::CircuitOpen => f.write_str("the circuit is open"),
            Self::RejectedLocally => f.write_str("rejected by a local limit"),
        }
    }
}
