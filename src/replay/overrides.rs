use std::fmt;
use std::time::Duration;

use http::{Extensions, HeaderMap};

use super::Replay;

/// What one request asks for in place of its retry layer's settings.
///
/// In the extensions of an `http::Request`; for other requests there is
/// [`RetryLayer::override_fn`](crate::RetryLayer::override_fn). Where retry layers are nested the outermost
/// one goes by it; without one a [failover](crate::failover#without-a-retry) does, as far as it can.
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
    /// Nothing: the layer's settings hold.
    pub const fn new() -> Self {
        Self { deadline: None, max_attempts: None }
    }

    /// How long the whole call may take; see [`RetryLayer::deadline`](crate::RetryLayer::deadline). A layer above
    /// that set a deadline for the same call isn't overruled. `Duration::MAX`: no limit. An attempt that
    /// it cuts off says nothing of the upstream, for which others wait longer.
    ///
    /// It counts from when the service is called. To get ready is part of that where the layer has a
    /// deadline too: without, who readies the service waits before there is a request to look into.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How often it is sent at most; see [`RetryLayer::max_attempts`](crate::RetryLayer::max_attempts).
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// It is sent once.
    pub const fn no_retry(self) -> Self {
        self.max_attempts(1)
    }

    /// What a request with these extensions asks for.
    #[inline]
    pub(super) fn of(extensions: &Extensions) -> Self {
        if extensions.is_empty() { Self::new() } else { Self::among(extensions) }
    }

    /// Apart, so that the search isn't compiled into every call.
    #[inline(never)]
    fn among(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_default()
    }
}

/// A strategy, and a closure that says what a request asks for. Made by
/// [`RetryLayer::override_fn`](crate::RetryLayer::override_fn).
#[derive(Clone, Copy)]
pub struct OverrideFn<R, F> {
    replay: R,
    of: F,
}

impl<R, F> OverrideFn<R, F> {
    /// As `replay`, but `of` says what a request asks for.
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
    type Kept = R::Kept;

    fn keep(&self, request: &mut Req) -> Option<R::Kept> {
        self.replay.keep(request)
    }

    fn again(&self, kept: R::Kept, last: bool) -> Option<(Req, Option<R::Kept>)> {
        self.replay.again(kept, last)
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
