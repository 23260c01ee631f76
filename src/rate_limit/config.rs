use std::sync::Arc;
use std::time::Duration;

use super::Quota;
use super::cost::MAX_QUOTAS;
use super::quota::Unit;
use crate::error::InvalidConfig;
use crate::event::Observers;
use crate::hint::Resource;
use crate::random::RandomSource;
use crate::sync::Mutex;

/// The settings of a layer.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) max_wait: Duration,
    pub(super) max_waiting: usize,
    pub(super) max_pause: Duration,
    pub(super) learns_limits: bool,
    pub(super) seed: Option<u64>,
    pub(super) observers: Observers,
}

/// The validated settings and the quotas of a layer, shared by its limiters.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) settings: Settings,
    /// The present quotas, for the limiters of new keys.
    pub(super) quotas: Mutex<Vec<Quota>>,
    /// Held while a quota is changed in all limiters.
    pub(super) changing: Mutex<()>,
    /// The names of the quotas.
    pub(super) names: Box<[Arc<str>]>,
    random: RandomSource,
}

/// The longest ramp-up after a pause.
const MAX_RAMP: Duration = Duration::from_secs(5);

impl Config {
    pub(super) fn new(quotas: Vec<Quota>, mut settings: Settings) -> Result<Self, InvalidConfig> {
        if quotas.len() > MAX_QUOTAS {
            return Err(InvalidConfig::new(format!(
                "a rate limiter has at most {MAX_QUOTAS} quotas, not {}; use two layers",
                quotas.len()
            )));
        }
        settings.learns_limits |= quotas.iter().any(|quota| quota.is_learned);
        Ok(Self {
            names: quotas.iter().map(|quota| Arc::from(quota.unit.name())).collect(),
            quotas: Mutex::new(quotas),
            changing: Mutex::new(()),
            random: settings.seed.into(),
            settings,
        })
    }

    /// Replaces the quota of the same name. Returns its index, and the new quota.
    pub(super) fn set_quota(&self, mut quota: Quota) -> Result<(usize, Quota), InvalidConfig> {
        if quota.is_learned && !self.settings.learns_limits {
            return Err(InvalidConfig::new(
                "the layer doesn't read limits from responses; build it with `.learn_limits(true)`",
            ));
        }
        let index = self.index_to_replace(&quota.unit)?;
        let mut quotas = self.quotas.lock();
        quota.unit = quotas[index].unit.clone();
        quotas[index] = quota.clone();
        Ok((index, quota))
    }

    /// Returns the index of the quota that a quota of this unit replaces.
    fn index_to_replace(&self, unit: &Unit) -> Result<usize, InvalidConfig> {
        let requests = Unit::Resource(Resource::Requests);
        // A quota without a unit replaces the only quota, or else the one of requests.
        let name = match unit {
            Unit::Unset if self.names.len() == 1 => return Ok(0),
            Unit::Unset if self.indices(unit.name()).next().is_none() => requests.name(),
            unit => unit.name(),
        };
        let mut indices = self.indices(name);
        match (indices.next(), indices.next()) {
            (Some(index), None) => Ok(index),
            (Some(_), Some(_)) => Err(InvalidConfig::new(format!(
                "the layer has several quotas of {name}; give each its own name with `.named()`"
            ))),
            (None, _) => Err(self.unknown_name(name)),
        }
    }

    /// Returns the indices of the quotas of this name.
    pub(super) fn indices(&self, name: &str) -> impl Iterator<Item = usize> {
        let names = self.names.iter().enumerate();
        names.filter_map(move |(index, other)| (**other == *name).then_some(index))
    }

    /// Returns the error that no quota has this name.
    pub(super) fn unknown_name(&self, name: &str) -> InvalidConfig {
        let names = self.names.join(", ");
        InvalidConfig::new(format!("the layer has no quota of {name}; name one of: {names}"))
    }

    /// Returns the length of the ramp-up after a pause: the length of the pause, at most
    /// [`MAX_RAMP`], less a random share of up to a half, so that processes differ.
    pub(super) fn ramp(&self, pause: Duration) -> Duration {
        pause.min(MAX_RAMP).mul_f64(1.0 - self.random.draw(fastrand::Rng::f64) / 2.0)
    }
}
