//! Where it is decided what is told. State, history and queues change under one lock, so that alerts are
//! told in the order in which they were decided.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::audience::Sinks;
use super::dispatch::Lane;
use super::history::History;
use super::lifecycle::{Lifecycle, Notice, Times};
use super::measure::Meter;
use super::sighting::{Lasts, Sighting};
use super::tally::{Tally, Ticket};
use crate::event::Alert;
use crate::time::{self, Instant};

pub(super) struct Desk {
    service: Arc<str>,
    repeats_in: Duration,
    lifecycle: Lifecycle,
    pub(super) history: History,
    lanes: Vec<Lane>,
    /// When the keeper looks next.
    pub(super) wakes_at: Option<Instant>,
}

/// What became of an alert, for the observer: it is told when no lock is held.
pub(super) struct Report {
    pub(super) alert: Arc<Alert>,
    /// Whether it was raised or resolved, rather than offered again to a sink that missed it.
    pub(super) news: bool,
    /// The names of the sinks whose queue was full.
    pub(super) dropped: Vec<&'static str>,
}

/// Now, on both clocks.
pub(super) struct Moment {
    now: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { now: time::now(), wall: time::wall_now() }
    }

    /// An earlier time, on the wall clock.
    fn at(&self, earlier: Instant) -> SystemTime {
        let ago = self.now.saturating_duration_since(earlier);
        self.wall.checked_sub(ago).unwrap_or(self.wall)
    }
}

impl Desk {
    pub(super) fn new(
        service: Arc<str>,
        times: &Times,
        lifecycle: Lifecycle,
        history: History,
        lanes: Vec<Lane>,
    ) -> Self {
        Self { service, repeats_in: times.repeat, lifecycle, history, lanes, wakes_at: None }
    }

    /// Takes in that something was seen. Returns when something is due about it.
    pub(super) fn fire(
        &mut self,
        seen: &Sighting<'_>,
        now: Instant,
        tally: &Tally,
    ) -> Option<Instant> {
        let step = self.lifecycle.fire(seen, now);
        tally.coalesced(step.coalesced);
        step.due
    }

    /// Takes in that something is over. Returns what was told of that, and when something else is due.
    pub(super) fn resolve(
        &mut self,
        seen: &Sighting<'_>,
        moment: &Moment,
        tally: &Arc<Tally>,
    ) -> (Vec<Report>, Option<Instant>) {
        let (notices, step) = self.lifecycle.resolve(seen, moment.now);
        tally.coalesced(step.coalesced);
        (notices.iter().map(|notice| self.emit(notice, moment, tally)).collect(), step.due)
    }

    /// Tells what is due by now, and returns it. With `hurry` what waits for others to join it is due.
    pub(super) fn due(
        &mut self,
        moment: &Moment,
        hurry: bool,
        meter: Option<&Meter>,
        tally: &Arc<Tally>,
    ) -> Vec<Report> {
        let mut reports = Vec::new();
        if let Some(meter) = meter.filter(|meter| hurry || meter.next_look() <= moment.now) {
            meter.look(moment.now, |seen| {
                if seen.lasts == Lasts::Over {
                    reports.extend(self.resolve(seen, moment, tally).0);
                } else {
                    self.fire(seen, moment.now, tally);
                }
            });
        }
        let (notices, coalesced) = self.lifecycle.due(moment.now, hurry);
        tally.coalesced(coalesced);
        reports.extend(notices.iter().map(|notice| self.emit(notice, moment, tally)));
        let looks_at = meter.map(Meter::next_look);
        self.wakes_at = self.lifecycle.next_due().into_iter().chain(looks_at).min();
        reports
    }

    pub(super) fn firing(&self, moment: &Moment) -> Vec<Arc<Alert>> {
        let firing = self.lifecycle.firing(moment.now);
        firing.iter().map(|notice| Arc::new(self.alert(notice, moment))).collect()
    }

    /// Starts the sinks' tasks where something is queued: there may have been no runtime before.
    pub(super) fn start(&self) {
        self.lanes.iter().for_each(Lane::start);
    }

    fn alert(&self, notice: &Notice, moment: &Moment) -> Alert {
        let since = moment.at(notice.since);
        Alert::of_notice(&self.service, notice, since, moment.wall, self.repeats_in)
    }

    fn emit(&mut self, notice: &Notice, moment: &Moment, tally: &Arc<Tally>) -> Report {
        let alert = Arc::new(self.alert(notice, moment));
        if notice.news {
            self.history.push(Arc::clone(&alert));
        }
        let (mut missed, mut dropped) = (Sinks::default(), Vec::new());
        for (number, lane) in self.lanes.iter().enumerate() {
            let ticket = || Ticket::new(Arc::clone(&alert), Arc::clone(tally));
            if notice.to.contains(number) && !lane.offer(ticket()) {
                missed = missed.with(number);
                dropped.push(lane.name());
            }
        }
        if !notice.resolved {
            self.lifecycle.missed(notice, missed, moment.now);
        }
        Report { alert, news: notice.news, dropped }
    }
}
