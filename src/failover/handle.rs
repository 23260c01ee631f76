use std::sync::Arc;
use std::time::Duration;

use super::region::RegionEntry;
use super::region_state::{AdminState, RegionState};
use super::set::RegionSet;
use super::{BodyWatchLayer, Region, RegionStatus};
use crate::error::InvalidConfig;
use crate::event::RegionChange;
use crate::time;

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
    /// Without this layer a region is judged by the heads of its responses. Its client must answer with
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
