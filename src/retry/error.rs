use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::classify::{Cause, Class, GrpcCode, Verdict};
use crate::error::{BoxError, LazyStatus};

/// The call's deadline passed while an attempt was in flight, which was then dropped, or before an
/// attempt could be sent.
///
/// Over tonic, with the feature `tonic`, a client sees it as `DEADLINE_EXCEEDED`.
#[derive(Debug)]
pub struct DeadlineExceeded {
    attempt: u32,
    status: LazyStatus,
}

impl DeadlineExceeded {
    pub(super) fn new(attempt: u32) -> Self {
        Self { attempt, status: LazyStatus::default() }
    }

    /// Returns which attempt that was; the first is 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    #[allow(clippy::unused_self)] // as its siblings
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::new(Class::Local).cause_is(Cause::Deadline)
    }
}

impl fmt::Display for DeadlineExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the deadline passed during attempt {}", self.attempt)
    }
}

impl Error for DeadlineExceeded {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.status.source(GrpcCode::DeadlineExceeded, self)
    }
}

/// An attempt took longer than it may and was dropped.
///
/// Over tonic, with the feature `tonic`, a client sees it as `DEADLINE_EXCEEDED`.
#[derive(Debug)]
pub struct AttemptTimedOut {
    timeout: Duration,
    status: LazyStatus,
}

impl AttemptTimedOut {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, status: LazyStatus::default() }
    }

    /// Returns how long an attempt may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    #[allow(clippy::unused_self)] // as its siblings
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::transient().cause_is(Cause::Timeout)
    }
}

impl fmt::Display for AttemptTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {:?}", self.timeout)
    }
}

impl Error for AttemptTimedOut {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.status.source(GrpcCode::DeadlineExceeded, self)
    }
}

/// The upstream refused the credential: the key is invalid or suspended.
///
/// Returned only if [`credential_error`](super::RetryLayer::credential_error) is set; otherwise the
/// caller gets the response or error itself. If it was an error, it is the source of this one. If it
/// was a response, a client over tonic, with the feature `tonic`, sees `UNAUTHENTICATED`.
#[derive(Debug)]
pub struct CredentialRejected {
    cause: Cause,
    source: Option<BoxError>,
    status: LazyStatus,
}

impl CredentialRejected {
    pub(super) fn new(cause: Cause, source: Option<BoxError>) -> Self {
        Self { cause, source, status: LazyStatus::default() }
    }

    /// Returns what the upstream answered.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::credential_rejected().cause_is(self.cause)
    }
}

impl fmt::Display for CredentialRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key is invalid or suspended ({})", self.cause)
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
