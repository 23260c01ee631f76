use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::config::{Config, Settings};
use super::cost::{And, CostFn, Costs, Quotas, Settled, UnitCost};
use super::limiter::Limiter;
use super::quota::Label;
use super::{Quota, RateLimit, RateLimitHandle, Usage};
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, classify_fn};
use crate::event::{Observer, Observers};
use crate::head::RequestHead;
use crate::key::{AllCalls, ByAuthority, ByCredential, ByRegion, KeyFn, Registry, key_fn};
use crate::sharded::ShardedArc;
use crate::verdict::Verdict;

/// Stays under a quota: calls wait for their turn, in order, or are turned away.
///
/// See the [module](super) for what it does and an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimitLayer<C = HttpClassifier, K = AllCalls, W = UnitCost> {
    pub(super) classifier: C,
    pub(super) key: K,
    pub(super) cost: W,
    pub(super) limiters: Arc<Registry<ShardedArc<Limiter>>>,
}

impl RateLimitLayer {
    /// A limiter of this quota over all calls, each of which takes one unit and
    /// waits for up to two minutes.
    pub fn new(quota: Quota) -> Self {
        Self::builder(quota).build()
    }

    /// A builder, for all other settings.
    pub fn builder(quota: Quota) -> RateLimitBuilder {
        RateLimitBuilder::new(quota)
    }
}

impl<C, K, W> RateLimitLayer<C, K, W> {
    /// A handle to look at the limiters.
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
        RateLimit::new(inner, self)
    }
}

/// Builds a [`RateLimitLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimitBuilder<C = HttpClassifier, K = AllCalls, W = UnitCost> {
    name: Arc<str>,
    quotas: Vec<Quota>,
    max_keys: usize,
    settings: Settings,
    classifier: C,
    key: K,
    cost: W,
}

impl RateLimitBuilder {
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            name: Arc::from("upstream"),
            quotas: vec![quota],
            max_keys: 1024,
            settings: Settings {
                max_wait: Duration::from_secs(120),
                max_waiting: 10_000,
                max_pause: Duration::from_secs(3600),
                taught: false,
                seed: None,
                observers: Observers::default(),
            },
            classifier: HttpClassifier::new(),
            key: AllCalls,
            cost: UnitCost,
        }
    }
}

impl<C, K, W> RateLimitBuilder<C, K, W> {
    /// The name that errors, events and status show. Default: `upstream`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Replaces the first quota.
    #[cfg(feature = "upstream")]
    pub(crate) fn quota(mut self, quota: Quota) -> Self {
        self.quotas[0] = quota;
        self
    }

    /// The longest that a call waits. Default: two minutes. A call that would wait longer is turned
    /// away on arrival, as far as that can be [predicted](super#how-it-decides), with
    /// [`RateLimited`](super::RateLimited).
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.settings.max_wait = wait;
        self
    }

    /// No call waits: what can't pass at once is turned away.
    pub fn no_wait(self) -> Self {
        self.max_wait(Duration::ZERO).max_waiting(0)
    }

    /// How many calls may wait at once under one key. Default: 10,000.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.settings.max_waiting = calls;
        self
    }

    /// The longest that a server can keep every call waiting, by a hint (`Retry-After` on a 429) or
    /// by an exhausted quota, which does so for a minute if it comes without a hint. Default: an
    /// hour; zero ignores both.
    pub fn max_pause(mut self, pause: Duration) -> Self {
        self.settings.max_pause = pause;
        self
    }

    /// The observer that hears of waits, rejections and pauses.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.settings.observers = Observers::new(observer);
        self
    }

    /// How answers are judged. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> RateLimitBuilder<C2, K, W> {
        let Self { name, quotas, max_keys, settings, classifier: _, key, cost } = self;
        RateLimitBuilder { name, quotas, max_keys, settings, classifier, key, cost }
    }

    /// How answers are judged: a closure over status, headers and error.
    pub fn classify_fn<F>(self, f: F) -> RateLimitBuilder<ClassifyFn<F>, K, W>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// A limit for each key. Default: one for all calls.
    pub fn key<K2>(self, key: K2) -> RateLimitBuilder<C, K2, W> {
        let Self { name, quotas, max_keys, settings, classifier, key: _, cost } = self;
        RateLimitBuilder { name, quotas, max_keys, settings, classifier, key, cost }
    }

    /// A limit for each credential, which is how most providers count.
    pub fn by_credential(self) -> RateLimitBuilder<C, ByCredential, W> {
        self.key(ByCredential)
    }

    /// A limit for each region of a failover above; without a failover, for each host and port.
    pub fn by_region(self) -> RateLimitBuilder<C, ByRegion, W> {
        self.key(ByRegion)
    }

    /// A limit for each host and port.
    pub fn by_authority(self) -> RateLimitBuilder<C, ByAuthority, W> {
        self.key(ByAuthority)
    }

    /// A limit for each text that a closure returns for the request's head. All calls for which it
    /// returns `None` share one limit.
    pub fn key_fn<F>(self, f: F) -> RateLimitBuilder<C, KeyFn<F>, W>
    where
        F: for<'a> Fn(RequestHead<'a>) -> Option<&'a str>,
    {
        self.key(key_fn(f))
    }

    /// How many keys have limits of their own at once. Default: 1,024. Past that, keys with nothing
    /// spent make room. Where there is none of those, new keys share one limit.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// Settles what calls cost, once their answers tell. The closure gets the response and the
    /// [`Usage`] of its call: it settles that now, or puts it where the true cost will be known. It
    /// isn't called if there is no response. If several are set, the last one counts.
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
    ///             Some(used) => usage.settle("tokens", used).expect("there is such a quota"),
    ///             // Only the body will tell: whoever reads it finds the usage here.
    ///             None => _ = response.extensions_mut().insert(usage),
    ///         }
    ///     })
    ///     .build();
    /// # let _ = limit;
    /// ```
    pub fn settle_fn<Res, G>(self, g: G) -> RateLimitBuilder<C, K, Settled<W, G>>
    where
        G: Fn(&mut Res, Usage),
    {
        let Self { name, quotas, max_keys, settings, classifier, key, cost } = self;
        let cost = Settled(cost, g);
        RateLimitBuilder { name, quotas, max_keys, settings, classifier, key, cost }
    }

    /// Whether answers [teach](super#what-the-learned-says) the layer the server's limits, for
    /// quotas that count something a server knows of. Default: no, unless there is a
    /// [`Quota::taught`], which has no other limit. Say yes where all calls of a key are under one
    /// limit of the server's.
    ///
    /// It keeps a client under a limit that is lowered without notice: calls wait here, where
    /// otherwise there would be a 429 and its pause. It costs reading the headers of answers, and
    /// taking the limiter's lock for answers that tell limits.
    pub fn taught(mut self, taught: bool) -> Self {
        self.settings.taught = taught;
        self
    }

    /// Makes what is random repeatable: how long the calls after a pause pass by degrees. Default:
    /// different each time.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Adds a observers: it hears what the observer hears.
    pub(crate) fn also_observe(mut self, observers: &Observers) -> Self {
        self.settings.observers = self.settings.observers.and(observers);
        self
    }

    /// The longest that a server's hint can keep every call waiting.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.settings.max_pause
    }
}

impl<C, K> RateLimitBuilder<C, K> {
    /// How many units of the first quota a request takes. Default: one.
    ///
    /// ```
    /// use tower_upstream::hint::Resource;
    /// use tower_upstream::{Quota, RateLimitLayer};
    ///
    /// // 90,000 tokens a minute, at about four characters a token.
    /// let limit = RateLimitLayer::builder(Quota::per_minute(90_000).of(Resource::Tokens))
    ///     .cost_fn(|request: &http::Request<String>| request.body().len().div_ceil(4) as u32)
    ///     .build();
    /// # let _ = limit;
    /// ```
    ///
    /// A request that costs more than the quota passes at once is turned away
    /// with [`CostAboveQuota`](super::CostAboveQuota).
    pub fn cost_fn<Req, F>(self, f: F) -> RateLimitBuilder<C, K, CostFn<F>>
    where
        F: Fn(&Req) -> u32,
    {
        let Self { name, quotas, max_keys, settings, classifier, key, cost: _ } = self;
        RateLimitBuilder { name, quotas, max_keys, settings, classifier, key, cost: CostFn(f) }
    }
}

impl<C, K, W: Quotas> RateLimitBuilder<C, K, W> {
    /// Adds a quota, up to four in all, and what a request takes of it. A call passes all quotas or
    /// waits; while it waits for one, it takes nothing of the others.
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
    ///     .build();
    /// # let _ = limit;
    /// ```
    ///
    /// A quota that counts no resource of a server's needs a [name](Quota::named) of its own, by
    /// which it is shown, [settled](super::Usage::settle) and
    /// [changed](super::RateLimitHandle::set_quota). Several quotas may count the same resource,
    /// such as tokens a minute and tokens a day: they are settled together, and can't be changed. A
    /// fifth quota doesn't compile.
    pub fn and<Req, F>(self, quota: Quota, cost: F) -> RateLimitBuilder<C, K, And<W, F>>
    where
        F: Fn(&Req) -> u32,
    {
        const { assert!(W::COUNT < Costs::MOST, "a layer keeps at most four quotas") };
        let Self { name, mut quotas, max_keys, settings, classifier, key, cost: others } = self;
        quotas.push(quota);
        let cost = And(others, cost);
        RateLimitBuilder { name, quotas, max_keys, settings, classifier, key, cost }
    }

    /// The layer.
    pub fn build(self) -> RateLimitLayer<C, K, W> {
        let Self { name, mut quotas, max_keys, settings, classifier, key, cost } = self;
        let first = &mut quotas[0].label;
        *first = first.or(W::FIRST.map_or(Label::Unsaid, Label::Of));
        let config = Arc::new(Config::new(quotas, settings));
        let limiters = Registry::new(max_keys, move |key| {
            ShardedArc::new(Limiter::new(key.name_in(&name), Arc::clone(&config)))
        });
        RateLimitLayer { classifier, key, cost, limiters: Arc::new(limiters) }
    }
}
