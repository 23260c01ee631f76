//! From the request path to the sinks: each has a queue and a task.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tower_layer::Layer;
use tower_service::Service;

use super::Sink;
use super::queue::{DeliveryQueue, DeliveryTicket};
use crate::classify::{Classify, HttpClassifier};
use crate::error::{BoxError, InvalidConfig};
use crate::event::{Alert, AlertDelivered, DeliveryResult, Observers};
use crate::retry::{Backoff, RetryLayer};
use crate::sync::Mutex;
use crate::time::{self, Instant, Sleep};
use crate::unready_clone::UnreadyClone;

/// One sink and its queue, which a task empties.
pub(super) struct SinkQueue(Arc<SinkShared>);

/// What a queue shares with its task.
struct SinkShared {
    sink: Arc<dyn Deliver>,
    timeout: Duration,
    queue: Mutex<DeliveryQueue>,
    observers: Observers,
    worker: Arc<Worker>,
    /// Whether the queue is gone: no more is to come.
    closed: AtomicBool,
}

impl SinkQueue {
    pub(super) fn new(
        sink: Arc<dyn Deliver>,
        queue: usize,
        timeout: Duration,
        observers: Observers,
    ) -> Self {
        Self(Arc::new(SinkShared {
            sink,
            timeout,
            queue: Mutex::new(DeliveryQueue::new(queue)),
            observers,
            worker: Arc::default(),
            closed: AtomicBool::new(false),
        }))
    }

    /// The sink's name.
    pub(super) fn name(&self) -> &'static str {
        self.0.sink.name()
    }

    /// Puts an alert into the queue, or drops it. Returns whether it was queued.
    pub(super) fn offer(&self, ticket: DeliveryTicket) -> bool {
        let queued = self.0.queue.lock().offer(ticket);
        self.start();
        queued
    }

    /// Stirs the task, or starts it, if the queue isn't empty.
    pub(super) fn start(&self) {
        if !self.0.queue.lock().is_empty() {
            self.0.worker.wake(|| Arc::clone(&self.0).run());
        }
    }
}

impl Drop for SinkQueue {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.worker.stir();
    }
}

impl SinkShared {
    /// Tells one group of alerts after the other, until the queue is gone and its queue is empty.
    async fn run(self: Arc<Self>) {
        let mut free_at = time::now();
        loop {
            if self.queue.lock().is_empty() {
                if self.closed.load(Ordering::Acquire) {
                    return;
                }
                self.worker.stirred().await;
                continue;
            }
            // What is notified sooner than the service takes it waits in the queue, and is coalesced.
            if free_at > time::now() {
                time::sleep_until(free_at).await;
            }
            let tickets = self.queue.lock().take(self.sink.most());
            free_at = time::after(time::now(), self.sink.pause());
            let outcome = self.deliver(&tickets).await;
            free_at = free_at.max(time::after(time::now(), outcome.rest));
            for ticket in tickets {
                let alert = Arc::clone(&ticket.alert);
                ticket.ended(outcome.accepted);
                self.emit_delivered(&alert, outcome.accepted);
            }
        }
    }

    /// Tells the alerts in a task of their own, so that a panic ends only that.
    async fn deliver(&self, tickets: &[DeliveryTicket]) -> Outcome {
        let alerts = tickets.iter().map(|ticket| Arc::clone(&ticket.alert)).collect();
        let delivery = Arc::clone(&self.sink).deliver(alerts, self.timeout);
        let mut delivery = AbortOnDrop(tokio::spawn(delivery));
        let ends = time::after(time::now(), self.timeout);
        timeout_at(ends, &mut delivery.0).await.and_then(Result::ok).unwrap_or_default()
    }

    /// Tells the observer. If that panics, which the panic's hook reports, the sink's task goes on.
    fn emit_delivered(&self, alert: &Alert, accepted: bool) {
        let result = if accepted { DeliveryResult::Sent } else { DeliveryResult::Failed };
        let event = || AlertDelivered::new(alert, self.sink.name(), result);
        _ = catch_unwind(AssertUnwindSafe(|| self.observers.emit(event)));
    }
}

/// A task that ends when it isn't waited for any more.
struct AbortOnDrop(JoinHandle<Outcome>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

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
            let retry = RetryLayer::builder()
                .max_attempts(u32::MAX)
                .backoff(backoff.min(self.pause.min(LONGEST_PAUSE)))
                .hint_cap(timeout)
                .attempt_timeout(LONGEST_ATTEMPT.min(timeout / 4))
                .deadline(timeout)
                .no_budget()
                .retry_non_idempotent()
                .replay_clone()
                .build();
            let Ok(retry) = retry else { return Outcome::default() };
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

pin_project! {
    /// What a future answers until a deadline; `None` after that.
    pub(super) struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        deadline: Sleep,
    }
}

/// Waits for `future` until `deadline`. Needs a runtime with time.
pub(super) fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout { future, deadline: time::sleep_until(deadline) }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        this.deadline.poll(cx).map(|()| None)
    }
}

/// Whether the task runs, and what wakes it.
#[derive(Debug, Default)]
pub(super) struct Worker {
    runs: AtomicBool,
    stirred: Notify,
}

impl Worker {
    #[inline]
    pub(super) fn runs(&self) -> bool {
        self.runs.load(Ordering::Acquire)
    }

    pub(super) fn stir(&self) {
        self.stirred.notify_one();
    }

    /// Completes once the task was stirred, now or since it waited last.
    pub(super) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// Starts the task if it doesn't run and the caller is in a runtime, and stirs it otherwise: it may
    /// run in a runtime that the caller isn't in.
    pub(super) fn wake<F>(self: &Arc<Self>, task: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match Handle::try_current() {
            Ok(runtime) if !self.runs.swap(true, Ordering::AcqRel) => {
                let runs = Runs(Arc::clone(self));
                let task = task();
                runtime.spawn(async move {
                    let _runs = runs;
                    task.await;
                });
            }
            _ => self.stir(),
        }
    }
}

/// Says that the task runs no more, however it ends.
struct Runs(Arc<Worker>);

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.runs.store(false, Ordering::Release);
    }
}
