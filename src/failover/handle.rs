use std::sync::Arc;
use std::time::Duration;

use super::health::Availability;
use super::region::RegionEntry;
use super::region_state::{AdminState, RegionData, RegionState};
use super::set::RegionSet;
use super::{BodyWatchLayer, Region};
use crate::error::InvalidConfig;
use crate::event::RegionChange;
use crate::time::{self, Instant};
use crate::verdict::Cause;

/// Looks at a failover's regions, and changes them while it runs. Cheap to clone.
///
/// A change ends no call: those under way go on where they are. A region that was removed and is added
/// again, under its old name and base, keeps its health and latency.
///
/// ```
/// use tower_upstream::failover::{FailoverLayer, Region, Regions};
///
/// let layer = FailoverLayer::new(Regions::new([
///     Region::new("us-west-2", "https://api.example.com/v1").priority(1),
/// ])?);
/// let regions = layer.handle();
/// regions.add(Region::new("eu-west-1", "https://eu-api.example.com/v1").priority(2))?;
/// // While us-west-2 is worked on:
/// regions.drain("us-west-2")?;
/// // And when that is over:
/// regions.release("us-west-2")?;
/// # Ok::<_, tower_upstream::InvalidConfig>(())
/// ```
#[derive(Clone, Debug)]
pub struct FailoverHandle {
    set: Arc<RegionSet>,
}

impl FailoverHandle {
    pub(super) fn new(set: Arc<RegionSet>) -> Self {
        Self { set }
    }

    /// How each region is: first those that the layer was built with, then those added since.
    #[must_use]
    pub fn status(&self) -> Vec<RegionStatus> {
        self.set.status()
    }

    /// A layer to put between this failover and its client. It takes a region out when a response's body
    /// breaks off, or brings nothing for the time `stall` while it is being read. With zero any wait
    /// takes the region out.
    ///
    /// Without this layer a region is judged by the heads of its responses. Its client must return
    /// `http::Response`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::ServiceBuilder;
    /// use tower_upstream::failover::{FailoverLayer, Region, Regions};
    ///
    /// let failover =
    ///     FailoverLayer::new(Regions::new([Region::new("us-west-2", "https://api.example.com/v1")])?);
    /// let bodies = failover.handle().watch_bodies(Duration::from_secs(20));
    /// let layers = ServiceBuilder::new().layer(failover).layer(bodies);
    /// # let _ = layers;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    #[must_use]
    pub fn watch_bodies(&self, stall: Duration) -> BodyWatchLayer {
        BodyWatchLayer::new(Arc::clone(&self.set), stall)
    }

    /// Takes every region for healthy, until calls or checks find otherwise. A region that is forced
    /// or drained stays so.
    pub fn reset(&self) {
        self.set.reset();
    }

    /// Adds a region.
    ///
    /// With [one client per region](super::FailoverLayer::services) the region is called only once it is
    /// given a client, by [`FailoverServices::add`](super::FailoverServices::add).
    ///
    /// # Errors
    ///
    /// If [`Regions::new`](super::Regions::new) would refuse the region, its name is in use, or 1,024
    /// regions were added already since the layer was built.
    pub fn add(&self, region: Region) -> Result<(), InvalidConfig> {
        self.set.add_unless(region, |_| false).map(|_| ())
    }

    /// Removes a region. Calls under way there go on.
    ///
    /// # Errors
    ///
    /// If there is none of that name, or no other one is left that takes calls.
    pub fn remove(&self, name: &str) -> Result<(), InvalidConfig> {
        self.set.assign(name, AdminState::Removed)
    }

    /// Gives a region another priority. Regions of a lower number are preferred.
    ///
    /// # Errors
    ///
    /// If there is none of that name.
    pub fn prioritise(&self, name: &str, priority: u32) -> Result<(), InvalidConfig> {
        let _changing = self.set.changing.lock();
        self.set.named(name)?.1.prioritise(priority);
        self.set.look_for_the_preferred();
        Ok(())
    }

    /// Takes a region for fit whatever calls and checks find, until it is [released](Self::release).
    ///
    /// # Errors
    ///
    /// If there is none of that name.
    pub fn force_in(&self, name: &str) -> Result<(), InvalidConfig> {
        self.set.assign(name, AdminState::In)
    }

    /// Sends a region no call at all, until it is [released](Self::release).
    ///
    /// # Errors
    ///
    /// If there is none of that name, or no other one is left that takes calls.
    pub fn force_out(&self, name: &str) -> Result<(), InvalidConfig> {
        self.set.assign(name, AdminState::Out)
    }

    /// Sends a region no call while another one is fit, until it is [released](Self::release).
    ///
    /// # Errors
    ///
    /// If there is none of that name.
    pub fn drain(&self, name: &str) -> Result<(), InvalidConfig> {
        self.set.assign(name, AdminState::Drained)
    }

    /// Lets a region that was forced or drained go by its health again.
    ///
    /// # Errors
    ///
    /// If there is none of that name.
    pub fn release(&self, name: &str) -> Result<(), InvalidConfig> {
        self.set.assign(name, AdminState::ByHealth)
    }
}

impl RegionSet {
    /// Adds a region, and returns its number. A region that was removed, of the same name and base, gets
    /// its old number and state. A region that is there already is an error, unless its number is `fine`.
    pub(super) fn add_unless(
        &self,
        region: Region,
        fine: impl Fn(usize) -> bool,
    ) -> Result<usize, InvalidConfig> {
        let place = RegionEntry::new(region)?;
        let changing = self.changing.lock();
        let known = self.slots.iter().position(|region_state| region_state.place.is_at(&place));
        let there = known.filter(|number| !self.region_state(*number).is_removed());
        if let Some(number) = there.filter(|number| fine(*number)) {
            return Ok(number);
        }
        if self.named(place.name).is_ok() {
            let name = place.name;
            let message =
                format!("there is a region called {name:?}; remove it or use another name");
            return Err(InvalidConfig::new(message));
        }
        let number = known.unwrap_or_else(|| self.slots.iter().count());
        match known.and_then(|number| self.slots.get(number)) {
            Some(region_state) => {
                region_state.prioritise(place.priority);
                region_state.set_admin_state(AdminState::ByHealth, self.origin);
            }
            None if self.slots.put(number, RegionState::new(place, self.origin, time::now())) => {}
            None => {
                return Err(InvalidConfig::new("so many regions were added that no more can be"));
            }
        }
        self.look_for_shared_hosts();
        self.look_for_the_preferred();
        self.notify_waiters();
        if let Some(watch) = &self.watch {
            watch.wants();
        }
        drop(changing);
        if self.region_state(number).is_fit() {
            self.region_changed(number, RegionChange::Added);
        }
        Ok(number)
    }

    fn assign(&self, name: &str, admin_state: AdminState) -> Result<(), InvalidConfig> {
        let changing = self.changing.lock();
        let (number, region_state) = self.named(name)?;
        let takes_calls =
            |admin_state| !matches!(admin_state, AdminState::Out | AdminState::Removed);
        let mut others =
            self.slots.iter().filter(|other| other.place.name != region_state.place.name);
        if !takes_calls(admin_state) && !others.any(|other| takes_calls(other.data().admin_state)) {
            let message = format!(
                "{name:?} is the last region that takes calls; add or release another first"
            );
            return Err(InvalidConfig::new(message));
        }
        region_state.set_admin_state(admin_state, self.origin);
        self.look_for_the_preferred();
        self.notify_waiters();
        drop(changing);
        if admin_state == AdminState::Removed {
            self.region_changed(number, RegionChange::Removed);
        }
        Ok(())
    }

    /// The region of this name that isn't removed, and its number.
    fn named(&self, name: &str) -> Result<(usize, &RegionState), InvalidConfig> {
        let mut regions =
            self.slots.iter().enumerate().filter(|(_, region_state)| !region_state.is_removed());
        let found = regions.find(|(_, region_state)| region_state.place.name == name);
        found.ok_or_else(|| InvalidConfig::new(format!("there is no region called {name:?}")))
    }
}

/// How a region is, at one now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegionStatus {
    /// Its name.
    pub name: &'static str,
    /// Regions of a lower number are preferred.
    pub priority: u32,
    /// Whether calls are sent to it.
    pub healthy: bool,
    /// Why calls are sent to it, or not.
    pub condition: Condition,
    /// Since when its health has been in this generation: fit, out or coming back.
    pub since: Instant,
    /// Until when it is out, where that is known.
    pub out_until: Option<Instant>,
    /// Its smoothed latency on the wire, if a call has succeeded there. While it is the only region of
    /// the best priority, one call of 16 is measured. With [health checks](super::HealthChecks) only
    /// those are measured, and no calls.
    pub latency: Option<Duration>,
    /// Why a call or a check failed there last, if one has.
    pub last_failure: Option<Cause>,
    /// When its last health check was over, if there was one.
    pub last_check: Option<Instant>,
    /// How many attempts were sent to it.
    pub attempts: u64,
    /// How many of them are under way.
    pub under_way: u64,
}

/// Why calls are sent to a region, or not. See the [module](super#a-regions-timeline).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It takes calls.
    Fit,
    /// It failed, and takes none for a while.
    Out,
    /// It takes one call at a time, to show that it is well again.
    Probing,
    /// It is back, and takes a share of its calls that grows.
    Ramping,
    /// It takes calls whatever is found: [`force_in`](super::FailoverHandle::force_in).
    ForcedIn,
    /// It takes none: [`force_out`](super::FailoverHandle::force_out).
    ForcedOut,
    /// It takes none while there is another: [`drain`](super::FailoverHandle::drain).
    Drained,
}

impl RegionSet {
    pub(super) fn status(&self) -> Vec<RegionStatus> {
        let now = time::now();
        let regions = self.slots.iter().filter(|region_state| !region_state.is_removed());
        regions.map(|region_state| self.status_of(region_state, now)).collect()
    }

    fn status_of(&self, region_state: &RegionState, now: Instant) -> RegionStatus {
        // Read under one lock, so that no field is older than a change and another newer.
        let data = region_state.data();
        let RegionData { health, admin_state, last_failure } = data;
        let (attempts, under_way) = region_state.calls();
        let nanos = self.origin.nanos(now);
        let (condition, out_until) = match (admin_state, health.availability(self.origin)) {
            (AdminState::In, _) => (Condition::ForcedIn, None),
            (AdminState::Drained, _) => (Condition::Drained, None),
            (AdminState::Out | AdminState::Removed, _) => (Condition::ForcedOut, None),
            (_, Availability::Out { until }) if nanos < until => {
                (Condition::Out, Some(self.origin.instant(until)))
            }
            (_, Availability::Out { .. }) => (Condition::Probing, None),
            (_, Availability::Ramping { until }) if nanos < until => (Condition::Ramping, None),
            _ => (Condition::Fit, None),
        };
        RegionStatus {
            name: region_state.place.name,
            // It was a `u32` when it was set.
            priority: u32::try_from(region_state.priority()).unwrap_or(u32::MAX),
            healthy: !data.availability(self.origin).is_out(nanos),
            condition,
            since: health.since(),
            out_until,
            latency: region_state.latency().measured(),
            last_failure,
            last_check: health.last_check(),
            attempts,
            under_way,
        }
    }
}
