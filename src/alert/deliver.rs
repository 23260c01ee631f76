//! A sink and its HTTP service, types erased.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::Sink;
use crate::classify::{Classify, HttpClassifier};
use crate::error::{BoxError, InvalidConfig};
use crate::event::Alert;
use crate::retry::{Backoff, RetryLayer};
use crate::unready_clone::UnreadyClone;

/// What became of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) accepted: bool,
    /// How long the service asks to be left alone.
    pub(super) rest: Duration,
}

pub(super) type Outcoming = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// How long an attempt may take at most. A service that hangs is asked again.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(15);
/// How long to wait at most before a message is sent again, unless the service asks for more. The least is
/// the sink's pause between two messages, if that is shorter than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A service that asks for a longer rest must be mistaken.
const LONGEST_REST: Duration = Duration::from_secs(3600);

pub(super) trait Deliver: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    fn check(&self) -> Result<(), InvalidConfig>;

    /// How many alerts of one kind are notified at once, at most.
    fn most(&self) -> usize;

    /// How long to leave between two messages.
    fn pause(&self) -> Duration;

    /// Tells the alerts. The future runs in a task of its own: the user's code may panic in it.
    fn deliver(self: Arc<Self>, alerts: Vec<Arc<Alert>>, timeout: Duration) -> Outcoming;
}

pub(super) struct Delivery<K, S> {
    name: &'static str,
    most: usize,
    pause: Duration,
    sink: K,
    service: UnreadyClone<S>,
}

impl<K: Sink, S: Clone> Delivery<K, S> {
    pub(super) fn new(sink: K, service: &S) -> Self {
        let (name, most, pause) = (sink.name(), sink.group_size().max(1), sink.pause());
        Self { name, most, pause, sink, service: UnreadyClone::new(service) }
    }
}

impl<K, S, B> Deliver for Delivery<K, S>
where
    K: Sink,
    S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        self.sink.check()
    }

    fn most(&self) -> usize {
        self.most
    }

    fn pause(&self) -> Duration {
        self.pause
    }

    fn deliver(self: Arc<Self>, alerts: Vec<Arc<Alert>>, timeout: Duration) -> Outcoming {
        Box::pin(async move {
            let Ok(request) = self.sink.request(&alerts) else {
                return Outcome::default();
            };
            // An alert notified twice is better than one not notified: what timed out is sent again, until the
            // timeout.
            let backoff = Backoff::exponential(Duration::from_millis(500)).max(LONGEST_PAUSE);
            let retry = RetryLayer::new()
                .max_attempts(u32::MAX)
                .backoff(backoff.min(self.pause.min(LONGEST_PAUSE)))
                .hint_cap(timeout)
                .attempt_timeout(LONGEST_ATTEMPT.min(timeout / 4))
                .deadline(timeout)
                .no_budget()
                .retry_non_idempotent()
                .replay_clone();
            let mut service = retry.layer(self.service.unready_clone());
            if std::future::poll_fn(|cx| service.poll_ready(cx)).await.is_err() {
                return Outcome::default();
            }
            let Ok(answer) = service.call(request).await else {
                return Outcome::default();
            };
            let hint = HttpClassifier::new().classify(Ok(&answer)).hint();
            let rest = hint.retry_after.unwrap_or_default().min(LONGEST_REST);
            Outcome { accepted: answer.status().is_success(), rest }
        })
    }
}
