use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::task::JoinSet;
use tower_service::Service;

use super::queue::{DeliveryQueue, DeliveryTicket, TicketResult};
use crate::alert::sink::Sink;
use crate::alert::task::BackgroundTask;
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::event::{Alert, AlertDelivered, DeliveryResult, Observers, Severity};
use crate::random::RandomSource;
use crate::sync::Mutex;
use crate::time;
use crate::unready_clone::UnreadyClone;
use crate::verdict::{Class, Verdict};

/// The maximum duration of an attempt.
const MAX_ATTEMPT: Duration = Duration::from_secs(15);
/// The wait before the second attempt. It doubles up to the maximum, with jitter.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// A longer pause that a service requests is assumed to be an error.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

type AttemptFuture = Pin<Box<dyn Future<Output = Attempt> + Send>>;

/// The result of an attempt to deliver a group of alerts.
#[derive(Clone, Copy, Debug, Default)]
struct Attempt {
    is_accepted: bool,
    is_retryable: bool,
    /// The pause that the service requests.
    pause: Duration,
}

impl Attempt {
    fn new(is_accepted: bool, verdict: &Verdict) -> Self {
        let is_retryable = match verdict.class() {
            Class::Throttled | Class::Overloaded | Class::NotSent | Class::Transient => true,
            _ => verdict.hint().should_retry == Some(true),
        };
        let pause = verdict.hint().retry_after.unwrap_or_default().min(MAX_PAUSE);
        Self { is_accepted, is_retryable: is_retryable && !is_accepted, pause }
    }
}

/// A sink as configured: with its minimum severity and its HTTP service, type-erased.
#[derive(Clone)]
pub(in crate::alert) struct SinkConfig {
    pub(in crate::alert) sink: Arc<dyn Sink>,
    pub(in crate::alert) min_severity: Severity,
    send: Arc<dyn Fn(Request<Bytes>) -> AttemptFuture + Send + Sync>,
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
        let send = move |request| -> AttemptFuture {
            let mut service = service.unready_clone();
            Box::pin(async move {
                let ready = poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into);
                let result: Result<_, BoxError> = match ready {
                    Ok(()) => service.call(request).await.map_err(Into::into),
                    Err(error) => Err(error),
                };
                let verdict = HttpClassifier::new().classify(match &result {
                    Ok(response) => Ok(response),
                    Err(error) => Err(&**error),
                });
                Attempt::new(result.is_ok_and(|response| response.status().is_success()), &verdict)
            })
        };
        Self { sink: Arc::new(sink), min_severity, send: Arc::new(send) }
    }

    /// Sends a group of alerts until it is accepted, rejected for good, or the timeout has passed. A
    /// duplicate is better than a lost alert, so attempts that time out are repeated.
    async fn deliver(&self, alerts: &[Arc<Alert>], timeout: Duration) -> Attempt {
        let Ok(request) = self.sink.request(alerts) else {
            return Attempt::default();
        };
        let deadline = time::after(time::now(), timeout);
        let min_wait = self.sink.min_interval().min(MAX_BACKOFF);
        let (random, mut backoff) = (RandomSource::default(), MIN_BACKOFF);
        loop {
            let attempt_timeout = MAX_ATTEMPT.min(timeout / 4);
            let attempt_deadline = time::after(time::now(), attempt_timeout).min(deadline);
            let attempt = time::timeout_at(attempt_deadline, (self.send)(request.clone())).await;
            let timed_out = Attempt { is_retryable: true, ..Attempt::default() };
            let attempt = attempt.unwrap_or(timed_out);
            let wait = random.draw(|random| backoff.mul_f64(random.f64()));
            let retry_at = time::after(time::now(), wait.max(min_wait).max(attempt.pause));
            if !attempt.is_retryable || retry_at >= deadline {
                return attempt;
            }
            time::sleep_until(retry_at).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
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
            let Attempt { is_accepted, pause, .. } = self.deliver(&tickets).await;
            next_request_at = next_request_at.max(time::after(time::now(), pause));
            let (ticket_result, result) = if is_accepted {
                (TicketResult::Sent, DeliveryResult::Sent)
            } else {
                (TicketResult::Failed, DeliveryResult::Failed)
            };
            for ticket in tickets {
                let alert = Arc::clone(&ticket.alert);
                ticket.finish(ticket_result);
                self.emit(&alert, result);
            }
        }
    }

    /// Delivers alerts in a task of its own, so that a panic of the sink or its service ends only that.
    async fn deliver(&self, tickets: &[DeliveryTicket]) -> Attempt {
        let alerts: Vec<_> = tickets.iter().map(|ticket| Arc::clone(&ticket.alert)).collect();
        let (config, timeout) = (self.config.clone(), self.timeout);
        let mut task = JoinSet::new();
        task.spawn(async move { config.deliver(&alerts, timeout).await });
        task.join_next().await.and_then(Result::ok).unwrap_or_default()
    }

    /// Emits the result of a delivery. The task continues if an observer panics.
    fn emit(&self, alert: &Alert, result: DeliveryResult) {
        let event = || AlertDelivered::new(alert, &self.name, result);
        _ = catch_unwind(AssertUnwindSafe(|| self.observers.emit(event)));
    }
}
