use std::time::Duration;

use super::Quota;
use super::quota::Label;
use crate::error::InvalidConfig;
use crate::event::Observers;
use crate::hint::Resource;
use crate::random::RandomSource;
use crate::sync::Mutex;

/// A layer's settings.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) max_wait: Duration,
    pub(super) max_waiting: usize,
    pub(super) max_pause: Duration,
    pub(super) taught: bool,
    pub(super) seed: Option<u64>,
    pub(super) observers: Observers,
}

/// What all limiters of one layer go by.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) settings: Settings,
    /// As they are now, for the limiters of new keys.
    pub(super) quotas: Mutex<Vec<Quota>>,
    /// InFlight while a quota is changed, until all limiters have it.
    pub(super) changing: Mutex<()>,
    names: Box<[&'static str]>,
    random: RandomSource,
}

/// How long the ramp behind a gate is at most.
const LONGEST_RAMP: Duration = Duration::from_secs(5);

impl Config {
    pub(super) fn new(quotas: Vec<Quota>, mut settings: Settings) -> Self {
        settings.taught |= quotas.iter().any(|quota| quota.taught);
        Self {
            names: quotas.iter().map(|quota| quota.label.name()).collect(),
            quotas: Mutex::new(quotas),
            changing: Mutex::new(()),
            random: settings.seed.into(),
            settings,
        }
    }

    /// Puts a quota in the entry of the one with its name. Returns that entry, and the quota with
    /// its label.
    pub(super) fn set_quota(&self, quota: Quota) -> Result<(usize, Quota), InvalidConfig> {
        if quota.taught && !self.settings.taught {
            return Err(InvalidConfig::new(
                "the layer doesn't read what answers tell; build it with `.taught(true)`",
            ));
        }
        let mut quotas = self.quotas.lock();
        let at = self.place_of(quota.label)?;
        quotas[at] = Quota { label: quotas[at].label, ..quota };
        Ok((at, quotas[at]))
    }

    /// The entry of the quota that this label means.
    fn place_of(&self, label: Label) -> Result<usize, InvalidConfig> {
        let requests = Label::Of(Resource::Requests);
        // A quota that doesn't say what it counts means the only one, or else the one of requests.
        let label = match label {
            Label::Unsaid if self.names.len() == 1 => return Ok(0),
            Label::Unsaid if self.places_of(label.name()).next().is_none() => requests,
            label => label,
        };
        let mut places = self.places_of(label.name());
        match (places.next(), places.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(InvalidConfig::new(format!(
                "the layer has several quotas of {}; give each a name of its own with `.named()`",
                label.name()
            ))),
            (None, _) => Err(self.none_of(label.name())),
        }
    }

    pub(super) fn name_of(&self, entry: usize) -> &'static str {
        self.names[entry]
    }

    /// The places of the quotas of this name.
    pub(super) fn places_of(&self, name: &str) -> impl Iterator<Item = usize> {
        let places = self.names.iter().enumerate();
        places.filter_map(move |(at, known)| (*known == name).then_some(at))
    }

    /// The error that no quota has this name.
    pub(super) fn none_of(&self, name: &str) -> InvalidConfig {
        let names = self.names.join(", ");
        InvalidConfig::new(format!("the layer has no quota of {name}; name one of: {names}"))
    }

    /// For how long after a pause calls pass by degrees: as long as the pause, or five seconds if
    /// that is shorter, less a random share of up to a half, so that processes differ.
    pub(super) fn ramp(&self, pause: Duration) -> Duration {
        pause.min(LONGEST_RAMP).mul_f64(1.0 - self.random.draw(fastrand::Rng::f64) / 2.0)
    }
}
