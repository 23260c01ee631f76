use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::error::BoxError;

/// What `poll_ready` found.
#[derive(Debug, Default)]
pub(super) enum Readiness {
    /// Not asked: a call readies a handle of its own.
    #[default]
    Unready,
    /// Asked, and not ready yet: the handle may stand in a queue for its readiness.
    Asked,
    /// The inner service is ready, and holds what that takes.
    Ready,
    /// The inner service failed to get ready. The failure belongs to the call
    /// that comes next, whose circuit must count it.
    Failed(BoxError),
}

/// Hears of circuits that open while the inner service isn't ready.
///
/// It is made when an inner service isn't ready for the first time, and kept.
#[derive(Debug, Default)]
pub(super) struct Watch(Option<Pin<Box<OwnedNotified>>>);

impl Watch {
    /// Wakes this task when a circuit opens; ready if one has opened since it was
    /// last asked.
    pub(super) fn poll(&mut self, opened: &Arc<Notify>, cx: &mut Context<'_>) -> Poll<()> {
        let notified = || Arc::clone(opened).notified_owned();
        let watch = self.0.get_or_insert_with(|| Box::pin(notified()));
        let heard = watch.as_mut().poll(cx);
        if heard.is_ready() {
            watch.set(notified());
        }
        heard
    }
}
