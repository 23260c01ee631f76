use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::audience::Audience;
use super::circuits::Circuits;
use super::common::Common;
use super::count::Counting;
use super::latch::Latches;
use super::rules::{CloseAt, Recovery, Rules, SlowCalls};
use super::{CircuitBreakerLayer, Count, CredentialLatch, FailureRate, OpenFor};
use crate::chance::Chance;
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, Verdict, classify_fn};
use crate::error::InvalidConfig;
use crate::event::{Listener, Observer};
use crate::head::RequestHead;
use crate::key::{AllCalls, ByAuthority, ByCredential, ByRegion, KeyFn, key_fn};

/// Builds a [`CircuitBreakerLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct CircuitBreakerBuilder<C = HttpClassifier, K = AllCalls, L = ByCredential> {
    classifier: C,
    key: K,
    credential: L,
    settings: Settings,
}

/// What isn't a type.
#[derive(Clone, Debug)]
struct Settings {
    name: Arc<str>,
    max_keys: usize,
    rules: Rules,
    latch: Option<CredentialLatch>,
    chance: Chance,
    listener: Listener,
}

impl CircuitBreakerBuilder {
    pub(super) fn new() -> Self {
        let settings = Settings {
            name: Arc::from("upstream"),
            max_keys: 1024,
            rules: Rules::default(),
            latch: Some(CredentialLatch::new()),
            chance: Chance::default(),
            listener: Listener::default(),
        };
        Self {
            classifier: HttpClassifier::new(),
            key: AllCalls,
            credential: ByCredential,
            settings,
        }
    }
}

/// When it opens.
impl<C, K, L> CircuitBreakerBuilder<C, K, L> {
    /// Opens at so many failures in a row, from 1 to 524,287. The default, at 5,
    /// where no policy is set. Several policies are joined by "or".
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.settings.rules.counts.consecutive = Some(failures);
        self
    }

    /// Opens when a leaky count, up one a failure and down one a success,
    /// reaches so many, from 1 to 524,287.
    pub fn leaky_failures(mut self, failures: u32) -> Self {
        self.settings.rules.counts.leaky = Some(failures);
        self
    }

    /// Opens when too large a share of recent calls failed.
    pub fn failure_rate(mut self, rate: FailureRate) -> Self {
        self.settings.rules.rate = Some(rate);
        self
    }

    /// Opens when too large a share of recent calls took `slow` or longer, from when
    /// they were sent to the head of the answer. A probe that is slow has failed.
    pub fn slow_call_rate(mut self, slow: Duration, rate: FailureRate) -> Self {
        self.settings.rules.slow = Some(SlowCalls { from: slow, rate });
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
        self.settings.rules.counting = Counting::By(Arc::new(f));
        self
    }

    /// A call that its caller drops is a failure, a timeout, if it was sent so long ago or
    /// longer. Default: it is neutral. For timeouts that stand above the breaker, except
    /// this crate's retry layer's, which are known.
    pub fn abandoned_after(mut self, duration: Duration) -> Self {
        self.settings.rules.abandoned_after = Some(duration);
        self
    }
}

/// How it recovers.
impl<C, K, L> CircuitBreakerBuilder<C, K, L> {
    /// How long it stays open: always the same [`Duration`], or [growing](OpenFor::doubling).
    /// Default: 30 s.
    pub fn open_for(mut self, time: impl Into<OpenFor>) -> Self {
        self.settings.rules.open_for = time.into();
        self
    }

    /// The longest that a server's own hint (`Retry-After` on a 503) can keep
    /// it open. Default: 5 minutes; zero ignores such hints.
    pub fn hint_cap(mut self, cap: Duration) -> Self {
        self.settings.rules.hint_cap = cap;
        self
    }

    /// Half-open, lets through at most `probes` calls that are in flight or
    /// succeeded, and closes after `successes` of them. Default: 1 and 1.
    ///
    /// One failure opens it again. A probe that is dropped, or says nothing of the
    /// upstream's health, gives its place back.
    pub fn half_open(self, probes: NonZeroU32, successes: NonZeroU32) -> Self {
        self.recovery(Recovery::HalfOpen { probes, close_at: CloseAt::Successes(successes) })
    }

    /// Half-open, lets `probes` calls through, and closes if this share of them succeeds:
    /// above 0, at most 1. It decides as soon as it can be decided.
    ///
    /// As many may fail as leave that share; places are given back as for
    /// [`half_open`](Self::half_open).
    pub fn half_open_rate(self, probes: NonZeroU32, rate: f64) -> Self {
        self.recovery(Recovery::HalfOpen { probes, close_at: CloseAt::Rate(rate) })
    }

    /// Closes by time alone, without probes: once [`open_for`](Self::open_for)
    /// has passed, all calls go through again.
    pub fn no_half_open(self) -> Self {
        self.recovery(Recovery::Reset)
    }

    fn recovery(mut self, recovery: Recovery) -> Self {
        self.settings.rules.recovery = recovery;
        self
    }

    /// How long the probes of a half-open circuit may take, before others are
    /// let through in their place. More than zero; default: 60 s.
    pub fn probe_lease(mut self, lease: Duration) -> Self {
        self.settings.rules.probe_lease = lease;
        self
    }

    /// Gives a probe at least the time that an attempt has.
    pub(crate) fn lease_of_at_least(mut self, attempt: Duration) -> Self {
        self.settings.rules.probe_lease = self.settings.rules.probe_lease.max(attempt);
        self
    }

    /// Once recovered, lets a share of the calls through that grows from none to all in
    /// this time, so that an upstream which is just back isn't hit by everybody at once.
    /// Results count as while it is closed, and go on counting when it is. Default: zero, all
    /// calls at once.
    pub fn recover_over(mut self, duration: Duration) -> Self {
        self.settings.rules.ramp = duration;
        self
    }

    /// Makes the jitter repeatable, for tests and simulations.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.chance = Chance::seeded(seed);
        self
    }
}

/// What it is called, and who hears of it.
impl<C, K, L> CircuitBreakerBuilder<C, K, L> {
    /// The name that errors, events and status show. Default: `upstream`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Who hears of changes and rejections.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.settings.listener = Listener::new(observer);
        self
    }

    /// This one hears too.
    pub(crate) fn also_tell(mut self, listener: &Listener) -> Self {
        self.settings.listener = self.settings.listener.and(listener);
        self
    }

    /// Only reports what it would do: every call passes, also one whose circuit is held
    /// open, and events, status and subscribers tell how it would have been. To try a
    /// policy before it is in force.
    ///
    /// A call that would have been turned away doesn't count anywhere, as it would never
    /// have been made.
    pub fn dry_run(mut self) -> Self {
        self.settings.rules.dry_run = true;
        self
    }
}

/// What it looks at.
impl<C, K, L> CircuitBreakerBuilder<C, K, L> {
    /// How answers are judged. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> CircuitBreakerBuilder<C2, K, L> {
        let Self { classifier: _, key, credential, settings } = self;
        CircuitBreakerBuilder { classifier, key, credential, settings }
    }

    /// How answers are judged: a closure over status, headers and error.
    pub fn classify_fn<F>(self, f: F) -> CircuitBreakerBuilder<ClassifyFn<F>, K, L>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// A circuit for each key. Default: one for all calls.
    pub fn key<K2>(self, key: K2) -> CircuitBreakerBuilder<C, K2, L> {
        let Self { classifier, key: _, credential, settings } = self;
        CircuitBreakerBuilder { classifier, key, credential, settings }
    }

    /// A circuit for each host and port.
    pub fn by_authority(self) -> CircuitBreakerBuilder<C, ByAuthority, L> {
        self.key(ByAuthority)
    }

    /// A circuit for each region of a failover above; for each host and port where there is none.
    pub fn by_region(self) -> CircuitBreakerBuilder<C, ByRegion, L> {
        self.key(ByRegion)
    }

    /// A circuit for each credential.
    pub fn by_credential(self) -> CircuitBreakerBuilder<C, ByCredential, L> {
        self.key(ByCredential)
    }

    /// A circuit for each text that a closure over the request's head tells;
    /// for `None` the one that all others share.
    pub fn key_fn<F>(self, f: F) -> CircuitBreakerBuilder<C, KeyFn<F>, L>
    where
        F: for<'a> Fn(RequestHead<'a>) -> Option<&'a str>,
    {
        self.key(key_fn(f))
    }

    /// How many keys have circuits of their own at once. Default: 1,024. Past
    /// that, those that haven't failed for ten minutes or more make room, and
    /// where none has, new keys share one. As many credentials can be latched.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.settings.max_keys = keys;
        self
    }

    /// When a credential that is refused is [latched](super#latch), and for how long.
    /// `None`: never.
    pub fn latch(mut self, latch: impl Into<Option<CredentialLatch>>) -> Self {
        self.settings.latch = latch.into();
        self
    }

    /// Where a request's credential is found, for the [latch](super#latch). Default:
    /// [`ByCredential`]. What a closure tells is shown in events and status: make it
    /// a [`KeyRef::secret`](crate::key::KeyRef::secret).
    pub fn credential<L2>(self, credential: L2) -> CircuitBreakerBuilder<C, K, L2> {
        let Self { classifier, key, credential: _, settings } = self;
        CircuitBreakerBuilder { classifier, key, credential, settings }
    }

    /// Latches no credential. Needed for requests that aren't HTTP's.
    pub fn no_latch(self) -> CircuitBreakerBuilder<C, K, AllCalls> {
        self.latch(None).credential(AllCalls)
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// If a threshold, a window, a rate, a jitter or a lease is out of its range, or more
    /// successes are needed to close than a half-open circuit lets through.
    pub fn build(self) -> Result<CircuitBreakerLayer<C, K, L>, InvalidConfig> {
        let Self { classifier, key, credential, settings } = self;
        let Settings { name, max_keys, rules, latch, chance, listener } = settings;
        let rules = rules.checked()?;
        let latch = latch.map(|latch| latch.rules(rules.dry_run).checked()).transpose()?;
        let audience = Audience::new(listener);
        let latches = latch
            .map(|latch| Latches::new(&name, max_keys, latch, audience.clone(), chance.clone()));
        let common = Common::new(rules, audience, chance, latches);
        let circuits = Arc::new(Circuits::new(name, max_keys, common, true));
        Ok(CircuitBreakerLayer { classifier, key, credential, circuits })
    }
}
