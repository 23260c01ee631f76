use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::config::{Config, Settings};
use super::health::Recovery;
use super::region::Regions;
use super::route::Target;
use super::selection::WhenAllOut;
use super::set::RegionSet;
use super::{Failover, FailoverHandle, FailoverServices, HealthChecks};
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, classify_fn};
use crate::error::InvalidConfig;
use crate::event::{Observer, Observers};
use crate::key::AllCalls;
use crate::replay::{CloneReplay, HttpReplay};
use crate::scope::TriedRegions;
use crate::time;
use crate::verdict::Verdict;

/// Sends a call to the best region, and to the next one if that fails.
///
/// See the [module](super) for what it does and an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct FailoverLayer<C = HttpClassifier, R = HttpReplay, K = AllCalls> {
    pub(super) set: Arc<RegionSet>,
    pub(super) classifier: C,
    pub(super) replay: R,
    pub(super) key: K,
}

impl FailoverLayer {
    /// A layer over these regions, with the defaults of the [builder](Self::builder).
    #[allow(clippy::missing_panics_doc)] // it doesn't: every test that makes one shows it
    pub fn new(regions: Regions) -> Self {
        Self::builder(regions).build().expect("the defaults are valid")
    }

    /// A builder, for other settings.
    pub fn builder(regions: Regions) -> FailoverBuilder {
        FailoverBuilder::new(regions)
    }
}

impl<C, R, K> FailoverLayer<C, R, K> {
    /// A handle to look at the regions, and to change them.
    #[must_use]
    pub fn handle(&self) -> FailoverHandle {
        FailoverHandle::new(Arc::clone(&self.set))
    }

    /// How many regions a call can go to.
    pub(crate) fn reach(&self) -> usize {
        self.set.slots.iter().count().min(self.set.settings.config.max_attempts)
    }

    /// A service that holds one client per region, instead of one client whose requests are rewritten.
    /// `make` is called once for each region, removed ones included, as those may come back.
    pub fn services<S>(
        &self,
        mut make: impl FnMut(&Target<'_>) -> S,
    ) -> FailoverServices<S, C, R, K>
    where
        S: Clone,
        C: Clone,
        R: Clone,
        K: Clone,
    {
        let targets =
            self.set.slots.iter().map(|region_state| Target::new(&self.set, &region_state.place));
        FailoverServices::new(targets.map(|target| make(&target)), self)
    }
}

impl<S, C, R, K> Layer<S> for FailoverLayer<C, R, K>
where
    S: Clone,
    C: Clone,
    R: Clone,
    K: Clone,
{
    type Service = Failover<S, C, R, K>;

    fn layer(&self, inner: S) -> Self::Service {
        Failover::new(inner, self)
    }
}

/// Builds a [`FailoverLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct FailoverBuilder<C = HttpClassifier, R = HttpReplay, K = AllCalls> {
    regions: Regions,
    settings: Settings,
    classifier: C,
    replay: R,
    key: K,
}

impl FailoverBuilder {
    pub(super) fn new(regions: Regions) -> Self {
        let settings = Settings {
            name: Arc::from("upstream"),
            recovery: Recovery {
                first: Duration::from_secs(10),
                most: Duration::from_secs(300),
                hint_cap: Duration::from_secs(300),
                good_calls: 1,
                ramp: Duration::from_secs(30),
            },
            when_all_out: WhenAllOut::Primary,
            config: Config {
                max_attempts: 3,
                non_idempotent: false,
                quota_per_region: false,
                hint_threshold: Duration::MAX,
            },
            observers: Observers::default(),
            checks: None,
            seed: None,
        };
        Self {
            regions,
            settings,
            classifier: HttpClassifier::new(),
            replay: HttpReplay::new(),
            key: AllCalls,
        }
    }
}

#[cfg(feature = "upstream")]
impl FailoverBuilder {
    /// One that is given its [`regions`](Self::regions) before it is built.
    pub(crate) fn unplaced() -> Self {
        Self::new(Regions(Vec::new()))
    }

    /// Sends calls to these regions.
    pub(crate) fn regions(mut self, regions: Regions) -> Self {
        self.regions = regions;
        self
    }
}

impl<C, R, K> FailoverBuilder<C, R, K> {
    /// The name that events show. Default: `upstream`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// How many regions one call tries at most, from 1 to 7. Default: 3.
    ///
    /// Under a retry, which counts all attempts, this many regions are tried one after another without
    /// a pause. Then the retry waits, and the next attempt may go to any of them again.
    pub fn max_attempts(mut self, attempts: usize) -> Self {
        self.settings.config.max_attempts = attempts;
        self
    }

    /// How long a region that failed isn't chosen. Up to a tenth is added at random. Default: 10 s.
    ///
    /// It doubles, up to [`max_cooldown`](Self::max_cooldown), each time the region fails again before
    /// it is fully healthy. A probe that hangs blocks other probes for this long. Zero:
    /// the region is probed at once, by any number of calls.
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.settings.recovery.first = cooldown;
        self
    }

    /// The longest that a cooldown gets by doubling. A server may ask for longer. Default: 5 minutes;
    /// at least the cooldown.
    pub fn max_cooldown(mut self, cooldown: Duration) -> Self {
        self.settings.recovery.most = cooldown;
        self
    }

    /// The longest that a server's own hint (`Retry-After` on a 503) can keep
    /// calls from a region. Default: 5 minutes; zero ignores such hints.
    pub fn hint_cap(mut self, cap: Duration) -> Self {
        self.settings.recovery.hint_cap = cap;
        self
    }

    /// Sets how many probes must succeed, one at a time, until a region is healthy. Default: 1; zero
    /// is taken for 1.
    pub fn good_calls(mut self, calls: u32) -> Self {
        self.settings.recovery.good_calls = calls;
        self
    }

    /// How long it takes a region that is back to get all of its calls again, from a tenth
    /// of them on. Default: 30 s; zero: all at once.
    pub fn ramp(mut self, ramp: Duration) -> Self {
        // The clock ends there, and a share is data by what is left of the ramp.
        self.settings.recovery.ramp = ramp.min(time::FAR);
        self
    }

    /// What a call does when no region is fit. Default: [`WhenAllOut::Primary`].
    pub fn when_all_out(mut self, when_all_out: WhenAllOut) -> Self {
        self.settings.when_all_out = when_all_out;
        self
    }

    /// Says that each region has a quota of its own, so that a throttled call goes to the next region.
    /// By default it stays: elsewhere it would be throttled too.
    pub fn quota_per_region(mut self) -> Self {
        self.settings.config.quota_per_region = true;
        self
    }

    /// Also sends a throttled call to the next region if its 429 asks to wait at least this long.
    /// Default: never.
    pub fn leave_when_asked_to_wait(mut self, at_least: Duration) -> Self {
        self.settings.config.hint_threshold = at_least;
        self
    }

    /// Also sends a request to another region that may have been processed and isn't
    /// idempotent. Under a retry, the retry's rule holds.
    pub fn retry_non_idempotent(mut self) -> Self {
        self.settings.config.non_idempotent = true;
        self
    }

    /// Among regions of equal priority, sends the calls of one key to the same one, as long as that is
    /// fit. It goes by rendezvous hashing: when a region is lost, only its own keys move. Default: each
    /// call goes to the less loaded of two regions drawn by random.
    ///
    /// Every process of one build sends a key to the same region, unless it is a
    /// [secret](crate::key::KeyRef::secret), whose hash is salted.
    ///
    /// ```
    /// use tower_upstream::failover::{FailoverLayer, Region, Regions};
    /// use tower_upstream::key::key_fn;
    ///
    /// let regions = Regions::new([
    ///     Region::new("east", "https://east.example.com"),
    ///     Region::new("west", "https://west.example.com"),
    /// ])?;
    /// let layer = FailoverLayer::builder(regions)
    ///     .sticky(key_fn(|head| head.header("x-conversation")))
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn sticky<K2>(self, key: K2) -> FailoverBuilder<C, R, K2> {
        let Self { regions, settings, classifier, replay, key: _ } = self;
        FailoverBuilder { regions, settings, classifier, replay, key }
    }

    /// Sets the observer of region changes and failovers. Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.settings.observers = Observers::new(observer);
        self
    }

    /// Checks the regions' health from the first call on. Default: none; only calls find out how a
    /// region is.
    pub fn health_checks(mut self, checks: HealthChecks) -> Self {
        self.settings.checks = Some(checks);
        self
    }

    /// Makes random choices the same in each run, for tests: which of several equals is chosen,
    /// which calls are let into a region that comes back, and how much is added to a cooldown.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Sets the classifier of results. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> FailoverBuilder<C2, R, K> {
        let Self { regions, settings, classifier: _, replay, key } = self;
        FailoverBuilder { regions, settings, classifier, replay, key }
    }

    /// Sets the classifier of results to a closure over status, headers and error.
    pub fn classify_fn<F>(self, f: F) -> FailoverBuilder<ClassifyFn<F>, R, K>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// How requests are repeated where no retry stands above. Default: [`HttpReplay`].
    pub fn replay<R2>(self, replay: R2) -> FailoverBuilder<C, R2, K> {
        let Self { regions, settings, classifier, replay: _, key } = self;
        FailoverBuilder { regions, settings, classifier, replay, key }
    }

    /// Repeats any request that is `Clone`, by cloning it.
    pub fn replay_clone(self) -> FailoverBuilder<C, CloneReplay, K> {
        self.replay(CloneReplay)
    }

    /// Adds these observers.
    pub(crate) fn also_observe(mut self, observers: &Observers) -> Self {
        self.settings.observers = self.settings.observers.and(observers);
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// If [`max_attempts`](Self::max_attempts) isn't from 1 to 7, or the health checks' path isn't the
    /// path of a URI.
    pub fn build(self) -> Result<FailoverLayer<C, R, K>, InvalidConfig> {
        let attempts = self.settings.config.max_attempts;
        if !(1..=TriedRegions::MOST).contains(&attempts) {
            let most = TriedRegions::MOST;
            let message = format!("a call tries 1 to {most} regions, not {attempts}");
            return Err(InvalidConfig::new(message));
        }
        if let Some(checks) = &self.settings.checks {
            checks.validate()?;
        }
        let Self { regions, settings, classifier, replay, key } = self;
        let set = Arc::new(RegionSet::new(regions.0, settings));
        Ok(FailoverLayer { set, classifier, replay, key })
    }
}
