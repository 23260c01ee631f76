//! From the request path to the sinks: a queue and a task for each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::deliver::{Deliver, Outcome};
use super::outbox::Outbox;
use super::tally::Ticket;
use super::within::within;
use super::{Alert, AlertEvent, AlertEventKind};
use crate::event::{Event, Listener};
use crate::sync::Mutex;
use crate::time;

/// One sink, its queue, and the task that empties that.
pub(super) struct Lane {
    pub(super) name: &'static str,
    timeout: Duration,
    desk: Arc<Desk>,
}

/// What a lane shares with its task.
struct Desk {
    sink: Arc<dyn Deliver>,
    outbox: Mutex<Outbox>,
    listener: Listener,
    stirred: Notify,
    runs: AtomicBool,
    /// No more is to come.
    closed: AtomicBool,
}

impl Lane {
    pub(super) fn new(
        sink: Arc<dyn Deliver>,
        queue: usize,
        timeout: Duration,
        listener: Listener,
    ) -> Self {
        let name = sink.name();
        let desk = Desk {
            sink,
            outbox: Mutex::new(Outbox::new(queue)),
            listener,
            stirred: Notify::new(),
            runs: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        Self { name, timeout, desk: Arc::new(desk) }
    }

    /// Puts an alert into the queue, or drops it.
    pub(super) fn offer(&self, ticket: Ticket) -> bool {
        let queued = self.desk.outbox.lock().offer(ticket);
        self.start();
        queued
    }

    /// Stirs the task, or starts it, if there is something for it to do and a runtime to do it
    /// in.
    pub(super) fn start(&self) {
        if self.desk.outbox.lock().is_empty() {
            return;
        }
        self.desk.stirred.notify_one();
        if let Ok(runtime) = Handle::try_current()
            && !self.desk.runs.swap(true, Ordering::AcqRel)
        {
            runtime.spawn(work(Runs(Arc::clone(&self.desk)), self.timeout));
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.desk.closed.store(true, Ordering::Release);
        self.desk.stirred.notify_one();
    }
}

/// Says that the task runs no more, however it ends.
struct Runs(Arc<Desk>);

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.runs.store(false, Ordering::Release);
    }
}

/// Tells one group of alerts after the other, until the last handle is gone and the queue is empty.
async fn work(runs: Runs, timeout: Duration) {
    let desk = &*runs.0;
    let mut free_at = time::now();
    loop {
        if desk.outbox.lock().is_empty() {
            if desk.closed.load(Ordering::Acquire) {
                return;
            }
            desk.stirred.notified().await;
            continue;
        }
        // What is told sooner than the service takes it waits in the queue, and is coalesced.
        if free_at > time::now() {
            time::sleep_until(free_at).await;
        }
        let tickets = desk.outbox.lock().take(desk.sink.most());
        let alerts: Vec<Arc<Alert>> = tickets.iter().map(|one| Arc::clone(&one.alert)).collect();
        free_at = time::after(time::now(), desk.sink.pause());
        // A task for each, so that a panic ends only that.
        let mut task = Task(tokio::spawn(Arc::clone(&desk.sink).deliver(alerts, timeout)));
        let ends = time::after(time::now(), timeout);
        let outcome = match within(ends, &mut task.0).await {
            Some(Ok(outcome)) => outcome,
            _ => Outcome::default(),
        };
        free_at = free_at.max(time::after(time::now(), outcome.rest));
        for ticket in tickets {
            let alert = Arc::clone(&ticket.alert);
            ticket.ended(outcome.accepted);
            if !outcome.accepted {
                desk.tell_failed(&alert);
            }
        }
    }
}

impl Desk {
    /// An observer that panics, of which the panic's hook has told, doesn't end the sink's task.
    fn tell_failed(&self, alert: &Alert) {
        let kind = AlertEventKind::Failed { sink: self.sink.name() };
        let tell = || self.listener.tell(|| Event::Alert(AlertEvent { alert, kind }));
        _ = catch_unwind(AssertUnwindSafe(tell));
    }
}

/// A task that ends when it isn't waited for any more.
struct Task(JoinHandle<Outcome>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
