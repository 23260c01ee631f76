//! What a server asks of its clients: when to come back, and whether to.
//!
//! | header | written as | by |
//! |---|---|---|
//! | `retry-after` | seconds, fractions of them, or an HTTP date | RFC 9110 §10.2.3 |
//! | `retry-after-ms`, `x-ms-retry-after-ms` | milliseconds | OpenAI, Azure |
//! | `x-should-retry` | `true` or `false` | OpenAI, Anthropic |
//! | `grpc-retry-pushback-ms` | milliseconds; anything else means *do not retry* | gRPC A6 |
//!
//! What is malformed, negative, past, shorter than a millisecond or longer than
//! 366 days means *unknown*, never zero: a zero would turn a server's mistake
//! into a storm. So does a zero itself, but for gRPC's, which says *at once*. A
//! date is measured against the answer's own `Date` where it has one, as clocks
//! differ.
//!
//! The first header that means something is taken, in this order: pushback,
//! milliseconds, `retry-after`. Of one header sent several times it is the
//! longest wait, and *no* rather than *yes*.

mod pushback;
mod retry_after;
mod should_retry;
#[cfg(test)]
mod tests;
mod value;

use std::time::Duration;

use http::HeaderMap;

/// What a server asked for in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hint {
    /// How long to wait before calling again. `None`: not said.
    pub retry_after: Option<Duration>,
    /// Whether to send the same request again at all, over what the status
    /// says. `None`: not said.
    pub should_retry: Option<bool>,
}

impl Hint {
    /// Nothing was said.
    pub const NONE: Self = Self { retry_after: None, should_retry: None };

    /// The same hint, to wait this long.
    #[must_use]
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same hint, to send the request again or not.
    #[must_use]
    pub const fn should_retry(mut self, retry: bool) -> Self {
        self.should_retry = Some(retry);
        self
    }

    /// The hint in a response's headers.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let pushback = pushback::parse(headers);
        Self {
            retry_after: match pushback {
                Some(pushback) => pushback.wait(),
                None => retry_after::parse(headers),
            },
            should_retry: match pushback {
                Some(pushback) if pushback.wait().is_none() => Some(false),
                _ => should_retry::parse(headers),
            },
        }
    }

    /// As [`from_headers`](Self::from_headers), but looks only where a hint matters.
    pub(crate) fn from_headers_if(looked_for: bool, headers: &HeaderMap) -> Self {
        if looked_for { Self::from_headers(headers) } else { Self::NONE }
    }
}
