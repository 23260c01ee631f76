//! From the request path to the sinks: a queue and a task for each.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tower_layer::Layer;
use tower_service::Service;

use super::tally::Ticket;
use super::within::within;
use super::{Alert, Severity, Sink};
use crate::error::{BoxError, InvalidConfig};
use crate::retry::RetryLayer;
use crate::sync::Mutex;
use crate::time;

/// Which part of a queue is kept for what is critical, and for what is over: an eighth.
const RESERVE: usize = 8;

/// A sink and its HTTP service, types erased.
pub(super) trait Deliver: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    fn check(&self) -> Result<(), InvalidConfig>;

    /// Tells the alert, and whether it was accepted. Within the future, which runs in a task of
    /// its own, the user's code may panic.
    fn deliver(
        self: Arc<Self>,
        alert: Arc<Alert>,
        timeout: Duration,
    ) -> Pin<Box<dyn Future<Output = bool> + Send>>;
}

pub(super) struct Delivery<K, S> {
    sink: K,
    /// Never readied, only cloned.
    service: Mutex<S>,
}

impl<K, S: Clone> Delivery<K, S> {
    fn fresh(&self) -> S {
        self.service.lock().clone()
    }

    pub(super) fn new(sink: K, service: S) -> Self {
        Self { sink, service: Mutex::new(service) }
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
        self.sink.name()
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        self.sink.check()
    }

    fn deliver(
        self: Arc<Self>,
        alert: Arc<Alert>,
        timeout: Duration,
    ) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        Box::pin(async move {
            let Ok(request) = self.sink.request(&alert) else {
                return false;
            };
            // An alert told twice is better than one not told: what timed out is sent again.
            let retry = RetryLayer::new()
                .max_attempts(5)
                .attempt_timeout(timeout / 4)
                .deadline(timeout)
                .no_budget()
                .retry_non_idempotent()
                .replay_clone();
            let mut service = retry.layer(self.fresh());
            if std::future::poll_fn(|cx| service.poll_ready(cx)).await.is_err() {
                return false;
            }
            let answer = service.call(request).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
    }
}

/// One sink, its queue, and the task that empties that.
pub(super) struct Lane {
    pub(super) name: &'static str,
    pub(super) least: Severity,
    sink: Arc<dyn Deliver>,
    queue: usize,
    timeout: Duration,
    sender: mpsc::Sender<Ticket>,
    /// Until the task is started.
    receiver: Option<mpsc::Receiver<Ticket>>,
}

impl Lane {
    pub(super) fn new(
        sink: Arc<dyn Deliver>,
        least: Severity,
        queue: usize,
        timeout: Duration,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(queue);
        let name = sink.name();
        Self { name, least, sink, queue, timeout, sender, receiver: Some(receiver) }
    }

    /// Puts an alert into the queue, or drops it.
    pub(super) fn offer(&mut self, ticket: Ticket) -> bool {
        if self.sender.is_closed() {
            // The runtime of its task has ended, and with it the task.
            let (sender, receiver) = mpsc::channel(self.queue);
            (self.sender, self.receiver) = (sender, Some(receiver));
        }
        let urgent = ticket.alert.resolved || ticket.alert.severity == Severity::Critical;
        let has_room = urgent || self.sender.capacity() > self.queue / RESERVE;
        let queued = has_room && self.sender.try_send(ticket).is_ok();
        self.start();
        queued
    }

    /// Starts the task, if there is something for it to do and a runtime to do it in.
    pub(super) fn start(&mut self) {
        if self.sender.capacity() < self.queue
            && let Ok(runtime) = Handle::try_current()
            && let Some(receiver) = self.receiver.take()
        {
            runtime.spawn(work(receiver, Arc::clone(&self.sink), self.timeout));
        }
    }
}

/// Tells one alert after the other, until the last handle is gone and the queue is empty.
async fn work(mut queue: mpsc::Receiver<Ticket>, sink: Arc<dyn Deliver>, timeout: Duration) {
    while let Some(ticket) = queue.recv().await {
        // A task for each, so that a panic ends only that.
        let delivery = Arc::clone(&sink).deliver(Arc::clone(&ticket.alert), timeout);
        let mut task = Task(tokio::spawn(delivery));
        let ends = time::after(time::now(), timeout);
        let accepted = matches!(within(ends, &mut task.0).await, Some(Ok(true)));
        ticket.ended(accepted);
    }
}

/// A task that ends when it isn't waited for any more.
struct Task(JoinHandle<bool>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
