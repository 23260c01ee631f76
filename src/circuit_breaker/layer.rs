use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::circuit::Circuit;
use super::common::Common;
use super::count::CountFn;
use super::rules::{Recovery, Rules};
use super::{CircuitBreaker, CircuitBreakerHandle, Count, FailureRate};
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, Verdict, classify_fn};
use crate::error::InvalidConfig;
use crate::event::{Listener, Observer};
use crate::head::RequestHead;
use crate::key::{AllCalls, ByAuthority, ByCredential, ByRegion, KeyFn, Registry, key_fn};

/// Stops calling an upstream that is down, and finds out when it is back.
///
/// See the [module](super) for what it does and an example.
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer<C = HttpClassifier, K = AllCalls> {
    pub(super) classifier: C,
    pub(super) key: K,
    pub(super) circuits: Arc<Registry<Circuit>>,
    pub(super) common: Arc<Common>,
}

impl CircuitBreakerLayer {
    /// A breaker that opens after 5 failures in a row, for 30 s, and closes
    /// when one probe succeeds.
    #[must_use]
    pub fn new() -> Self {
        CircuitBreakerBuilder::new().build_checked(Rules::default().with_default_policy())
    }

    /// Everything else.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new()
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C, K> CircuitBreakerLayer<C, K> {
    /// A handle to look at the circuits, and to close them.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(Arc::clone(&self.circuits))
    }

    /// How many failures can open a circuit that has seen nothing else.
    pub(crate) fn failures_to_open(&self) -> u32 {
        self.common.rules.failures_to_open()
    }
}

impl<S, C, K> Layer<S> for CircuitBreakerLayer<C, K>
where
    S: Clone,
    C: Clone,
    K: Clone,
{
    type Service = CircuitBreaker<S, C, K>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker::new(inner, self)
    }
}

/// Builds a [`CircuitBreakerLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct CircuitBreakerBuilder<C = HttpClassifier, K = AllCalls> {
    name: Arc<str>,
    classifier: C,
    key: K,
    max_keys: usize,
    rules: Rules,
    listener: Listener,
}

impl CircuitBreakerBuilder {
    fn new() -> Self {
        Self {
            name: Arc::from("upstream"),
            classifier: HttpClassifier::new(),
            key: AllCalls,
            max_keys: 1024,
            rules: Rules::default(),
            listener: Listener::default(),
        }
    }
}

impl<C, K> CircuitBreakerBuilder<C, K> {
    /// The name that errors, events and status show. Default: `upstream`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Opens at so many failures in a row, from 1 to 524,287. The default, at 5,
    /// where no policy is set. Several policies are joined by "or".
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.rules.counts.consecutive = Some(failures);
        self
    }

    /// Opens when a leaky count, up one a failure and down one a success,
    /// reaches so many, from 1 to 524,287.
    pub fn leaky_failures(mut self, failures: u32) -> Self {
        self.rules.counts.leaky = Some(failures);
        self
    }

    /// Opens when too large a share of recent calls failed.
    pub fn failure_rate(mut self, rate: FailureRate) -> Self {
        self.rules.rate = Some(rate);
        self
    }

    /// How long it stays open. Default: 30 s.
    pub fn open_for(mut self, duration: Duration) -> Self {
        self.rules.open_for = duration;
        self
    }

    /// The longest that a server's own hint (`Retry-After` on a 503) can keep
    /// it open. Default: 5 minutes; zero ignores such hints.
    pub fn hint_cap(mut self, cap: Duration) -> Self {
        self.rules.hint_cap = cap;
        self
    }

    /// Half-open, lets through at most `probes` calls that are in flight or
    /// succeeded, and closes after `successes` of them. Default: 1 and 1.
    ///
    /// A probe that is dropped, or says nothing of the upstream's health, gives
    /// its place back.
    pub fn half_open(mut self, probes: NonZeroU32, successes: NonZeroU32) -> Self {
        self.rules.recovery = Recovery::HalfOpen { probes, successes };
        self
    }

    /// Closes by time alone, without probes: once [`open_for`](Self::open_for)
    /// has passed, all calls go through again.
    pub fn no_half_open(mut self) -> Self {
        self.rules.recovery = Recovery::Reset;
        self
    }

    /// How long the probes of a half-open circuit may take, before others are
    /// let through in their place. More than zero; default: 60 s.
    pub fn probe_lease(mut self, lease: Duration) -> Self {
        self.rules.probe_lease = lease;
        self
    }

    /// What counts as success and failure, in place of [`Count::by_default`].
    ///
    /// ```
    /// use tower_upstream::CircuitBreakerLayer;
    /// use tower_upstream::circuit_breaker::Count;
    /// use tower_upstream::classify::Class;
    ///
    /// // Here a 429 is a failure too.
    /// let breaker = CircuitBreakerLayer::builder()
    ///     .count_fn(|verdict| match verdict.class() {
    ///         Class::Throttled => Count::Failure,
    ///         _ => Count::by_default(verdict),
    ///     })
    ///     .build()?;
    /// # let _ = breaker;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn count_fn(mut self, f: impl Fn(&Verdict) -> Count + Send + Sync + 'static) -> Self {
        self.rules.count = CountFn::new(f);
        self
    }

    /// Who hears of changes and rejections.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.listener = Listener::new(observer);
        self
    }

    /// How answers are judged. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> CircuitBreakerBuilder<C2, K> {
        let Self { name, classifier: _, key, max_keys, rules, listener } = self;
        CircuitBreakerBuilder { name, classifier, key, max_keys, rules, listener }
    }

    /// How answers are judged: a closure over status, headers and error.
    pub fn classify_fn<F>(self, f: F) -> CircuitBreakerBuilder<ClassifyFn<F>, K>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// A circuit for each key. Default: one for all calls.
    pub fn key<K2>(self, key: K2) -> CircuitBreakerBuilder<C, K2> {
        let Self { name, classifier, key: _, max_keys, rules, listener } = self;
        CircuitBreakerBuilder { name, classifier, key, max_keys, rules, listener }
    }

    /// A circuit for each host and port.
    pub fn by_authority(self) -> CircuitBreakerBuilder<C, ByAuthority> {
        self.key(ByAuthority)
    }

    /// A circuit for each region of a failover above; for each host and port where there is none.
    pub fn by_region(self) -> CircuitBreakerBuilder<C, ByRegion> {
        self.key(ByRegion)
    }

    /// A circuit for each credential.
    pub fn by_credential(self) -> CircuitBreakerBuilder<C, ByCredential> {
        self.key(ByCredential)
    }

    /// A circuit for each text that a closure over the request's head tells;
    /// for `None` the one that all others share.
    pub fn key_fn<F>(self, f: F) -> CircuitBreakerBuilder<C, KeyFn<F>>
    where
        F: for<'a> Fn(RequestHead<'a>) -> Option<&'a str>,
    {
        self.key(key_fn(f))
    }

    /// How many keys have circuits of their own at once. Default: 1,024. Past
    /// that, those that haven't failed for ten minutes or more make room, and
    /// where none has, new keys share one.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// This one hears too.
    pub(crate) fn also_tell(mut self, listener: &Listener) -> Self {
        self.listener = self.listener.and(listener);
        self
    }

    /// Gives a probe at least the time that an attempt has.
    pub(crate) fn lease_of_at_least(mut self, attempt: Duration) -> Self {
        self.rules.probe_lease = self.rules.probe_lease.max(attempt);
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// If a threshold, a window, a rate or a lease is out of its range, or more
    /// successes are needed to close than a half-open circuit lets through.
    pub fn build(self) -> Result<CircuitBreakerLayer<C, K>, InvalidConfig> {
        let rules = self.rules.clone().checked()?;
        Ok(self.build_checked(rules))
    }

    pub(super) fn build_checked(self, rules: Rules) -> CircuitBreakerLayer<C, K> {
        let Self { name, classifier, key, max_keys, rules: _, listener } = self;
        let common = Arc::new(Common::new(rules, listener));
        let for_circuits = Arc::clone(&common);
        let circuits = Registry::new(max_keys, move |key| {
            Circuit::new(key.name_in(&name), Arc::clone(&for_circuits))
        });
        CircuitBreakerLayer { classifier, key, circuits: Arc::new(circuits), common }
    }
}
