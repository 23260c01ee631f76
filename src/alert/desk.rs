//! What is decided about alerts, one after the other: state, history and queues change together,
//! so that what is told is in the order in which it was decided.

use std::sync::Arc;
use std::time::Duration;

use super::Alert;
use super::alerts::{Moment, Told};
use super::audience::Sinks;
use super::dispatch::Lane;
use super::history::History;
use super::lifecycle::{Lifecycle, Notice, Times};
use super::measure::Meter;
use super::sighting::{Lasts, Sighting};
use super::tally::{Tally, Ticket};
use crate::time::Instant;

pub(super) struct Desk {
    service: Arc<str>,
    repeats_in: Duration,
    lifecycle: Lifecycle,
    pub(super) history: History,
    lanes: Vec<Lane>,
    /// When the keeper looks next.
    pub(super) wakes_at: Option<Instant>,
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

    /// It was seen. When something is due about it.
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

    /// It is over. What is told of that, and when something else is due.
    pub(super) fn resolve(
        &mut self,
        seen: &Sighting<'_>,
        moment: &Moment,
        tally: &Arc<Tally>,
    ) -> (Vec<Told>, Option<Instant>) {
        let (notices, step) = self.lifecycle.resolve(seen, moment.now);
        tally.coalesced(step.coalesced);
        (notices.iter().map(|notice| self.tell(notice, moment, tally)).collect(), step.due)
    }

    /// Tells what is due by now. What was told.
    pub(super) fn due(
        &mut self,
        moment: &Moment,
        hurry: bool,
        meter: Option<&Meter>,
        tally: &Arc<Tally>,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        if let Some(meter) = meter.filter(|meter| hurry || meter.next_look() <= moment.now) {
            meter.look(moment.now, |seen| {
                if seen.lasts == Lasts::Over {
                    told.extend(self.resolve(seen, moment, tally).0);
                } else {
                    self.fire(seen, moment.now, tally);
                }
            });
        }
        let (notices, coalesced) = self.lifecycle.due(moment.now, hurry);
        tally.coalesced(coalesced);
        told.extend(notices.iter().map(|notice| self.tell(notice, moment, tally)));
        let looks_at = meter.map(Meter::next_look);
        self.wakes_at = self.lifecycle.next_due().into_iter().chain(looks_at).min();
        told
    }

    pub(super) fn firing(&self, moment: &Moment) -> Vec<Alert> {
        let firing = self.lifecycle.firing(moment.now);
        firing.iter().map(|notice| self.alert(notice, moment)).collect()
    }

    /// Starts the sinks' tasks, if that could not be done before.
    pub(super) fn start(&self) {
        self.lanes.iter().for_each(Lane::start);
    }

    fn alert(&self, notice: &Notice, moment: &Moment) -> Alert {
        let since = moment.at(notice.since);
        Alert::new(&self.service, notice, since, moment.wall, self.repeats_in)
    }

    fn tell(&mut self, notice: &Notice, moment: &Moment, tally: &Arc<Tally>) -> Told {
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
        Told { alert, news: notice.news, dropped }
    }
}
