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
    /// The inner service wasn't asked: a call readies a handle of its own.
    #[default]
    Unready,
    /// The inner service was asked and isn't ready yet: the handle may hold a slot in a queue for
    /// that.
    Asked,
    /// The inner service is ready, and holds whatever its readiness takes, such as a permit.
    Ready,
    /// The inner service failed to get ready. The failure belongs to the call
    /// that comes next, whose circuit must count it.
    Failed(BoxError),
}

/// Hears of circuits that open while the inner service isn't ready.
///
/// The notification is made when an inner service isn't ready for the first time, and then kept.
#[derive(Debug, Default)]
pub(super) struct Watch(Option<Pin<Box<OwnedNotified>>>);

impl Watch {
    /// Ready if a circuit has opened since the last poll. Otherwise the task is woken when one
    /// opens.
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
