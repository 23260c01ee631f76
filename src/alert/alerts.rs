use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::dispatch::Lane;
use super::history::History;
use super::keeper::{self, Keeper};
use super::lifecycle::{Lifecycle, Sinks};
use super::rule::{Lasts, Rules, Sighting};
use super::tally::{Tally, Ticket};
use super::within::within;
use super::{Alert, AlertEvent, AlertEventKind, AlertLayer, AlertStats, AlertsBuilder, Severity};
use crate::classify::Verdict;
use crate::event::{Event, Listener, Observer};
use crate::sync::Mutex;
use crate::time::{self, Instant};

/// A handle on the alerts: makes the layer and the observers, and shows what was told.
///
/// Cheap to clone. The tasks that it has started end with its last clone, when what is queued
/// is told. See the [module](super) for an example.
#[derive(Clone)]
pub struct Alerts {
    shared: Arc<Shared>,
}

/// What all handles share.
pub(super) struct Shared {
    pub(super) service: Arc<str>,
    pub(super) rules: Rules,
    pub(super) listener: Listener,
    pub(super) desk: Mutex<Desk>,
    pub(super) tally: Arc<Tally>,
    pub(super) keeper: Arc<Keeper>,
}

/// What is decided about alerts, one after the other.
pub(super) struct Desk {
    pub(super) lifecycle: Lifecycle,
    pub(super) history: History,
    pub(super) lanes: Vec<Lane>,
    /// When the keeper looks next.
    pub(super) wakes_at: Option<Instant>,
}

/// What became of an alert: told to the observer when no lock is held.
struct Told {
    alert: Arc<Alert>,
    news: bool,
    dropped: Vec<&'static str>,
}

impl Alerts {
    /// What to tell, and to whom.
    pub fn builder() -> AlertsBuilder {
        AlertsBuilder::new()
    }

    pub(super) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
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

    /// The last alerts that were told, or would have been had there been a sink for them; the
    /// oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<Arc<Alert>> {
        self.shared.desk.lock().history.entries()
    }

    /// Waits until all that is queued was told or has failed, but no longer than `deadline`.
    /// Whether nothing was left. For the end of a program.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or in one without time.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let ends = time::after(time::now(), deadline);
        self.shared.desk.lock().lanes.iter_mut().for_each(Lane::start);
        within(ends, self.shared.tally.empty()).await.is_some()
    }

    /// A caller got this.
    pub(super) fn outcome(&self, verdict: &Verdict, error: Option<&(dyn Error + 'static)>) {
        if let Some(seen) = self.shared.rules.outcome(verdict, error) {
            self.shared.see(&seen);
        }
    }
}

/// Hears what the other layers do.
impl Observer for Alerts {
    fn observe(&self, event: &Event<'_>) {
        self.shared.rules.event(event, |seen| self.shared.see(&seen));
    }
}

impl Shared {
    fn see(self: &Arc<Self>, seen: &Sighting<'_>) {
        let now = time::now();
        let (told, due) = {
            let mut desk = self.desk.lock();
            let over = seen.lasts == Lasts::Over;
            let wants = desk.wants(seen.severity);
            let step = if over {
                desk.lifecycle.resolve(seen)
            } else {
                let step = desk.lifecycle.fire(seen, wants, now);
                self.tally.coalesced(wants.without(step.to).len());
                step
            };
            let told = (step.news || !step.to.is_empty())
                .then(|| self.tell(&mut desk, seen, over, step.to, step.news));
            let wakes_at = desk.wakes_at.filter(|_| self.keeper.runs());
            let due = step.due.is_some_and(|due| wakes_at.is_none_or(|wakes_at| due < wakes_at));
            (told, due)
        };
        if due && Handle::try_current().is_ok() {
            keeper::wake(self);
        }
        if let Some(told) = told {
            self.report(&told);
        }
    }

    /// Tells what is due by now. When to look again.
    pub(super) fn catch_up(&self) -> Option<Instant> {
        let (told, next) = {
            let mut desk = self.desk.lock();
            let due = desk.lifecycle.due(time::now());
            let told: Vec<_> = due
                .iter()
                .map(|due| self.tell(&mut desk, &due.sighting(), due.resolved, due.to, true))
                .collect();
            desk.wakes_at = desk.lifecycle.next_due();
            (told, desk.wakes_at)
        };
        for told in told {
            self.report(&told);
        }
        next
    }

    fn tell(
        &self,
        desk: &mut Desk,
        seen: &Sighting<'_>,
        resolved: bool,
        to: Sinks,
        news: bool,
    ) -> Told {
        let alert = Arc::new(Alert::new(&self.service, seen, resolved, time::wall_now()));
        if news {
            desk.history.push(Arc::clone(&alert));
        }
        let (mut missed, mut dropped) = (Sinks::default(), Vec::new());
        for (number, lane) in desk.lanes.iter_mut().enumerate() {
            let ticket = || Ticket::new(Arc::clone(&alert), Arc::clone(&self.tally));
            if to.contains(number) && !lane.offer(ticket()) {
                missed = missed.with(number);
                dropped.push(lane.name);
            }
        }
        if !resolved {
            desk.lifecycle.missed(seen, missed);
        }
        Told { alert, news, dropped }
    }

    fn report(&self, told: &Told) {
        let alert = &*told.alert;
        if told.news {
            let kind =
                if alert.resolved { AlertEventKind::Resolved } else { AlertEventKind::Raised };
            self.listener.tell(|| Event::Alert(AlertEvent { alert, kind }));
        }
        for sink in &told.dropped {
            let kind = AlertEventKind::Dropped { sink };
            self.listener.tell(|| Event::Alert(AlertEvent { alert, kind }));
        }
    }
}

impl Desk {
    /// The sinks that want to hear of what is so severe.
    fn wants(&self, severity: Severity) -> Sinks {
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| severity >= lane.least);
        lanes.fold(Sinks::default(), |sinks, (number, _)| sinks.with(number))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.keeper.stir();
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither sinks nor services: they can hold secrets.
        f.debug_struct("Alerts")
            .field("service", &self.shared.service)
            .field("rules", &self.shared.rules)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
