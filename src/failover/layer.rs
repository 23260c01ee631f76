use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::health::Cooldown;
use super::region::Regions;
use super::route::Target;
use super::serving::{InResponse, Untold};
use super::set::RegionSet;
use super::{Failover, FailoverHandle, FailoverServices, HealthChecks};
use crate::classify::{Class, ClassifyFn, HttpClassifier, Outcome, Verdict, classify_fn};
use crate::error::InvalidConfig;
use crate::event::{Listener, Observer};
use crate::replay::{CloneReplay, HttpReplay};
use crate::scope::Tried;

/// Sends a call to the best region, and to the next one if that fails.
///
/// See the [module](super) for what it does and an example.
#[derive(Clone, Debug)]
pub struct FailoverLayer<C = HttpClassifier, R = HttpReplay, T = Untold> {
    pub(super) set: Arc<RegionSet>,
    pub(super) rules: Rules,
    pub(super) classifier: C,
    pub(super) replay: R,
    pub(super) telling: T,
}

/// When a call goes to another region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) max_attempts: usize,
    pub(super) non_idempotent: bool,
    quota_per_region: bool,
    hint_threshold: Duration,
}

impl Rules {
    /// Whether what this verdict says is the region's fault, so that calls
    /// should leave it alone for a while.
    pub(super) fn is_regions_fault(&self, verdict: &Verdict) -> bool {
        match verdict.class() {
            Class::CircuitOpen => true,
            Class::Throttled => self.leaves_when_throttled(verdict),
            _ => verdict.is_upstream_failure(),
        }
    }

    /// Whether another region may do better. Never for the request's own fault
    /// or a dead credential: it would be the same everywhere.
    pub(super) fn may_do_better_elsewhere(&self, verdict: &Verdict) -> bool {
        verdict.hint().should_retry != Some(false) && self.is_regions_fault(verdict)
    }

    fn leaves_when_throttled(&self, verdict: &Verdict) -> bool {
        let asked = verdict.hint().retry_after;
        self.quota_per_region || asked.is_some_and(|asked| asked >= self.hint_threshold)
    }
}

impl FailoverLayer {
    /// Over these regions, with the defaults of the [builder](Self::builder).
    #[must_use]
    pub fn new(regions: Regions) -> Self {
        Self::builder(regions).build_checked()
    }

    /// Everything else.
    pub fn builder(regions: Regions) -> FailoverBuilder {
        FailoverBuilder {
            regions,
            cooldown: Cooldown {
                first: Duration::from_secs(10),
                most: Duration::from_secs(300),
                hint_cap: Duration::from_secs(300),
            },
            rules: Rules {
                max_attempts: 3,
                non_idempotent: false,
                quota_per_region: false,
                hint_threshold: Duration::MAX,
            },
            listener: Listener::default(),
            checks: None,
            classifier: HttpClassifier::new(),
            replay: HttpReplay::new(),
            telling: Untold,
        }
    }
}

impl<C, R, T> FailoverLayer<C, R, T> {
    /// A handle to look at the regions.
    #[must_use]
    pub fn handle(&self) -> FailoverHandle {
        FailoverHandle::new(Arc::clone(&self.set))
    }

    /// How many regions a call can go to.
    pub(crate) fn reach(&self) -> usize {
        self.set.places().len().min(self.rules.max_attempts)
    }

    /// A service that holds one client a region, in place of one whose requests
    /// are rewritten. `make` is called once for each region.
    pub fn services<S>(
        &self,
        mut make: impl FnMut(&Target<'_>) -> S,
    ) -> FailoverServices<S, C, R, T>
    where
        S: Clone,
        C: Clone,
        R: Clone,
        T: Clone,
    {
        let places = self.set.places();
        let services = (0..places.len()).map(|region| make(&Target::new(places, region)));
        FailoverServices::new(services, self)
    }
}

impl<S, C, R, T> Layer<S> for FailoverLayer<C, R, T>
where
    S: Clone,
    C: Clone,
    R: Clone,
    T: Clone,
{
    type Service = Failover<S, C, R, T>;

    fn layer(&self, inner: S) -> Self::Service {
        Failover::new(inner, self)
    }
}

/// Builds a [`FailoverLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct FailoverBuilder<C = HttpClassifier, R = HttpReplay, T = Untold> {
    regions: Regions,
    cooldown: Cooldown,
    rules: Rules,
    listener: Listener,
    checks: Option<HealthChecks>,
    classifier: C,
    replay: R,
    telling: T,
}

impl<C, R, T> FailoverBuilder<C, R, T> {
    /// How many regions one call tries at most, from 1 to 7. Default: 3. Under a
    /// retry, which counts all attempts, the smaller of the two holds.
    pub fn max_attempts(mut self, attempts: usize) -> Self {
        self.rules.max_attempts = attempts;
        self
    }

    /// How long a region that failed isn't chosen. Default: 10 s, doubling up to
    /// [`max_cooldown`](Self::max_cooldown) each time it fails again.
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown.first = cooldown;
        self
    }

    /// The longest that a region isn't chosen, but for the server's own word.
    /// Default: 5 minutes.
    pub fn max_cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown.most = cooldown;
        self
    }

    /// The longest that a server's own hint (`Retry-After` on a 503) can keep
    /// calls from a region. Default: 5 minutes; zero ignores such hints.
    pub fn hint_cap(mut self, cap: Duration) -> Self {
        self.cooldown.hint_cap = cap;
        self
    }

    /// Each region has a quota of its own, so that a throttled call goes to the
    /// next one. By default a 429 stays: elsewhere it would be the same.
    pub fn quota_per_region(mut self) -> Self {
        self.rules.quota_per_region = true;
        self
    }

    /// A 429 that asks for at least this long goes to the next region all the same.
    pub fn leave_when_asked_to_wait(mut self, at_least: Duration) -> Self {
        self.rules.hint_threshold = at_least;
        self
    }

    /// Also sends to another region what may have been processed and isn't
    /// idempotent. Under a retry, that one's rule holds.
    pub fn retry_non_idempotent(mut self) -> Self {
        self.rules.non_idempotent = true;
        self
    }

    /// Who hears of regions lost and back, and of calls that go elsewhere.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.listener = Listener::new(observer);
        self
    }

    /// Checks the regions' health from the first call on. Default: none, and a
    /// region's health is what calls find out.
    pub fn health_checks(mut self, checks: HealthChecks) -> Self {
        self.checks = Some(checks);
        self
    }

    /// Puts the region that served a response into its extensions, as a
    /// [`ServingRegion`](super::ServingRegion). Default: not, since a response's first extension
    /// is allocated.
    pub fn region_in_response(self) -> FailoverBuilder<C, R, InResponse> {
        self.telling(InResponse)
    }

    pub(crate) fn telling<T2>(self, telling: T2) -> FailoverBuilder<C, R, T2> {
        let Self { regions, cooldown, rules, listener, checks, classifier, replay, telling: _ } =
            self;
        FailoverBuilder { regions, cooldown, rules, listener, checks, classifier, replay, telling }
    }

    /// How answers are judged. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> FailoverBuilder<C2, R, T> {
        let Self { regions, cooldown, rules, listener, checks, classifier: _, replay, telling } =
            self;
        FailoverBuilder { regions, cooldown, rules, listener, checks, classifier, replay, telling }
    }

    /// How answers are judged: a closure over status, headers and error.
    pub fn classify_fn<F>(self, f: F) -> FailoverBuilder<ClassifyFn<F>, R, T>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// How requests are repeated where no retry stands above. Default: [`HttpReplay`].
    pub fn replay<R2>(self, replay: R2) -> FailoverBuilder<C, R2, T> {
        let Self { regions, cooldown, rules, listener, checks, classifier, replay: _, telling } =
            self;
        FailoverBuilder { regions, cooldown, rules, listener, checks, classifier, replay, telling }
    }

    /// Repeats any request that is `Clone`, by cloning it.
    pub fn replay_clone(self) -> FailoverBuilder<C, CloneReplay, T> {
        self.replay(CloneReplay)
    }

    /// This one hears too.
    pub(crate) fn also_tell(mut self, listener: &Listener) -> Self {
        self.listener = self.listener.and(listener);
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// If a call may try no region, or more than it can remember.
    pub fn build(self) -> Result<FailoverLayer<C, R, T>, InvalidConfig> {
        let attempts = self.rules.max_attempts;
        if !(1..=Tried::MOST).contains(&attempts) {
            let most = Tried::MOST;
            let message = format!("a call tries 1 to {most} regions, not {attempts}");
            return Err(InvalidConfig::new(message));
        }
        Ok(self.build_checked())
    }

    fn build_checked(self) -> FailoverLayer<C, R, T> {
        let Self { regions, cooldown, rules, listener, checks, classifier, replay, telling } = self;
        let set = Arc::new(RegionSet::new(regions, cooldown, listener, checks));
        FailoverLayer { set, rules, classifier, replay, telling }
    }
}
