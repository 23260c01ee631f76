//! From the request path to the sinks: each has a queue and a task.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::counters::DeliveryTicket;
use super::deliver::{Deliver, Outcome};
use super::queue::DeliveryQueue;
use super::timeout_at::timeout_at;
use super::worker::Worker;
use crate::event::{Alert, AlertDelivered, DeliveryResult, Observers};
use crate::sync::Mutex;
use crate::time;

/// One sink and its queue, which a task empties.
pub(super) struct SinkQueue(Arc<SinkShared>);

/// What a sink_queue shares with its task.
struct SinkShared {
    sink: Arc<dyn Deliver>,
    timeout: Duration,
    queue: Mutex<DeliveryQueue>,
    observers: Observers,
    worker: Arc<Worker>,
    /// Whether the sink_queue is gone: no more is to come.
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
    /// Tells one group of alerts after the other, until the sink_queue is gone and its queue is empty.
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
