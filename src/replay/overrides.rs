use std::fmt;
use std::time::Duration;

use http::{Extensions, HeaderMap};

use super::Replay;

/// Settings of the retry layer that a single request overrides.
///
/// Put it into the extensions of an `http::Request`; for other requests use
/// [`RetryLayer::override_fn`](crate::RetryLayer::override_fn). The outermost retry layer obeys it. Without a
/// retry layer a [failover](crate::failover#without-a-retry) does, as far as it can.
///
/// ```
/// use std::time::Duration;
/// use tower_upstream::retry::Override;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(Override::new().deadline(Duration::from_secs(2)).no_retry());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Override {
    pub(crate) deadline: Option<Duration>,
    pub(crate) max_attempts: Option<u32>,
}

impl Override {
    /// Overrides nothing.
    pub const fn new() -> Self {
        Self { deadline: None, max_attempts: None }
    }

    /// How long the whole call may take; see [`RetryLayer::deadline`](crate::RetryLayer::deadline).
    /// `Duration::MAX`: no limit. An earlier deadline that a layer above has set for the same call still
    /// holds. An attempt that this deadline ends says nothing about the upstream, as other calls give it more
    /// time.
    ///
    /// The time counts from the call of the service. It includes waiting for the inner service only if the
    /// layer has a deadline too: otherwise the caller waits in `poll_ready`, before there is a request.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How many times the request is sent at most; see [`RetryLayer::max_attempts`](crate::RetryLayer::max_attempts).
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sends the request once.
    pub const fn no_retry(self) -> Self {
        self.max_attempts(1)
    }

    /// Returns what a request with these extensions overrides.
    pub(super) fn of(extensions: &Extensions) -> Self {
        if extensions.is_empty() { Self::new() } else { Self::among(extensions) }
    }

    /// SavedRequest out of line, so that the search isn't compiled into every call.
    fn among(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_default()
    }
}

/// A replay strategy, with a closure that says what a request overrides. Made by
/// [`RetryLayer::override_fn`](crate::RetryLayer::override_fn).
#[derive(Clone, Copy)]
pub struct OverrideFn<R, F> {
    replay: R,
    of: F,
}

impl<R, F> OverrideFn<R, F> {
    /// Repeats requests as `replay` does; `of` returns what a request overrides.
    pub const fn new(replay: R, of: F) -> Self {
        Self { replay, of }
    }
}

impl<R: fmt::Debug, F> fmt::Debug for OverrideFn<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OverrideFn").field(&self.replay).finish()
    }
}

impl<Req, R, F> Replay<Req> for OverrideFn<R, F>
where
    R: Replay<Req>,
    F: Fn(&Req) -> Override,
{
    type SavedRequest = R::SavedRequest;

    fn keep(&self, request: &mut Req) -> Option<R::SavedRequest> {
        self.replay.keep(request)
    }

    fn again(&self, saved: R::SavedRequest, last: bool) -> Option<(Req, Option<R::SavedRequest>)> {
        self.replay.again(saved, last)
    }

    fn is_idempotent(&self, request: &Req) -> bool {
        self.replay.is_idempotent(request)
    }

    fn overrides(&self, request: &Req) -> Override {
        (self.of)(request)
    }

    fn headers_mut<'a>(&self, request: &'a mut Req) -> Option<&'a mut HeaderMap> {
        self.replay.headers_mut(request)
    }
}
