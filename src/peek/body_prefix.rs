use std::fmt;

use http::{HeaderMap, StatusCode};

use crate::classify::Outcome;
use crate::verdict::Verdict;

/// A response's head, and what was read of its body.
#[derive(Clone, Copy)]
pub struct BodyPrefix<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

impl<'a> BodyPrefix<'a> {
    pub(super) const fn new(status: StatusCode, headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        Self { status, headers, body }
    }

    /// Returns the status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns the body, or its beginning if it is longer than what is read.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Returns what the head alone means.
    pub fn verdict(&self) -> Verdict {
        Outcome::head(self.status, self.headers).verdict()
    }
}

impl fmt::Debug for BodyPrefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without headers and body, which can hold secrets.
        f.debug_struct("BodyPrefix").field("status", &self.status).finish_non_exhaustive()
    }
}
