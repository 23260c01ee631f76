use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::config::{Config, Settings};
use super::cost::{AndCost, CostFn, UnitCost};
use super::limiter::Limiter;
use super::permit::SettledCost;
use super::quota::Unit;
use super::{Quota, RateLimit, RateLimitHandle, Usage};
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, classify_fn};
use crate::error::InvalidConfig;
use crate::event::{Observer, Observers};
use crate::head::RequestHead;
use crate::hint::Resource;
use crate::key::{AllCalls, ByAuthority, ByCredential, ByRegion, KeyFn, Registry, key_fn};
use crate::sharded::ShardedArc;
use crate::verdict::Verdict;

/// A layer that keeps calls below a quota. Calls above it wait in order, or are rejected.
///
/// See the [module](super) for a guide and an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimitLayer<C = HttpClassifier, K = AllCalls, W = UnitCost> {
    classifier: C,
    key: K,
    cost: W,
    limiters: Arc<Registry<ShardedArc<Limiter>>>,
}

impl RateLimitLayer {
    /// Creates a layer with this quota over all calls. Each call costs one unit, and waits for up to
    /// two minutes.
    #[allow(clippy::missing_panics_doc)] // The defaults are valid.
    pub fn new(quota: Quota) -> Self {
        Self::builder(quota).build().expect("the defaults are valid")
    }

    /// Creates a builder.
    pub fn builder(quota: Quota) -> RateLimitBuilder {
        RateLimitBuilder {
            base: Base {
                name: Arc::from("upstream"),
                quotas: vec![quota],
                default_unit: Unit::Resource(Resource::Requests),
                max_keys: 1024,
                settings: Settings {
                    max_wait: Duration::from_secs(120),
                    max_waiting: 10_000,
                    max_pause: Duration::from_secs(3600),
                    learns_limits: false,
                    seed: None,
                    observers: Observers::default(),
                },
            },
            classifier: HttpClassifier::new(),
            key: AllCalls,
            cost: UnitCost,
        }
    }
}

impl<C, K, W> RateLimitLayer<C, K, W> {
    /// Returns a handle that shows the limiters' status and changes their quotas.
    #[must_use]
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle::new(Arc::clone(&self.limiters))
    }
}

impl<S, C, K, W> Layer<S> for RateLimitLayer<C, K, W>
where
    S: Clone,
    C: Clone,
    K: Clone,
    W: Clone,
{
    type Service = RateLimit<S, C, K, W>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { classifier, key, cost, limiters } = self.clone();
        RateLimit::new(inner, classifier, key, cost, limiters)
    }
}

/// A builder of a [`RateLimitLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimitBuilder<C = HttpClassifier, K = AllCalls, W = UnitCost> {
    base: Base,
    classifier: C,
    key: K,
    cost: W,
}

/// The settings that don't change a builder's type.
#[derive(Clone, Debug)]
struct Base {
    name: Arc<str>,
    quotas: Vec<Quota>,
    /// The unit of a first quota without a unit.
    default_unit: Unit,
    max_keys: usize,
    settings: Settings,
}

impl<C, K, W> RateLimitBuilder<C, K, W> {
    /// Sets the name that errors, events and status show. Default: `upstream`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.base.name = name.into();
        self
    }

    /// Sets the first quota.
    #[cfg(feature = "upstream")]
    pub(crate) fn quota(mut self, quota: Quota) -> Self {
        self.base.quotas[0] = quota;
        self
    }

    /// Sets the longest wait of a call. Default: two minutes. A call that would wait longer is
    /// rejected on arrival, as far as its wait can be [predicted](super#how-it-decides), with
    /// [`RateLimited`](super::RateLimited).
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.base.settings.max_wait = wait;
        self
    }

    /// Rejects calls instead of making them wait.
    pub fn no_wait(self) -> Self {
        self.max_wait(Duration::ZERO).max_waiting(0)
    }

    /// Sets the number of calls that may wait at once under one key. Default: 10,000.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.base.settings.max_waiting = calls;
        self
    }

    /// Sets the longest pause that a server can request, by a hint (`Retry-After` on a 429) or by an
    /// exhausted quota, which pauses for a minute if it has no hint. Default: one hour. Zero ignores
    /// both.
    pub fn max_pause(mut self, pause: Duration) -> Self {
        self.base.settings.max_pause = pause;
        self
    }

    /// Sets the observer of waits, rejections and pauses.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.base.settings.observers = Observers::new(observer);
        self
    }

    /// Sets the classifier of responses and errors. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> RateLimitBuilder<C2, K, W> {
        let Self { base, key, cost, .. } = self;
        RateLimitBuilder { base, classifier, key, cost }
    }

    /// Sets a closure over status, headers and error as the classifier.
    pub fn classify_fn<F>(self, f: F) -> RateLimitBuilder<ClassifyFn<F>, K, W>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// Sets the key. Each key has a limit of its own. Default: one limit for all calls.
    pub fn key<K2>(self, key: K2) -> RateLimitBuilder<C, K2, W> {
        let Self { base, classifier, cost, .. } = self;
        RateLimitBuilder { base, classifier, key, cost }
    }

    /// Sets a limit for each credential, which is how most providers count.
    pub fn by_credential(self) -> RateLimitBuilder<C, ByCredential, W> {
        self.key(ByCredential)
    }

    /// Sets a limit for each region of a failover above; without a failover, for each host and port.
    pub fn by_region(self) -> RateLimitBuilder<C, ByRegion, W> {
        self.key(ByRegion)
    }

    /// Sets a limit for each host and port.
    pub fn by_authority(self) -> RateLimitBuilder<C, ByAuthority, W> {
        self.key(ByAuthority)
    }

    /// Sets a limit for each text that a closure returns for a request's head. All calls for which it
    /// returns `None` share one limit.
    pub fn key_fn<F>(self, f: F) -> RateLimitBuilder<C, KeyFn<F>, W>
    where
        F: for<'a> Fn(RequestHead<'a>) -> Option<&'a str>,
    {
        self.key(key_fn(f))
    }

    /// Sets the number of keys that have limits of their own at once. Default: 1,024. Above it, keys
    /// without spent units are evicted. If there are none, new keys share one limit.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.base.max_keys = keys;
        self
    }

    /// Sets a closure that settles a call's cost when its response arrives. It receives the response
    /// and the call's [`Usage`], which it settles at once, or stores where the real cost will be
    /// known. It isn't called without a response. Of several closures, the last one is used.
    ///
    /// ```
    /// use tower_upstream::hint::Resource;
    /// use tower_upstream::rate_limit::Usage;
    /// use tower_upstream::{Quota, RateLimitLayer};
    ///
    /// let limit = RateLimitLayer::builder(Quota::per_minute(90_000).of(Resource::Tokens))
    ///     .cost_fn(|request: &http::Request<String>| request.body().len().div_ceil(4) as u32)
    ///     .settle_fn(|response: &mut http::Response<String>, usage: Usage| {
    ///         let used = response.headers().get("x-tokens-used");
    ///         match used.and_then(|used| used.to_str().ok()?.parse().ok()) {
    ///             Some(used) => usage.settle("tokens", used).expect("the layer counts tokens"),
    ///             // The code that reads the body settles it.
    ///             None => _ = response.extensions_mut().insert(usage),
    ///         }
    ///     })
    ///     .build()?;
    /// # let _ = limit;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn settle_fn<Res, G>(self, g: G) -> RateLimitBuilder<C, K, SettledCost<W, G>>
    where
        G: Fn(&mut Res, Usage),
    {
        let Self { base, classifier, key, cost } = self;
        let cost = SettledCost { costs: cost, settle_fn: g };
        RateLimitBuilder { base, classifier, key, cost }
    }

    /// Sets whether the server's limits are [learned](super#learned-limits) from the headers of
    /// responses, for quotas of a [resource](Quota::of). Default: `false`, unless there is a
    /// [`Quota::learned`], which has no other limit. Enable it where all calls of a key are under one
    /// limit of the server's.
    ///
    /// It keeps a client below a limit that is lowered without notice: calls wait, instead of being
    /// rejected with a 429 and its pause. It reads the headers of every response, and locks the
    /// limiter's state for responses that report limits.
    pub fn learn_limits(mut self, learn: bool) -> Self {
        self.base.settings.learns_limits = learn;
        self
    }

    /// Sets the seed of the random length of ramp-ups. Default: no seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.base.settings.seed = Some(seed);
        self
    }

    /// Adds these observers.
    pub(crate) fn also_observe(mut self, observers: &Observers) -> Self {
        self.base.settings.observers = self.base.settings.observers.and(observers);
        self
    }

    /// Returns the longest pause that a server can request.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.base.settings.max_pause
    }

    /// Adds a quota, and a closure that returns how many of its units a request costs. A call takes
    /// the units of all quotas, or waits and takes none.
    ///
    /// ```
    /// use http::Request;
    /// use tower_upstream::hint::Resource;
    /// use tower_upstream::{Quota, RateLimitLayer};
    ///
    /// fn tokens(request: &Request<String>) -> u32 {
    ///     request.body().len().div_ceil(4) as u32
    /// }
    ///
    /// let limit = RateLimitLayer::builder(Quota::per_minute(500))
    ///     .and(Quota::per_minute(90_000).of(Resource::Tokens), tokens)
    ///     .and(Quota::per_hour(1_000).named("cents"), |request| tokens(request).div_ceil(100))
    ///     .by_credential()
    ///     .build()?;
    /// # let _ = limit;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    ///
    /// A quota that counts no resource of the server's needs its own [name](Quota::named), by which
    /// it is shown, [settled](super::Usage::settle) and
    /// [replaced](super::RateLimitHandle::set_quota). Several quotas may count the same resource,
    /// such as tokens a minute and tokens a day. They are settled together, and can't be replaced. A
    /// layer has at most four quotas.
    pub fn and<Req, F>(mut self, quota: Quota, f: F) -> RateLimitBuilder<C, K, AndCost<W, F>>
    where
        F: Fn(&Req) -> u32,
    {
        self.base.quotas.push(quota);
        let Self { base, classifier, key, cost } = self;
        let cost = AndCost { costs: cost, cost_fn: f };
        RateLimitBuilder { base, classifier, key, cost }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// If there are more than four quotas.
    pub fn build(self) -> Result<RateLimitLayer<C, K, W>, InvalidConfig> {
        let Self { base, classifier, key, cost } = self;
        let Base { name, mut quotas, default_unit, max_keys, settings } = base;
        if quotas[0].unit == Unit::Unset {
            quotas[0].unit = default_unit;
        }
        let config = Arc::new(Config::new(quotas, settings)?);
        let limiters = Registry::new(max_keys, move |key| {
            ShardedArc::new(Limiter::new(key.name_in(&name), Arc::clone(&config)))
        });
        Ok(RateLimitLayer { classifier, key, cost, limiters: Arc::new(limiters) })
    }
}

impl<C, K> RateLimitBuilder<C, K> {
    /// Sets a closure that returns how many units of the first quota a request costs. Default: one.
    ///
    /// ```
    /// use tower_upstream::hint::Resource;
    /// use tower_upstream::{Quota, RateLimitLayer};
    ///
    /// // 90,000 tokens a minute, at about four characters a token.
    /// let limit = RateLimitLayer::builder(Quota::per_minute(90_000).of(Resource::Tokens))
    ///     .cost_fn(|request: &http::Request<String>| request.body().len().div_ceil(4) as u32)
    ///     .build()?;
    /// # let _ = limit;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    ///
    /// A request that costs more than the quota passes at once is rejected with
    /// [`CostAboveQuota`](super::CostAboveQuota).
    pub fn cost_fn<Req, F>(self, f: F) -> RateLimitBuilder<C, K, CostFn<F>>
    where
        F: Fn(&Req) -> u32,
    {
        let Self { mut base, classifier, key, .. } = self;
        base.default_unit = Unit::Unset;
        RateLimitBuilder { base, classifier, key, cost: CostFn { cost_fn: f } }
    }
}
