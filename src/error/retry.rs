use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::{BoxError, GrpcStatus};
use crate::verdict::{Cause, Class, GrpcCode, Verdict};

/// The error of a call whose deadline passed, either during an attempt, which was dropped, or before
/// an attempt was sent.
///
/// To a tonic client (feature `tonic`) it is `DEADLINE_EXCEEDED`.
#[derive(Debug)]
pub struct DeadlineExceeded {
    attempt: u32,
    status: GrpcStatus,
}

impl DeadlineExceeded {
    /// Creates the error of a call whose deadline passed during this attempt; the first is 1.
    #[must_use]
    pub fn new(attempt: u32) -> Self {
        Self { attempt, status: GrpcStatus::default() }
    }

    /// Returns the number of the attempt; the first is 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    #[allow(clippy::unused_self)] // like the other errors
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::new(Class::Local).with_cause(Cause::Deadline)
    }
}

impl fmt::Display for DeadlineExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deadline exceeded during attempt {}", self.attempt)
    }
}

impl Error for DeadlineExceeded {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.status.source(GrpcCode::DeadlineExceeded, self)
    }
}

/// The error of an attempt that exceeded its timeout and was dropped.
///
/// To a tonic client (feature `tonic`) it is `DEADLINE_EXCEEDED`.
#[derive(Debug)]
pub struct AttemptTimedOut {
    timeout: Duration,
    status: GrpcStatus,
}

impl AttemptTimedOut {
    /// Creates the error of an attempt that exceeded this timeout.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, status: GrpcStatus::default() }
    }

    /// Returns the timeout.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    #[allow(clippy::unused_self)] // like the other errors
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::transient().with_cause(Cause::Timeout)
    }
}

impl fmt::Display for AttemptTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no response within {:?}", self.timeout)
    }
}

impl Error for AttemptTimedOut {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.status.source(GrpcCode::DeadlineExceeded, self)
    }
}

/// The error of a call whose credential the upstream rejected: the key is invalid or suspended.
///
/// A retry layer returns it if it is configured to, in place of the response or error. An error
/// becomes its source. If there was a response, a tonic client (feature `tonic`) sees
/// `UNAUTHENTICATED`.
#[derive(Debug)]
pub struct CredentialRejected {
    cause: Cause,
    source: Option<BoxError>,
    status: GrpcStatus,
}

impl CredentialRejected {
    /// Creates the error of a response or error with this cause.
    #[must_use]
    pub fn new(cause: Cause) -> Self {
        Self { cause, source: None, status: GrpcStatus::default() }
    }

    /// Sets the error that rejected the credential as the source.
    #[must_use]
    pub fn with_source(self, source: impl Into<BoxError>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Returns the cause of the upstream's response or error.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::credential_rejected().with_cause(self.cause)
    }
}

impl fmt::Display for CredentialRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the credential is invalid or suspended ({})", self.cause)
    }
}

impl Error for CredentialRejected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Some(error) = &self.source {
            return Some(&**error);
        }
        self.status.source(GrpcCode::Unauthenticated, self)
    }
}
