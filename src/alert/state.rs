//! Where it is decided what is notified. State, history and queues change under one lock, so that alerts are
//! notified in the order in which they were decided.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use super::alerts::Shared;
use super::dispatch::{SinkQueue, Worker, timeout_at};
use super::lifecycle::{Lifecycle, Notice, Times};
use super::measure::Meter;
use super::observation::{Lasts, Observation, Sinks};
use super::queue::{DeliveryCounters, DeliveryTicket};
use crate::event::Alert;
use crate::time::{self, Instant};

pub(super) struct AlertState {
    service: Arc<str>,
    repeats_in: Duration,
    lifecycle: Lifecycle,
    pub(super) history: History,
    sink_queues: Vec<SinkQueue>,
    /// When the scheduler looks next.
    pub(super) wakes_at: Option<Instant>,
}

/// What became of an alert, for the observer: it is notified when no lock is held.
pub(super) struct Report {
    pub(super) alert: Arc<Alert>,
    /// Whether it was raised or resolved, rather than offered again to a sink that missed it.
    pub(super) news: bool,
    /// The names of the sinks whose queue was full.
    pub(super) dropped: Vec<&'static str>,
}

/// Now, on both clocks.
pub(super) struct Clock {
    now: Instant,
    wall: SystemTime,
}

impl Clock {
    pub(super) fn now() -> Self {
        Self { now: time::now(), wall: time::wall_now() }
    }

    /// An earlier time, on the wall clock.
    fn at(&self, earlier: Instant) -> SystemTime {
        let ago = self.now.saturating_duration_since(earlier);
        self.wall.checked_sub(ago).unwrap_or(self.wall)
    }
}

impl AlertState {
    pub(super) fn new(
        service: Arc<str>,
        times: &Times,
        lifecycle: Lifecycle,
        history: History,
        sink_queues: Vec<SinkQueue>,
    ) -> Self {
        Self { service, repeats_in: times.repeat, lifecycle, history, sink_queues, wakes_at: None }
    }

    /// Takes in that something was seen. Returns when something is due about it.
    pub(super) fn fire(
        &mut self,
        seen: &Observation<'_>,
        now: Instant,
        counters: &DeliveryCounters,
    ) -> Option<Instant> {
        let step = self.lifecycle.fire(seen, now);
        counters.coalesced(step.coalesced);
        step.due
    }

    /// Takes in that something is over. Returns what was notified of that, and when something else is due.
    pub(super) fn resolve(
        &mut self,
        seen: &Observation<'_>,
        clock: &Clock,
        counters: &Arc<DeliveryCounters>,
    ) -> (Vec<Report>, Option<Instant>) {
        let (notices, step) = self.lifecycle.resolve(seen, clock.now);
        counters.coalesced(step.coalesced);
        (notices.iter().map(|notice| self.emit(notice, clock, counters)).collect(), step.due)
    }

    /// Tells what is due by now, and returns it. With `hurry` what waits for others to join it is due.
    pub(super) fn due(
        &mut self,
        clock: &Clock,
        hurry: bool,
        meter: Option<&Meter>,
        counters: &Arc<DeliveryCounters>,
    ) -> Vec<Report> {
        let mut reports = Vec::new();
        if let Some(meter) = meter.filter(|meter| hurry || meter.next_look() <= clock.now) {
            meter.look(clock.now, |seen| {
                if seen.lasts == Lasts::Over {
                    reports.extend(self.resolve(seen, clock, counters).0);
                } else {
                    self.fire(seen, clock.now, counters);
                }
            });
        }
        let (notices, coalesced) = self.lifecycle.due(clock.now, hurry);
        counters.coalesced(coalesced);
        reports.extend(notices.iter().map(|notice| self.emit(notice, clock, counters)));
        let looks_at = meter.map(Meter::next_look);
        self.wakes_at = self.lifecycle.next_due().into_iter().chain(looks_at).min();
        reports
    }

    pub(super) fn firing(&self, clock: &Clock) -> Vec<Arc<Alert>> {
        let firing = self.lifecycle.firing(clock.now);
        firing.iter().map(|notice| Arc::new(self.alert(notice, clock))).collect()
    }

    /// Starts the sinks' tasks where something is queued: there may have been no runtime before.
    pub(super) fn start(&self) {
        self.sink_queues.iter().for_each(SinkQueue::start);
    }

    fn alert(&self, notice: &Notice, clock: &Clock) -> Alert {
        let since = clock.at(notice.since);
        Alert::of_notice(&self.service, notice, since, clock.wall, self.repeats_in)
    }

    fn emit(&mut self, notice: &Notice, clock: &Clock, counters: &Arc<DeliveryCounters>) -> Report {
        let alert = Arc::new(self.alert(notice, clock));
        if notice.news {
            self.history.push(Arc::clone(&alert));
        }
        let (mut missed, mut dropped) = (Sinks::default(), Vec::new());
        for (number, sink_queue) in self.sink_queues.iter().enumerate() {
            let ticket = || DeliveryTicket::new(Arc::clone(&alert), Arc::clone(counters));
            if notice.to.contains(number) && !sink_queue.offer(ticket()) {
                missed = missed.with(number);
                dropped.push(sink_queue.name());
            }
        }
        if !notice.resolved {
            self.lifecycle.missed(notice, missed, clock.now);
        }
        Report { alert, news: notice.news, dropped }
    }
}

/// The last alerts, oldest first.
#[derive(Debug)]
pub(super) struct History {
    entries: VecDeque<Arc<Alert>>,
    most: usize,
}

impl History {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), most }
    }

    pub(super) fn push(&mut self, alert: Arc<Alert>) {
        if self.most == 0 {
            return;
        }
        if self.entries.len() >= self.most {
            self.entries.pop_front();
        }
        self.entries.push_back(alert);
    }

    pub(super) fn entries(&self) -> Vec<Arc<Alert>> {
        self.entries.iter().cloned().collect()
    }
}

/// How long the scheduler rests at least, unless it is stirred.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes the scheduler look anew, if there is a runtime to do it in.
#[cold]
pub(super) fn wake(shared: &Arc<Shared>) {
    let scheduler = &shared.scheduler;
    scheduler.wake(|| keep(Arc::downgrade(shared), Arc::clone(scheduler)));
}

/// Tells what is due, and returns when to look again. An observer that panics, which the panic's hook
/// reports, doesn't end the scheduler: no event need come that would start it again.
fn catch_up(shared: &Shared) -> Option<Instant> {
    let caught = catch_unwind(AssertUnwindSafe(|| shared.catch_up(false)));
    caught.unwrap_or_else(|_| shared.state.lock().wakes_at)
}

/// Holds no handle on the alerts while it waits, and ends with the last one.
async fn keep(alerts: Weak<Shared>, scheduler: Arc<Worker>) {
    while let Some(next) = alerts.upgrade().map(|shared| catch_up(&shared)) {
        let Some(next) = next else {
            scheduler.stirred().await;
            continue;
        };
        let next = next.max(time::after(time::now(), PAUSE));
        _ = timeout_at(next, scheduler.stirred()).await;
    }
}
