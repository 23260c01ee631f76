use std::sync::Arc;
use std::time::Duration;

use super::breaker::BreakerState;
use super::circuit::SharedConfig;
use super::circuits::Circuits;
use super::config::{CloseAt, Config, Recovery, SlowCalls};
use super::count::{CountingPolicy, CredentialRejections};
use super::latch::Latches;
use super::observers::CircuitObservers;
use super::{CallResult, CircuitBreakerLayer, CredentialLatch, FailureRate, OpenDuration};
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, classify_fn};
use crate::error::InvalidConfig;
use crate::event::{Observer, Observers};
use crate::head::RequestHead;
use crate::key::{AllCalls, ByAuthority, ByCredential, ByRegion, KeyFn, key_fn};
use crate::random::RandomSource;
use crate::verdict::Verdict;

/// Builds a [`CircuitBreakerLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct CircuitBreakerBuilder<C = HttpClassifier, K = AllCalls, L = ByCredential> {
    classifier: C,
    key: K,
    credential: L,
    settings: Settings,
}

/// The settings that don't change the builder's type.
#[derive(Clone, Debug)]
struct Settings {
    name: Arc<str>,
    max_keys: usize,
    config: Config,
    latch: Option<CredentialLatch>,
    random: RandomSource,
    observers: Observers,
}

impl CircuitBreakerLayer {
    /// A breaker that opens after 5 failures in a row, for 30 s, and closes
    /// when one probe succeeds.
    #[allow(clippy::missing_panics_doc)] // the defaults are valid: it never does
    pub fn new() -> Self {
        CircuitBreakerBuilder::new().build().expect("the defaults are valid")
    }

    /// A builder, for all other settings.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new()
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl CircuitBreakerBuilder {
    pub(super) fn new() -> Self {
        let settings = Settings {
            name: Arc::from("upstream"),
            max_keys: 1024,
            config: Config::default(),
            latch: Some(CredentialLatch::new()),
            random: RandomSource::default(),
            observers: Observers::default(),
        };
        Self {
            classifier: HttpClassifier::new(),
            key: AllCalls,
            credential: ByCredential,
            settings,
        }
    }
}

/// When a circuit opens.
impl<C, K, L> CircuitBreakerBuilder<C, K, L> {
    /// Opens after `failures` failures in a row, from 1 to 524,287. Where no policy is set this one
    /// applies, at 5. Where several are set, any of them opens the circuit.
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.settings.config.counts.consecutive = Some(failures);
        self
    }

    /// Opens when a leaky count reaches `failures`, from 1 to 524,287. Each failure adds one to the
    /// count, each success takes one off.
    pub fn leaky_failures(mut self, failures: u32) -> Self {
        self.settings.config.counts.leaky = Some(failures);
        self
    }

    /// Opens when too large a share of recent calls failed.
    pub fn failure_rate(mut self, rate: FailureRate) -> Self {
        self.settings.config.rate = Some(rate);
        self
    }

    /// Opens when too large a share of recent calls took `slow` or longer, measured from the
    /// time a call is sent to the head of its response. A slow probe counts as failed.
    pub fn slow_call_rate(mut self, slow: Duration, rate: FailureRate) -> Self {
        self.settings.config.slow = Some(SlowCalls { from: slow, rate });
        self
    }

    /// Sets what counts as success and failure. Default: [`CallResult::by_default`].
    ///
    /// ```
    /// use tower_upstream::CircuitBreakerLayer;
    /// use tower_upstream::circuit_breaker::CallResult;
    /// use tower_upstream::classify::Class;
    ///
    /// // Here a 429 is a failure too.
    /// let breaker = CircuitBreakerLayer::builder()
    ///     .count_fn(|verdict| match verdict.class() {
    ///         Class::Throttled => CallResult::Failure,
    ///         _ => CallResult::by_default(verdict),
    ///     })
    ///     .build()?;
    /// # let _ = breaker;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn count_fn(mut self, f: impl Fn(&Verdict) -> CallResult + Send + Sync + 'static) -> Self {
        self.settings.config.counting = CountingPolicy::By(Arc::new(f));
        self
    }

    /// Counts a call that its caller drops as a failure (a timeout) if it was sent at least
    /// `duration` ago. Default: a dropped call is neutral. Meant for timeouts that stand above the
    /// breaker; those of this crate's retry layer are recognised without it.
    pub fn abandoned_after(mut self, duration: Duration) -> Self {
        self.settings.config.abandoned_after = Some(duration);
        self
    }
}

/// How a circuit recovers.
impl<C, K, L> CircuitBreakerBuilder<C, K, L> {
    /// Sets how long the circuit stays open: a fixed [`Duration`], or one that
    /// [grows](OpenDuration::doubling). Default: 30 s.
    pub fn open_for(mut self, time: impl Into<OpenDuration>) -> Self {
        self.settings.config.open_for = time.into();
        self
    }

    /// Sets the longest time for which a server's hint (`Retry-After` on a 503) keeps the circuit
    /// open. Default: 5 minutes; zero ignores such hints.
    pub fn hint_cap(mut self, cap: Duration) -> Self {
        self.settings.config.hint_cap = cap;
        self
    }

    /// Sets how many calls a half-open circuit admits as probes, at least 1. Default: 1.
    ///
    /// A call is admitted while fewer probes are in flight or have ended. A probe that is dropped, or
    /// whose result is neutral, releases its slot. Undoes [`no_half_open`](Self::no_half_open), as do the
    /// other two settings of the half-open state.
    pub fn half_open_probes(self, probes: u32) -> Self {
        let close_at = self.settings.config.recovery.close_at();
        self.recovery(Recovery::HalfOpen { probes, close_at })
    }

    /// Sets how many probes must succeed to close the circuit, from 1 to the number of
    /// [probes](Self::half_open_probes). One failure opens it again. Default: 1.
    ///
    /// Replaces [`half_open_rate`](Self::half_open_rate).
    pub fn half_open_successes(self, successes: u32) -> Self {
        self.close_at(CloseAt::Successes(successes))
    }

    /// Sets the share of [probes](Self::half_open_probes) that must succeed to close the circuit: above
    /// 0, at most 1. The circuit closes or opens as soon as the remaining probes can't change the
    /// result.
    ///
    /// Replaces [`half_open_successes`](Self::half_open_successes).
    pub fn half_open_rate(self, rate: f64) -> Self {
        self.close_at(CloseAt::Rate(rate))
    }

    fn close_at(self, close_at: CloseAt) -> Self {
        let probes = self.settings.config.recovery.probes();
        self.recovery(Recovery::HalfOpen { probes, close_at })
    }

    /// Closes by time alone, without probes: once [`open_for`](Self::open_for)
    /// has passed, all calls go through again.
    pub fn no_half_open(self) -> Self {
        self.recovery(Recovery::Reset)
    }

    fn recovery(mut self, recovery: Recovery) -> Self {
        self.settings.config.recovery = recovery;
        self
    }

    /// Sets how long probes of a half-open circuit may take before others are admitted in their
    /// place. Above zero. Default: 60 s.
    pub fn probe_lease(mut self, lease: Duration) -> Self {
        self.settings.config.probe_lease = lease;
        self
    }

    /// Gives probes at least `attempt`, the time that an attempt may take.
    pub(crate) fn lease_of_at_least(mut self, attempt: Duration) -> Self {
        self.settings.config.probe_lease = self.settings.config.probe_lease.max(attempt);
        self
    }

    /// Sets the time over which the share of admitted calls grows from none to all after the circuit
    /// has recovered. Results count as in a closed circuit, and the counts are kept when it closes.
    /// Default: zero, which admits all calls at once.
    pub fn ramp(mut self, duration: Duration) -> Self {
        self.settings.config.ramp = duration;
        self
    }

    /// Sets the seed of the jitter, for tests and simulations. Default: random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.random = RandomSource::seeded(seed);
        self
    }
}

/// Name, observer and dry run.
impl<C, K, L> CircuitBreakerBuilder<C, K, L> {
    /// Sets the name in errors, events and status. Default: `upstream`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Sets the observer of changes of state and of rejections.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.settings.observers = Observers::new(observer);
        self
    }

    /// Adds observers beside the configured one.
    pub(crate) fn also_observe(mut self, observers: &Observers) -> Self {
        self.settings.observers = self.settings.observers.and(observers);
        self
    }

    /// Only reports what it would do: every call passes, also one whose circuit is held open, while
    /// events, status and subscribers show what would have happened. Meant for trying out a policy
    /// before it is in force.
    ///
    /// A call that would have been rejected isn't counted anywhere, since without the dry run it
    /// would not have been sent.
    pub fn dry_run(mut self) -> Self {
        self.settings.config.dry_run = true;
        self
    }
}

/// Classification, keys and credentials.
impl<C, K, L> CircuitBreakerBuilder<C, K, L> {
    /// Sets the classifier of responses and errors. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> CircuitBreakerBuilder<C2, K, L> {
        let Self { classifier: _, key, credential, settings } = self;
        CircuitBreakerBuilder { classifier, key, credential, settings }
    }

    /// Sets the classifier to a closure over status, headers and error.
    pub fn classify_fn<F>(self, f: F) -> CircuitBreakerBuilder<ClassifyFn<F>, K, L>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// Sets the key by which circuits are kept. Default: one circuit for all calls.
    pub fn key<K2>(self, key: K2) -> CircuitBreakerBuilder<C, K2, L> {
        let Self { classifier, key: _, credential, settings } = self;
        CircuitBreakerBuilder { classifier, key, credential, settings }
    }

    /// Keeps a circuit for each host and port.
    pub fn by_authority(self) -> CircuitBreakerBuilder<C, ByAuthority, L> {
        self.key(ByAuthority)
    }

    /// Keeps a circuit for each region of a failover above; without a failover, for each host and port.
    pub fn by_region(self) -> CircuitBreakerBuilder<C, ByRegion, L> {
        self.key(ByRegion)
    }

    /// Keeps a circuit for each credential.
    pub fn by_credential(self) -> CircuitBreakerBuilder<C, ByCredential, L> {
        self.key(ByCredential)
    }

    /// Keeps a circuit for each text that a closure returns for the request's head. All calls for which
    /// it returns `None` share one circuit.
    pub fn key_fn<F>(self, f: F) -> CircuitBreakerBuilder<C, KeyFn<F>, L>
    where
        F: for<'a> Fn(RequestHead<'a>) -> Option<&'a str>,
    {
        self.key(key_fn(f))
    }

    /// Sets how many keys have circuits of their own at once. Default: 1,024. Past that, circuits that
    /// haven't failed for ten minutes or more make room. Where there is none of those, new keys
    /// share one circuit. The number of credentials that can be latched has the same bound.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.settings.max_keys = keys;
        self
    }

    /// Sets when a refused credential is [latched](super#latch), and for how long. Default:
    /// [`CredentialLatch::new`].
    pub fn latch(mut self, latch: CredentialLatch) -> Self {
        self.settings.latch = Some(latch);
        self
    }

    /// Latches no credential.
    pub fn no_latch(mut self) -> Self {
        self.settings.latch = None;
        self
    }

    /// Sets where a request's credential is found, for the [latch](super#latch). Default:
    /// [`ByCredential`]. What a closure returns is shown in events and status, so let it return a
    /// [`KeyRef::secret`](crate::key::KeyRef::secret). [`AllCalls`] finds no credential, and so none is
    /// latched. Where requests aren't HTTP requests, set `AllCalls` or a closure.
    pub fn credential<L2>(self, credential: L2) -> CircuitBreakerBuilder<C, K, L2> {
        let Self { classifier, key, credential: _, settings } = self;
        CircuitBreakerBuilder { classifier, key, credential, settings }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// If a threshold, a window, a rate, a jitter or a lease is out of its range, or more
    /// successes are needed to close than a half-open circuit lets through.
    pub fn build(self) -> Result<CircuitBreakerLayer<C, K, L>, InvalidConfig> {
        let Self { classifier, key, credential, settings } = self;
        let Settings { name, max_keys, config, latch, random, observers } = settings;
        let config = config.checked()?;
        let latch = latch.map(|latch| latch.config(config.dry_run).checked()).transpose()?;
        let observers = CircuitObservers::new(observers);
        let refusals = Arc::new(CredentialRejections::new());
        let latches = latch.map(|latch| {
            let (observers, random) = (observers.clone(), random.clone());
            Latches::new(&name, max_keys, latch, observers, random, Arc::clone(&refusals))
        });
        let common = SharedConfig::new(config, observers, random, refusals);
        let circuits = Circuits::new(name, max_keys, common, true);
        let breaker = Arc::new(BreakerState::new(circuits, latches));
        Ok(CircuitBreakerLayer { classifier, key, credential, breaker })
    }
}
