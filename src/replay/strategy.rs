use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use http::{Extensions, HeaderMap};

/// A strategy to repeat requests.
#[diagnostic::on_unimplemented(
    message = "`{Self}` doesn't know how to send the request `{Req}` twice",
    label = "this request can't be repeated by this strategy",
    note = "the default knows `http::Request<B>` where `B: RepeatableBody`, and, with the feature `reqwest`, the `Request` of reqwest 0.13",
    note = "for another body of `http::Request` add `.replay_body(MyBody::new)`, for a request that is `Clone` add `.replay_clone()`"
)]
pub trait Replay<Req> {
    /// The saved form of a request that is being sent.
    type SavedRequest;

    /// Saves the request, or returns `None` if it can only be sent once. May replace the request's
    /// body by one that is recorded while it is sent.
    fn save(&self, request: &mut Req) -> Option<Self::SavedRequest>;

    /// Returns the request to send again, and its saved form for yet another time unless this is the
    /// `last`. Returns `None` if the request turned out not to be repeatable, for example because its
    /// body was longer than the recording's limit.
    fn restore(
        &self,
        saved: Self::SavedRequest,
        last: bool,
    ) -> Option<(Req, Option<Self::SavedRequest>)>;

    /// Returns whether sending the request twice has the same effect as sending it once. Such a
    /// request may be repeated even if it may have been processed.
    fn is_idempotent(&self, request: &Req) -> bool;

    /// Returns the settings of the layer that this request overrides. Default: none.
    fn overrides(&self, request: &Req) -> Override {
        let _ = request;
        Override::new()
    }

    /// Returns the request's headers, for the layer to add its own. Default: `None`.
    fn headers_mut<'a>(&self, request: &'a mut Req) -> Option<&'a mut HeaderMap> {
        let _ = request;
        None
    }
}

/// Sends each request once.
///
/// For a [failover](crate::failover) below a retry: the retry saves the request, and the failover's
/// futures need no room for a second copy. Without a retry, such a failover doesn't move a failed call
/// to another region; only later calls avoid the region.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReplay;

impl<Req> Replay<Req> for NoReplay {
    type SavedRequest = Infallible;

    fn save(&self, _: &mut Req) -> Option<Infallible> {
        None
    }

    fn restore(&self, saved: Infallible, _: bool) -> Option<(Req, Option<Infallible>)> {
        match saved {}
    }

    fn is_idempotent(&self, _: &Req) -> bool {
        false
    }
}

/// Repeats any request by cloning it.
///
/// None of its requests counts as idempotent: a request that may have been processed is repeated only
/// with [`retry_non_idempotent`](crate::retry::RetryBuilder::retry_non_idempotent).
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneReplay;

impl<Req: Clone> Replay<Req> for CloneReplay {
    type SavedRequest = Req;

    fn save(&self, request: &mut Req) -> Option<Req> {
        Some(request.clone())
    }

    fn restore(&self, saved: Req, last: bool) -> Option<(Req, Option<Req>)> {
        Some(if last { (saved, None) } else { (saved.clone(), Some(saved)) })
    }

    fn is_idempotent(&self, _: &Req) -> bool {
        false
    }
}

/// Settings of the retry layer that a single request overrides.
///
/// It belongs into the extensions of an `http::Request`; for other requests use
/// [`RetryBuilder::override_fn`](crate::retry::RetryBuilder::override_fn). The outermost retry layer obeys
/// it. Without a retry layer, a [failover](crate::failover#without-a-retry) does, as far as it can.
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
    /// Creates a value that overrides nothing.
    pub const fn new() -> Self {
        Self { deadline: None, max_attempts: None }
    }

    /// Sets how long the whole call may take; see
    /// [`RetryBuilder::deadline`](crate::retry::RetryBuilder::deadline). `Duration::MAX` is no limit. An
    /// earlier deadline that a layer above has set for the same call still applies. An attempt that this
    /// deadline ends doesn't count against the upstream, since other calls give it more time.
    ///
    /// The time starts when the service is called. It includes the wait for the inner service's
    /// readiness only if the layer has a deadline too; otherwise the caller waits in `poll_ready`, before
    /// there is a request.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets how many times the request is sent at most; see
    /// [`RetryBuilder::max_attempts`](crate::retry::RetryBuilder::max_attempts).
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sends the request once.
    pub const fn no_retry(self) -> Self {
        self.max_attempts(1)
    }

    /// Returns the overrides in these extensions.
    pub(super) fn from_extensions(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_default()
    }
}

/// A replay strategy with a closure that returns the overrides of a request. Made by
/// [`RetryBuilder::override_fn`](crate::retry::RetryBuilder::override_fn).
#[derive(Clone, Copy)]
pub struct OverrideFn<R, F> {
    replay: R,
    overrides: F,
}

impl<R, F> OverrideFn<R, F> {
    /// Creates a strategy that repeats requests as `replay` does; `overrides` returns the overrides of a
    /// request.
    pub const fn new(replay: R, overrides: F) -> Self {
        Self { replay, overrides }
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

    fn save(&self, request: &mut Req) -> Option<R::SavedRequest> {
        self.replay.save(request)
    }

    fn restore(
        &self,
        saved: R::SavedRequest,
        last: bool,
    ) -> Option<(Req, Option<R::SavedRequest>)> {
        self.replay.restore(saved, last)
    }

    fn is_idempotent(&self, request: &Req) -> bool {
        self.replay.is_idempotent(request)
    }

    fn overrides(&self, request: &Req) -> Override {
        (self.overrides)(request)
    }

    fn headers_mut<'a>(&self, request: &'a mut Req) -> Option<&'a mut HeaderMap> {
        self.replay.headers_mut(request)
    }
}
