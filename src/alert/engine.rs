use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::delivery::DeliveryStats;
use super::observation::Observation;
use super::rule::{CallStart, Meter, RuleMatcher};
use super::state::{AlertState, Report};
use super::task::BackgroundTask;
use crate::event::{
    AlertChange, AlertChanged, AlertDelivered, Decision, DeliveryResult, Event, Observers,
};
use crate::sync::Mutex;
use crate::time::{self, Instant};
use crate::verdict::Verdict;

/// The shared value of all handles: evaluates events and results, and runs the scheduler.
pub(super) struct Engine {
    pub(super) rules: RuleMatcher,
    pub(super) meter: Option<Meter>,
    pub(super) observers: Observers,
    pub(super) state: Mutex<AlertState>,
    pub(super) stats: Arc<DeliveryStats>,
    pub(super) scheduler: Arc<BackgroundTask>,
}

impl Engine {
    /// The minimum time between two runs of the scheduler, unless it is notified.
    const MIN_INTERVAL: Duration = Duration::from_millis(100);

    /// Evaluates an event of another layer.
    pub(super) fn event(self: &Arc<Self>, event: &Event<'_>) {
        if let (Some(meter), Event::RetryDecided(event)) = (&self.meter, event)
            && let Decision::Retry { .. } = event.decision
        {
            meter.retry();
            // Without an alert layer, nothing else starts the scheduler for a call that succeeds in the
            // end.
            self.ensure_scheduler_runs();
        }
        self.rules.match_event(event, |observation| self.observe(&observation));
    }

    /// Records that a call begins.
    #[inline]
    pub(super) fn begin(self: &Arc<Self>) -> CallStart {
        let Some(meter) = &self.meter else {
            return CallStart::default();
        };
        if meter.counts_in_flight() {
            self.ensure_scheduler_runs();
        }
        meter.begin()
    }

    /// Records that a call is no longer in flight.
    pub(super) fn end(&self, start: &mut CallStart) {
        if let Some(meter) = &self.meter {
            meter.end(start);
        }
    }

    /// Evaluates the result of a call, as the caller receives it.
    pub(super) fn result(
        self: &Arc<Self>,
        start: &CallStart,
        verdict: &Verdict,
        error: Option<&(dyn Error + 'static)>,
    ) {
        if let Some(meter) = &self.meter
            && meter.result(start, verdict)
        {
            self.ensure_scheduler_runs();
        }
        if !verdict.is_success()
            && let Some(observation) = self.rules.match_result(verdict, error)
        {
            self.observe(&observation);
        }
    }

    fn observe(self: &Arc<Self>, observation: &Observation<'_>) {
        let now = time::now();
        let mut state = self.state.lock();
        let (mut reports, due_at) = state.observe(observation, now);
        let planned = state.next_run.filter(|_| self.scheduler.is_running());
        let mut next = due_at;
        if due_at.is_some_and(|due_at| due_at <= now) {
            reports.extend(state.run(now, false, self.meter.as_ref()));
            next = state.next_run;
        }
        drop(state);
        // If it runs before that anyway, it needs no notification. Observers come last: they may panic.
        if next.is_some_and(|next| planned.is_none_or(|planned| next < planned)) {
            self.notify_scheduler();
        }
        self.emit(&reports);
    }

    fn ensure_scheduler_runs(self: &Arc<Self>) {
        if !self.scheduler.is_running() {
            self.notify_scheduler();
        }
    }

    /// Starts the scheduler if there is a runtime, or notifies it.
    pub(super) fn notify_scheduler(self: &Arc<Self>) {
        let schedule = || schedule(Arc::downgrade(self), Arc::clone(&self.scheduler));
        self.scheduler.start_or_notify(schedule);
    }

    /// Sends what is due by now. With `flush` nothing waits for others to join it.
    pub(super) fn run(&self, flush: bool) {
        let reports = self.state.lock().run(time::now(), flush, self.meter.as_ref());
        self.emit(&reports);
    }

    fn emit(&self, reports: &[Report]) {
        for Report { alert, is_change, dropped } in reports {
            if *is_change {
                let change =
                    if alert.resolved { AlertChange::Resolved } else { AlertChange::Raised };
                self.observers.emit(|| AlertChanged::new(alert, change));
            }
            for sink in dropped {
                let result = DeliveryResult::Dropped;
                self.observers.emit(|| AlertDelivered::new(alert, sink, result));
            }
        }
    }

    /// Runs, and returns the time of the next run. If an observer panics, the scheduler continues: no
    /// event may come that would start it again.
    fn run_scheduled(&self) -> Option<Instant> {
        _ = catch_unwind(AssertUnwindSafe(|| self.run(false)));
        self.state.lock().next_run
    }
}

/// Sends alerts that are due by time: repeated, pending, measured or resolved ones. Holds no reference
/// while it waits, and ends with the last handle.
async fn schedule(engine: Weak<Engine>, scheduler: Arc<BackgroundTask>) {
    while let Some(next) = engine.upgrade().map(|engine| engine.run_scheduled()) {
        if let Some(next) = next {
            let next = next.max(time::after(time::now(), Engine::MIN_INTERVAL));
            _ = time::timeout_at(next, scheduler.notified()).await;
        } else {
            scheduler.notified().await;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The scheduler ends, so pending alerts are sent now. Observers are not called: a panic would
        // abort a program that is unwinding.
        self.state.lock().run(time::now(), true, self.meter.as_ref());
        self.scheduler.notify();
    }
}
