use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::classify::{Cause, Class, Verdict};

/// The call's deadline passed while an attempt was in flight, which was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlineExceeded {
    attempt: u32,
}

impl DeadlineExceeded {
    pub(super) fn new(attempt: u32) -> Self {
        Self { attempt }
    }

    /// Which attempt was in flight; the first is 1.
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

impl Error for DeadlineExceeded {}

/// An attempt took longer than it may, and was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptTimedOut {
    timeout: Duration,
}

impl AttemptTimedOut {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout }
    }

    /// How long an attempt may take.
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

impl Error for AttemptTimedOut {}

/// The upstream refused the credential: the key is invalid or suspended.
///
/// Only where [`credential_error`](super::RetryLayer::credential_error) asks for
/// it; otherwise the response itself is returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRejected {
    cause: Cause,
}

impl CredentialRejected {
    pub(super) fn new(cause: Cause) -> Self {
        Self { cause }
    }

    /// What the upstream answered.
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

impl Error for CredentialRejected {}
