use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::queue::DeliveryQueue;
use super::stats::{DeliveryTicket, TicketResult};
use crate::alert::sink::Sink;
use crate::alert::task::{BackgroundTask, timeout_at};
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::event::{Alert, AlertDelivered, DeliveryResult, Observers, Severity};
use crate::retry::{Backoff, RetryLayer};
use crate::sync::Mutex;
use crate::time;
use crate::unready_clone::UnreadyClone;

/// The maximum duration of an attempt.
const MAX_ATTEMPT: Duration = Duration::from_secs(15);
/// The maximum wait between two attempts, unless the service requests more. The minimum is the sink's
/// interval between two requests, if that is shorter.
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// A longer pause that a service requests is assumed to be an error.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

type SendFuture = Pin<Box<dyn Future<Output = Delivery> + Send>>;

/// The result of a delivery.
#[derive(Clone, Copy, Debug, Default)]
struct Delivery {
    is_accepted: bool,
    /// The pause that the service requests.
    pause: Duration,
}

/// A sink as configured: with its minimum severity and its HTTP service, type-erased.
#[derive(Clone)]
pub(in crate::alert) struct SinkConfig {
    pub(in crate::alert) sink: Arc<dyn Sink>,
    pub(in crate::alert) min_severity: Severity,
    /// Sends a request within a timeout.
    send: Arc<dyn Fn(Request<Bytes>, Duration) -> SendFuture + Send + Sync>,
}

impl SinkConfig {
    pub(in crate::alert) fn new<S, B>(sink: impl Sink, min_severity: Severity, service: &S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Send + 'static,
    {
        let service = UnreadyClone::new(service);
        let min_backoff = sink.min_interval().min(MAX_BACKOFF);
        let backoff = Backoff::exponential(Duration::from_millis(500));
        let backoff = backoff.max(MAX_BACKOFF).min(min_backoff);
        let send = move |request, timeout: Duration| -> SendFuture {
            // A duplicate is better than a lost alert: attempts that time out are repeated.
            let retry = RetryLayer::builder()
                .max_attempts(u32::MAX)
                .backoff(backoff.clone())
                .hint_cap(timeout)
                .attempt_timeout(MAX_ATTEMPT.min(timeout / 4))
                .deadline(timeout)
                .no_budget()
                .retry_non_idempotent()
                .replay_clone()
                .build();
            let service = retry.map(|retry| retry.layer(service.unready_clone()));
            Box::pin(async move {
                let Ok(mut service) = service else {
                    return Delivery::default();
                };
                if poll_fn(|cx| service.poll_ready(cx)).await.is_err() {
                    return Delivery::default();
                }
                let Ok(response) = service.call(request).await else {
                    return Delivery::default();
                };
                let hint = HttpClassifier::new().classify(Ok(&response)).hint();
                let pause = hint.retry_after.unwrap_or_default().min(MAX_PAUSE);
                Delivery { is_accepted: response.status().is_success(), pause }
            })
        };
        Self { sink: Arc::new(sink), min_severity, send: Arc::new(send) }
    }
}

/// A sink's queue and the task that delivers it. When it is dropped, the task ends once the queue is
/// empty.
pub(in crate::alert) struct SinkWorker(Arc<Shared>);

struct Shared {
    config: SinkConfig,
    name: Arc<str>,
    timeout: Duration,
    queue: Mutex<DeliveryQueue>,
    observers: Observers,
    task: Arc<BackgroundTask>,
    is_closed: AtomicBool,
}

impl SinkWorker {
    pub(in crate::alert) fn new(
        config: SinkConfig,
        capacity: usize,
        timeout: Duration,
        observers: Observers,
    ) -> Self {
        Self(Arc::new(Shared {
            name: config.sink.name().into(),
            config,
            timeout,
            queue: Mutex::new(DeliveryQueue::new(capacity)),
            observers,
            task: Arc::default(),
            is_closed: AtomicBool::new(false),
        }))
    }

    pub(in crate::alert) fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Queues a ticket, or drops it if the queue is full. Returns whether it is queued.
    pub(in crate::alert) fn enqueue(&self, ticket: DeliveryTicket) -> bool {
        let is_queued = self.0.queue.lock().push(ticket);
        self.start();
        is_queued
    }

    /// Starts or notifies the task, if the queue is not empty.
    pub(in crate::alert) fn start(&self) {
        if !self.0.queue.lock().is_empty() {
            self.0.task.start_or_notify(|| Arc::clone(&self.0).run());
        }
    }
}

impl Drop for SinkWorker {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::Release);
        self.0.task.notify();
    }
}

impl Shared {
    /// Delivers one group of alerts after the other.
    async fn run(self: Arc<Self>) {
        let mut next_request_at = time::now();
        loop {
            if self.queue.lock().is_empty() {
                if self.is_closed.load(Ordering::Acquire) {
                    return;
                }
                self.task.notified().await;
                continue;
            }
            // Meanwhile alerts wait in the queue and are coalesced.
            if next_request_at > time::now() {
                time::sleep_until(next_request_at).await;
            }
            let sink = &self.config.sink;
            let tickets = self.queue.lock().take(sink.group_size().max(1));
            next_request_at = time::after(time::now(), sink.min_interval());
            let delivery = self.deliver(&tickets).await;
            next_request_at = next_request_at.max(time::after(time::now(), delivery.pause));
            for ticket in tickets {
                let alert = Arc::clone(&ticket.alert);
                if delivery.is_accepted {
                    ticket.finish(TicketResult::Sent);
                    self.emit(&alert, DeliveryResult::Sent);
                } else {
                    ticket.finish(TicketResult::Failed);
                    self.emit(&alert, DeliveryResult::Failed);
                }
            }
        }
    }

    /// Delivers alerts in a task of its own, so that a panic of the sink or its service ends only that.
    async fn deliver(&self, tickets: &[DeliveryTicket]) -> Delivery {
        let alerts: Vec<_> = tickets.iter().map(|ticket| Arc::clone(&ticket.alert)).collect();
        let (config, timeout) = (self.config.clone(), self.timeout);
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            match config.sink.request(&alerts) {
                Ok(request) => (config.send)(request, timeout).await,
                Err(_) => Delivery::default(),
            }
        });
        let deadline = time::after(time::now(), self.timeout);
        let result = timeout_at(deadline, task.join_next()).await;
        result.flatten().and_then(Result::ok).unwrap_or_default()
    }

    /// Emits the result of a delivery. The task continues if an observer panics.
    fn emit(&self, alert: &Alert, result: DeliveryResult) {
        let event = || AlertDelivered::new(alert, &self.name, result);
        _ = catch_unwind(AssertUnwindSafe(|| self.observers.emit(event)));
    }
}
