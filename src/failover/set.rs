//! The regions and their health, shared by all calls.

use std::sync::Arc;
use std::time::Duration;

use super::checks::{Check, Finding};
use super::choice::{Candidate, choose};
use super::health::{Change, Cooldown, Health, smoothed};
use super::region::{Place, Regions};
use super::route::Target;
use super::watch::Watch;
use super::{FailoverEvent, FailoverEventKind, HealthChecks, RegionStatus};
use crate::classify::{Cause, Verdict};
use crate::event::{Event, Listener};
use crate::scope::Tried;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::{self, Instant};

#[derive(Debug)]
pub(super) struct RegionSet {
    pub(super) regions: Regions,
    states: Box<[State]>,
    cooldown: Cooldown,
    listener: Listener,
    start: Instant,
    /// Who checks the regions, if anybody does.
    pub(super) watch: Option<Watch>,
}

/// One region's state. What a call must know of it is in atomics; the lock is
/// taken by failures, and by the success that ends them.
#[derive(Debug, Default)]
struct State {
    health: Mutex<Health>,
    /// Until when it isn't chosen, in nanoseconds from the start; 0: it is healthy.
    out_until: AtomicU64,
    /// Its smoothed latency in nanoseconds; 0: not known.
    latency: AtomicU64,
}

impl RegionSet {
    pub(super) fn new(
        regions: Regions,
        cooldown: Cooldown,
        listener: Listener,
        checks: Option<HealthChecks>,
    ) -> Self {
        let states = regions.0.iter().map(|_| State::default()).collect();
        let watch = checks.map(|checks| Watch::new(checks, regions.0.len()));
        Self { regions, states, cooldown, listener, start: time::now(), watch }
    }

    /// A call is made: from the first one on the regions are checked.
    pub(super) fn called(self: &Arc<Self>) {
        if let Some(watch) = &self.watch {
            watch.start(self);
        }
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.regions.0
    }

    /// The region that takes the next attempt of a call that has tried these, and may have
    /// failed before that.
    pub(super) fn choose(&self, tried: &Tried, failed: bool) -> Option<usize> {
        let out_until = |state: &State| state.out_until.load(Ordering::Acquire);
        // While all is well, which is mostly, the clock needn't be read.
        let all_well = self.states.iter().all(|state| out_until(state) == 0);
        let now = if all_well { 0 } else { self.nanos(time::now()) };
        let candidates = self.places().iter().zip(&self.states).map(|(place, state)| Candidate {
            priority: place.priority,
            out_for: Duration::from_nanos(out_until(state).saturating_sub(now)),
            latency: Duration::from_nanos(state.latency.load(Ordering::Relaxed)),
        });
        choose(candidates, tried, failed)
    }

    /// Whether a call's latency counts. Where there are checks theirs does, and no other:
    /// a region that serves calls would look slower than one that is only asked for its health.
    pub(super) fn latency_is_by_calls(&self) -> bool {
        self.watch.is_none()
    }

    /// A check of this region, to be made now.
    pub(super) fn check(&self, region: usize) -> Option<Check> {
        Some(self.watch.as_ref()?.checks().check(&Target::new(self.places(), region)))
    }

    /// What the check found that was started then. Answers with when the next one is due.
    pub(super) fn checked(
        &self,
        region: usize,
        finding: Finding,
        started: Instant,
    ) -> Option<Instant> {
        let (checks, now) = (self.watch.as_ref()?.checks(), time::now());
        let next = time::after(started, checks.next_interval()).max(now);
        self.states[region].health.lock().checked(now);
        match finding {
            Ok(latency) => self.succeeded(region, Some(latency)),
            Err(cause) => {
                // Until the next check has found something else. Not for ever, should there be none.
                let known = time::after(next, checks.longest());
                let out_for = Some(known.saturating_duration_since(now));
                self.change(region, cause, |health| health.failed(&self.cooldown, out_for, now));
            }
        }
        Some(next)
    }

    /// A call or a check of this region succeeded, in that time on the wire.
    pub(super) fn succeeded(&self, region: usize, latency: Option<Duration>) {
        let state = &self.states[region];
        if let Some(latency) = latency {
            let old = state.latency.load(Ordering::Relaxed);
            let known = (old != 0).then(|| Duration::from_nanos(old));
            let new = time::nanos(smoothed(known, latency)).max(1);
            // What hardly moves isn't written: other threads read it.
            if new.abs_diff(old) > old / 64 {
                state.latency.store(new, Ordering::Relaxed);
            }
        }
        if state.out_until.load(Ordering::Acquire) != 0 {
            self.change(region, Cause::Unknown, Health::succeeded);
        }
    }

    /// A call of this region failed.
    pub(super) fn failed(&self, region: usize, verdict: &Verdict) {
        let now = time::now();
        let asked = verdict.hint().retry_after.map(|asked| asked.min(self.cooldown.hint_cap));
        self.change(region, verdict.cause(), |health| health.failed(&self.cooldown, asked, now));
    }

    pub(super) fn reset(&self) {
        for region in 0..self.states.len() {
            self.change(region, Cause::Unknown, Health::succeeded);
        }
    }

    fn change(
        &self,
        region: usize,
        cause: Cause,
        change: impl FnOnce(&mut Health) -> Option<Change>,
    ) {
        let state = &self.states[region];
        let changed = {
            let mut health = state.health.lock();
            let changed = change(&mut health);
            let out_until = health.out_until().map_or(0, |until| self.nanos(until).max(1));
            state.out_until.store(out_until, Ordering::Release);
            changed
        };
        match changed {
            Some(Change::Back) => self.tell(region, FailoverEventKind::Back),
            Some(Change::Lost { out_for }) => {
                self.tell(region, FailoverEventKind::Lost { cause, out_for });
                if self.states.iter().all(|state| state.out_until.load(Ordering::Acquire) != 0) {
                    self.tell(region, FailoverEventKind::AllLost);
                }
            }
            None => {}
        }
    }

    pub(super) fn tell(&self, region: usize, kind: FailoverEventKind) {
        self.listener.tell(|| {
            let region = match kind {
                FailoverEventKind::AllLost => "",
                _ => self.places()[region].name,
            };
            Event::Failover(FailoverEvent { region, kind })
        });
    }

    pub(super) fn status(&self) -> Vec<RegionStatus> {
        let now = time::now();
        let status = |(place, state): (&Place, &State)| {
            let health = *state.health.lock();
            let out_until = health.out_until().filter(|until| *until > now);
            let latency = state.latency.load(Ordering::Relaxed);
            RegionStatus {
                name: place.name,
                healthy: out_until.is_none(),
                out_until,
                latency: (latency != 0).then(|| Duration::from_nanos(latency)),
                last_check: health.last_check(),
            }
        };
        self.places().iter().zip(&self.states).map(status).collect()
    }

    fn nanos(&self, at: Instant) -> u64 {
        time::nanos(at.saturating_duration_since(self.start))
    }
}
