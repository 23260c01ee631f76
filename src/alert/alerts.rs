use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::dispatch::{Worker, timeout_at};
use super::measure::{Meter, Pending};
use super::observation::{Lasts, Observation};
use super::queue::DeliveryCounters;
use super::rule::Rules;
use super::state::{AlertState, Clock, Report};
use super::{AlertLayer, AlertStats, AlertsBuilder, Objective};
use crate::event::{
    Alert, AlertChange, AlertChanged, AlertDelivered, Decision, DeliveryResult, Event, Observer,
    Observers,
};
use crate::sharded::ShardedArc;
use crate::sync::Mutex;
use crate::time::{self, Instant};
use crate::verdict::Verdict;

/// A handle on the alerts: makes the layer and the observers, and shows what was notified.
///
/// It is cheap to clone. Its tasks end when the last clone is gone and what is queued was notified. See the
/// [module](super) for an example.
///
/// Use one for each upstream, with a [service](AlertsBuilder::service) name of its own. All that it hears
/// shares one error budget, circuits or regions of one name are one alert, and a refused credential mutes
/// everything else.
#[derive(Clone)]
pub struct Alerts {
    pub(super) shared: Arc<ShardedArc<Shared>>,
}

/// What all handles share.
pub(super) struct Shared {
    pub(super) rules: Rules,
    pub(super) meter: Option<Meter>,
    pub(super) observers: Observers,
    pub(super) state: Mutex<AlertState>,
    pub(super) counters: Arc<DeliveryCounters>,
    pub(super) scheduler: Arc<Worker>,
}

impl Alerts {
    /// Returns a builder with the standard rules and no sink.
    pub fn builder() -> AlertsBuilder {
        AlertsBuilder::new()
    }

    pub(super) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(ShardedArc::new(shared)) }
    }

    /// Returns the layer that judges what callers get. It goes outermost.
    pub fn layer(&self) -> AlertLayer {
        AlertLayer::new(self.clone())
    }

    /// Returns an observer for the other layers: a clone, since `Alerts` is an `Observer`.
    #[must_use]
    pub fn observer(&self) -> Self {
        self.clone()
    }

    /// Returns what became of the alerts so far.
    #[must_use]
    pub fn stats(&self) -> AlertStats {
        self.shared.counters.stats()
    }

    /// Returns what goes on now, whether or not a sink was notified; what began first comes first.
    #[must_use]
    pub fn firing(&self) -> Vec<Arc<Alert>> {
        self.shared.state.lock().firing(&Clock::now())
    }

    /// Returns the last alerts that were notified, or would have been if there had been a sink for them; the
    /// oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<Arc<Alert>> {
        self.shared.state.lock().history.entries()
    }

    /// Returns how the [objectives](super::Slo) do, in the order in which they were given.
    #[must_use]
    pub fn objectives(&self) -> Vec<Objective> {
        let meter = self.shared.meter.as_ref();
        meter.map(|meter| meter.objectives(time::now())).unwrap_or_default()
    }

    /// Waits until everything queued was notified or has failed, but no longer than `deadline`. Returns whether
    /// nothing was left. It is for the end of a program: what only waits for others to join it is notified too.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or in one without time.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let ends = time::after(time::now(), deadline);
        self.shared.catch_up(true);
        self.shared.state.lock().start();
        // What was seen before there was a runtime has no scheduler yet.
        self.shared.ensure_scheduler_runs();
        timeout_at(ends, self.shared.counters.empty()).await.is_some()
    }
}

/// Hears what the other layers do.
impl Observer for Alerts {
    fn observe(&self, event: &Event<'_>) {
        if let (Some(meter), Event::RetryDecided(event)) = (&self.shared.meter, event)
            && let Decision::Retry { .. } = event.decision
        {
            meter.retry();
            // Without a layer above, nothing else starts the scheduler for a call that is mended.
            self.shared.ensure_scheduler_runs();
        }
        self.shared.rules.event(event, |seen| self.shared.see(&seen));
    }
}

impl Shared {
    /// Notes that a call begins.
    #[inline]
    pub(super) fn begin(self: &Arc<Self>) -> Pending {
        match &self.meter {
            Some(meter) if meter.follows_calls() => self.follow(meter),
            _ => Pending::default(),
        }
    }

    #[inline(never)]
    fn follow(self: &Arc<Self>, meter: &Meter) -> Pending {
        if meter.watches_flight() {
            self.ensure_scheduler_runs();
        }
        meter.begin()
    }

    fn ensure_scheduler_runs(self: &Arc<Self>) {
        if !self.scheduler.runs() {
            super::state::wake(self);
        }
    }

    /// Notes that a call isn't in flight any more.
    #[inline(never)]
    pub(super) fn end(&self, begun: &mut Pending) {
        if let Some(meter) = &self.meter {
            meter.end(begun);
        }
    }

    /// Takes in what a caller got.
    #[inline]
    pub(super) fn outcome(
        self: &Arc<Self>,
        begun: &Pending,
        verdict: &Verdict,
        error: Option<&(dyn Error + 'static)>,
    ) {
        if !verdict.is_success() {
            self.failure(begun, verdict, error);
        } else if let Some(meter) = &self.meter
            && meter.success(begun)
        {
            self.ensure_scheduler_runs();
        }
    }

    #[inline(never)]
    fn failure(
        self: &Arc<Self>,
        begun: &Pending,
        verdict: &Verdict,
        error: Option<&(dyn Error + 'static)>,
    ) {
        if let Some(meter) = &self.meter
            && meter.failure(begun, verdict)
        {
            self.ensure_scheduler_runs();
        }
        if let Some(seen) = self.rules.outcome(verdict, error) {
            self.see(&seen);
        }
    }

    fn see(self: &Arc<Self>, seen: &Observation<'_>) {
        let now = time::now();
        let mut reports = Vec::new();
        let wakes = {
            let mut state = self.state.lock();
            let due = if seen.lasts == Lasts::Over {
                let (end, due) = state.resolve(seen, &Clock::now(), &self.counters);
                reports.extend(end);
                due
            } else {
                state.fire(seen, now, &self.counters)
            };
            let planned = state.wakes_at.filter(|_| self.scheduler.runs());
            let mut next = due;
            if due.is_some_and(|due| due <= now) {
                reports.extend(self.due(&mut state, false));
                next = state.wakes_at;
            }
            // What isn't due before the scheduler looks anyway isn't worth waking it.
            next.is_some_and(|next| planned.is_none_or(|planned| next < planned))
        };
        // Before the observer hears: it may panic.
        if wakes {
            super::state::wake(self);
        }
        self.report(&reports);
    }

    /// Tells what is due by now. Returns when to look again.
    pub(super) fn catch_up(&self, hurry: bool) -> Option<Instant> {
        let (reports, next) = {
            let mut state = self.state.lock();
            (self.due(&mut state, hurry), state.wakes_at)
        };
        self.report(&reports);
        next
    }

    fn due(&self, state: &mut AlertState, hurry: bool) -> Vec<Report> {
        state.due(&Clock::now(), hurry, self.meter.as_ref(), &self.counters)
    }

    fn report(&self, reports: &[Report]) {
        for Report { alert, news, dropped } in reports {
            if *news {
                let resolved = alert.resolved;
                let change = if resolved { AlertChange::Resolved } else { AlertChange::Raised };
                self.observers.emit(|| AlertChanged::new(alert, change));
            }
            for sink in dropped {
                let result = DeliveryResult::Dropped;
                self.observers.emit(|| AlertDelivered::new(alert, sink, result));
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The scheduler, which would emit later what waits for others, ends. Observers aren't called: one
        // that panics would end a program that is unwinding.
        let mut state = self.state.lock();
        self.due(&mut state, true);
        drop(state);
        self.scheduler.stir();
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither sinks nor services: they can hold secrets.
        f.debug_struct("Alerts")
            .field("rules", &self.shared.rules)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
