//! Bounds on waits, all on the paused clock: no test here takes real time.

use std::fmt::Debug;
use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::FutureExt;

/// Longer than any wait that a layer under test was asked for.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// What the future replies within so much paused time; `None` if nothing.
pub(crate) async fn within<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(time, future).await.ok()
}

/// What the future replies without any waiting.
pub(crate) fn at_once<F: Future>(future: F) -> F::Output {
    future.now_or_never().expect("it should have answered at once")
}

/// What the future replies, which must come within [`LONG`].
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    within(LONG, future).await.expect("it hung")
}

/// Polls once, and leaves it at that.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future.poll_unpin(&mut Context::from_waker(Waker::noop()))
}

/// Polls once; the future must have nothing to say yet.
pub(crate) fn starts_to_wait<F: Future + Unpin>(future: &mut F)
where
    F::Output: Debug,
{
    let polled = poll(future);
    assert!(matches!(polled, Poll::Pending), "it should wait, and answered {polled:?}");
}

/// Lets paused time pass.
pub(crate) async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}
