use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::desk::{Desk, Moment, Report};
use super::keeper;
use super::measure::{Begun, Meter};
use super::rule::Rules;
use super::sighting::{Lasts, Sighting};
use super::tally::Tally;
use super::within::within;
use super::worker::Worker;
use super::{Alert, AlertEvent, AlertEventKind, AlertLayer, AlertStats, AlertsBuilder, Objective};
use crate::classify::Verdict;
use crate::event::{Event, Listener, Observer};
use crate::retry::Decision;
use crate::stripe::Spread;
use crate::sync::Mutex;
use crate::time::{self, Instant};

/// A handle on the alerts: makes the layer and the observers, and shows what was told.
///
/// Cheap to clone. The tasks that it has started end with its last clone, when what is queued
/// is told. See the [module](super) for an example.
///
/// One is for one upstream: all that is given it has one error budget, circuits and regions of one
/// name are one alert, and a refused credential mutes all the rest. For another upstream build another, of
/// another [service](AlertsBuilder::service).
#[derive(Clone)]
pub struct Alerts {
    pub(super) shared: Arc<Spread<Shared>>,
}

/// What all handles share.
pub(super) struct Shared {
    pub(super) rules: Rules,
    pub(super) meter: Option<Meter>,
    pub(super) listener: Listener,
    pub(super) desk: Mutex<Desk>,
    pub(super) tally: Arc<Tally>,
    pub(super) keeper: Arc<Worker>,
}

impl Alerts {
    /// What to tell, and to whom.
    pub fn builder() -> AlertsBuilder {
        AlertsBuilder::new()
    }

    pub(super) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(Spread::new(shared)) }
    }

    /// The layer that judges what callers get. It goes outermost.
    pub fn layer(&self) -> AlertLayer {
        AlertLayer::new(self.clone())
    }

    /// An observer to be given to the other layers: another handle, which is one.
    #[must_use]
    pub fn observer(&self) -> Self {
        self.clone()
    }

    /// What became of the alerts so far.
    #[must_use]
    pub fn stats(&self) -> AlertStats {
        self.shared.tally.stats()
    }

    /// What goes on now, whether or not somebody was told; what began first comes first.
    #[must_use]
    pub fn firing(&self) -> Vec<Arc<Alert>> {
        self.shared.desk.lock().firing(&Moment::now())
    }

    /// The last alerts that were told, or would have been had there been a sink for them; the
    /// oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<Arc<Alert>> {
        self.shared.desk.lock().history.entries()
    }

    /// How the [objectives](super::Slo) do, in the order in which they were given.
    #[must_use]
    pub fn objectives(&self) -> Vec<Objective> {
        let meter = self.shared.meter.as_ref();
        meter.map(|meter| meter.objectives(time::now())).unwrap_or_default()
    }

    /// Waits until all that is queued was told or has failed, but no longer than `deadline`.
    /// Whether nothing was left. For the end of a program: what only waits for others to join it
    /// waits no longer.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or in one without time.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let ends = time::after(time::now(), deadline);
        self.shared.catch_up(true);
        self.shared.desk.lock().start();
        // What was seen before there was a runtime has no keeper yet.
        self.shared.see_that_somebody_looks();
        within(ends, self.shared.tally.empty()).await.is_some()
    }
}

/// Hears what the other layers do.
impl Observer for Alerts {
    fn observe(&self, event: &Event<'_>) {
        if let (Some(meter), Event::Retry(event)) = (&self.shared.meter, event)
            && let Decision::Retry { .. } = event.decision
        {
            meter.retry();
            // A call that a retry mends is heard of by nobody else.
            self.shared.see_that_somebody_looks();
        }
        self.shared.rules.event(event, |seen| self.shared.see(&seen));
    }
}

impl Shared {
    /// A call begins.
    #[inline]
    pub(super) fn begin(self: &Arc<Self>) -> Begun {
        match &self.meter {
            Some(meter) if meter.follows_calls() => self.follow(meter),
            _ => Begun::default(),
        }
    }

    #[inline(never)]
    fn follow(self: &Arc<Self>, meter: &Meter) -> Begun {
        if meter.watches_flight() {
            self.see_that_somebody_looks();
        }
        meter.begin()
    }

    fn see_that_somebody_looks(self: &Arc<Self>) {
        if !self.keeper.runs() {
            keeper::wake(self);
        }
    }

    /// A call that began isn't in flight any more.
    #[inline(never)]
    pub(super) fn end(&self, begun: &mut Begun) {
        if let Some(meter) = &self.meter {
            meter.end(begun);
        }
    }

    /// A caller got this.
    #[inline]
    pub(super) fn outcome(
        self: &Arc<Self>,
        begun: &Begun,
        verdict: &Verdict,
        error: Option<&(dyn Error + 'static)>,
    ) {
        if !verdict.is_success() {
            self.failure(begun, verdict, error);
        } else if let Some(meter) = &self.meter
            && meter.success(begun)
        {
            self.see_that_somebody_looks();
        }
    }

    #[inline(never)]
    fn failure(
        self: &Arc<Self>,
        begun: &Begun,
        verdict: &Verdict,
        error: Option<&(dyn Error + 'static)>,
    ) {
        if let Some(meter) = &self.meter
            && meter.failure(begun, verdict)
        {
            self.see_that_somebody_looks();
        }
        if let Some(seen) = self.rules.outcome(verdict, error) {
            self.see(&seen);
        }
    }

    fn see(self: &Arc<Self>, seen: &Sighting<'_>) {
        let now = time::now();
        let mut reports = Vec::new();
        let wakes = {
            let mut desk = self.desk.lock();
            let due = if seen.lasts == Lasts::Over {
                let (end, due) = desk.resolve(seen, &Moment::now(), &self.tally);
                reports.extend(end);
                due
            } else {
                desk.fire(seen, now, &self.tally)
            };
            let planned = desk.wakes_at.filter(|_| self.keeper.runs());
            let mut next = due;
            if due.is_some_and(|due| due <= now) {
                reports.extend(self.due(&mut desk, false));
                next = desk.wakes_at;
            }
            // What isn't due before the keeper looks anyway isn't worth waking it.
            next.is_some_and(|next| planned.is_none_or(|planned| next < planned))
        };
        // First: an observer may panic.
        if wakes {
            keeper::wake(self);
        }
        self.report(&reports);
    }

    /// Tells what is due by now. When to look again.
    pub(super) fn catch_up(&self, hurry: bool) -> Option<Instant> {
        let (reports, next) = {
            let mut desk = self.desk.lock();
            (self.due(&mut desk, hurry), desk.wakes_at)
        };
        self.report(&reports);
        next
    }

    fn due(&self, desk: &mut Desk, hurry: bool) -> Vec<Report> {
        desk.due(&Moment::now(), hurry, self.meter.as_ref(), &self.tally)
    }

    fn report(&self, reports: &[Report]) {
        for Report { alert, news, dropped } in reports {
            let tell = |kind| self.listener.tell(|| Event::Alert(AlertEvent { alert, kind }));
            if *news {
                let over = alert.resolved;
                tell(if over { AlertEventKind::Resolved } else { AlertEventKind::Raised });
            }
            for sink in dropped {
                tell(AlertEventKind::Dropped { sink });
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nobody is left who would tell what waits for others. Observers aren't called: one that
        // panics would end a program that is unwinding.
        let mut desk = self.desk.lock();
        self.due(&mut desk, true);
        drop(desk);
        self.keeper.stir();
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
