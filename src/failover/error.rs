use std::error::Error;
use std::fmt;

use crate::error::BoxError;

/// Every region that could be tried failed.
///
/// Its source is the last error. Where the last answer was a response, that is
/// returned instead: a failover invents nothing.
#[derive(Debug)]
pub struct RegionsExhausted {
    tried: Vec<&'static str>,
    last: BoxError,
}

impl RegionsExhausted {
    pub(super) fn new(tried: Vec<&'static str>, last: BoxError) -> Self {
        Self { tried, last }
    }

    /// The names of the regions that were tried, in that order.
    #[must_use]
    pub fn tried(&self) -> &[&'static str] {
        &self.tried
    }
}

impl fmt::Display for RegionsExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no region answered; tried {}", self.tried.join(", "))
    }
}

impl Error for RegionsExhausted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.last)
    }
}
