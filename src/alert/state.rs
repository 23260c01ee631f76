use std::collections::VecDeque;
use std::sync::Arc;

use super::delivery::{DeliveryStats, DeliveryTicket, SinkWorker};
use super::lifecycle::{Lifecycle, Notification};
use super::message;
use super::observation::{Lifetime, Observation};
use super::rule::Meter;
use super::sinks::SinkSet;
use crate::event::Alert;
use crate::time::{self, Instant};

/// All state of the alerts, behind one lock: lifecycle, history and queues change together, so that sinks
/// receive alerts in order.
pub(super) struct AlertState {
    service: Arc<str>,
    lifecycle: Lifecycle,
    /// The last alerts, oldest first.
    history: VecDeque<Arc<Alert>>,
    max_history: usize,
    workers: Vec<SinkWorker>,
    stats: Arc<DeliveryStats>,
    /// When the scheduler runs next.
    pub(super) next_run: Option<Instant>,
}

/// An alert that observers are notified of, once no lock is held.
pub(super) struct Report {
    pub(super) alert: Arc<Alert>,
    /// Whether it was raised or resolved, rather than offered again to a sink that missed it.
    pub(super) is_change: bool,
    /// The names of the sinks whose queue was full.
    pub(super) dropped: Vec<Arc<str>>,
}

impl AlertState {
    pub(super) fn new(
        service: Arc<str>,
        lifecycle: Lifecycle,
        max_history: usize,
        workers: Vec<SinkWorker>,
        stats: Arc<DeliveryStats>,
    ) -> Self {
        let history = VecDeque::new();
        Self { service, lifecycle, history, max_history, workers, stats, next_run: None }
    }

    /// Records an observation. Returns the reports, and when its condition is due.
    pub(super) fn observe(
        &mut self,
        observation: &Observation<'_>,
        now: Instant,
    ) -> (Vec<Report>, Option<Instant>) {
        let (notifications, effect) = if observation.lifetime == Lifetime::Ended {
            self.lifecycle.resolve(observation, now)
        } else {
            (Vec::new(), self.lifecycle.observe(observation, now))
        };
        self.stats.coalesced(effect.coalesced);
        (notifications.iter().map(|one| self.send(one, now)).collect(), effect.due_at)
    }

    /// Sends what is due by now. Returns the reports. With `flush` nothing waits for others to join it.
    pub(super) fn run(&mut self, now: Instant, flush: bool, meter: Option<&Meter>) -> Vec<Report> {
        let mut reports = Vec::new();
        if let Some(meter) = meter
            && (flush || meter.next_evaluation() <= now)
        {
            meter.evaluate(now, |one| reports.extend(self.observe(one, now).0));
        }
        let (notifications, coalesced) = self.lifecycle.due(now, flush);
        self.stats.coalesced(coalesced);
        reports.extend(notifications.iter().map(|one| self.send(one, now)));
        let evaluation = meter.map(Meter::next_evaluation);
        self.next_run = self.lifecycle.next_due().into_iter().chain(evaluation).min();
        reports
    }

    pub(super) fn firing(&self, now: Instant) -> Vec<Arc<Alert>> {
        let firing = self.lifecycle.firing(now);
        firing.iter().map(|one| Arc::new(self.alert(one, now))).collect()
    }

    pub(super) fn history(&self) -> Vec<Arc<Alert>> {
        self.history.iter().cloned().collect()
    }

    /// Starts the workers of queues that are not empty: there may have been no runtime before.
    pub(super) fn start_workers(&self) {
        self.workers.iter().for_each(SinkWorker::start);
    }

    fn alert(&self, notification: &Notification, now: Instant) -> Alert {
        let duration = now.saturating_duration_since(notification.since);
        let repeat_interval = self.lifecycle.times().repeat;
        message::alert(&self.service, notification, time::wall_now(), duration, repeat_interval)
    }

    /// Queues a notification for its sinks.
    fn send(&mut self, notification: &Notification, now: Instant) -> Report {
        let alert = Arc::new(self.alert(notification, now));
        let update = notification.update;
        if update.is_recorded && self.max_history > 0 {
            if self.history.len() == self.max_history {
                self.history.pop_front();
            }
            self.history.push_back(Arc::clone(&alert));
        }
        let (mut missed, mut dropped) = (SinkSet::default(), Vec::new());
        for (sink, worker) in self.workers.iter().enumerate() {
            let ticket = || DeliveryTicket::new(Arc::clone(&alert), Arc::clone(&self.stats));
            if update.sinks.contains(sink) && !worker.enqueue(ticket()) {
                missed.insert(sink);
                dropped.push(Arc::clone(worker.name()));
            }
        }
        if !update.resolved {
            self.lifecycle.missed(notification, missed, now);
        }
        Report { alert, is_change: update.is_recorded, dropped }
    }
}
