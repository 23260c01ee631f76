use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::cost::{CostFn, OneEach};
use super::limiter::{Limiter, Rules};
use super::{Quota, RateLimit, RateLimitHandle};
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, Verdict, classify_fn};
use crate::event::{Listener, Observer};
use crate::head::RequestHead;
use crate::key::{AllCalls, ByAuthority, ByCredential, ByRegion, KeyFn, Registry, key_fn};

/// Stays under a quota: calls wait for their turn, in order, or are turned away.
///
/// See the [module](super) for what it does and an example.
#[derive(Clone, Debug)]
pub struct RateLimitLayer<C = HttpClassifier, K = AllCalls, W = OneEach> {
    pub(super) classifier: C,
    pub(super) key: K,
    pub(super) cost: W,
    pub(super) limiters: Arc<Registry<Limiter>>,
}

impl RateLimitLayer {
    /// A limiter of this quota over all calls, each of which takes one unit and
    /// waits for up to two minutes.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self::builder(quota).build()
    }

    /// Everything else.
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
pub struct RateLimitBuilder<C = HttpClassifier, K = AllCalls, W = OneEach> {
    name: Arc<str>,
    quota: Quota,
    max_keys: usize,
    rules: Rules,
    classifier: C,
    key: K,
    cost: W,
}

impl RateLimitBuilder {
    fn new(quota: Quota) -> Self {
        Self {
            name: Arc::from("upstream"),
            quota,
            max_keys: 1024,
            rules: Rules {
                max_wait: Duration::from_secs(120),
                max_waiting: 10_000,
                max_pause: Duration::from_secs(3600),
                listener: Listener::default(),
            },
            classifier: HttpClassifier::new(),
            key: AllCalls,
            cost: OneEach,
        }
    }
}

impl<C, K, W> RateLimitBuilder<C, K, W> {
    /// The name that errors, events and status show. Default: `upstream`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// The longest that a call waits. Default: two minutes. One that would wait longer
    /// is turned away on arrival, with [`RateLimited`](super::RateLimited).
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.rules.max_wait = wait;
        self
    }

    /// No call waits: what can't pass at once is turned away.
    pub fn no_wait(self) -> Self {
        self.max_wait(Duration::ZERO).max_waiting(0)
    }

    /// How many calls may wait at once under one key. Default: 10,000.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.rules.max_waiting = calls;
        self
    }

    /// The longest that a server's hint (`Retry-After` on a 429) can keep every
    /// call waiting. Default: an hour; zero ignores such hints.
    pub fn max_pause(mut self, pause: Duration) -> Self {
        self.rules.max_pause = pause;
        self
    }

    /// Who hears of waits, rejections and pauses.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.rules.listener = Listener::new(observer);
        self
    }

    /// How answers are judged. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> RateLimitBuilder<C2, K, W> {
        let Self { name, quota, max_keys, rules, classifier: _, key, cost } = self;
        RateLimitBuilder { name, quota, max_keys, rules, classifier, key, cost }
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
        let Self { name, quota, max_keys, rules, classifier, key: _, cost } = self;
        RateLimitBuilder { name, quota, max_keys, rules, classifier, key, cost }
    }

    /// A limit for each credential: as most providers count.
    pub fn by_credential(self) -> RateLimitBuilder<C, ByCredential, W> {
        self.key(ByCredential)
    }

    /// A limit for each region of a failover above; for each host and port where there is none.
    pub fn by_region(self) -> RateLimitBuilder<C, ByRegion, W> {
        self.key(ByRegion)
    }

    /// A limit for each host and port.
    pub fn by_authority(self) -> RateLimitBuilder<C, ByAuthority, W> {
        self.key(ByAuthority)
    }

    /// A limit for each text that a closure over the request's head tells; for
    /// `None` the one that all others share.
    pub fn key_fn<F>(self, f: F) -> RateLimitBuilder<C, KeyFn<F>, W>
    where
        F: for<'a> Fn(RequestHead<'a>) -> Option<&'a str>,
    {
        self.key(key_fn(f))
    }

    /// How many keys have limits of their own at once. Default: 1,024. Past that,
    /// those with nothing spent make room, and where none has, new keys share one.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// How many units of the quota a request takes. Default: one.
    ///
    /// ```
    /// use tower_upstream::{Quota, RateLimitLayer};
    ///
    /// // 90,000 tokens a minute, at about four characters a token.
    /// let limit = RateLimitLayer::builder(Quota::per_minute(90_000))
    ///     .cost_fn(|request: &http::Request<String>| (request.body().len() / 4) as u32)
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
        let Self { name, quota, max_keys, rules, classifier, key, cost: _ } = self;
        let cost = CostFn(f);
        RateLimitBuilder { name, quota, max_keys, rules, classifier, key, cost }
    }

    /// This one hears too.
    pub(crate) fn also_tell(mut self, listener: &Listener) -> Self {
        self.rules.listener = self.rules.listener.and(listener);
        self
    }

    /// The longest that a server's hint can keep every call waiting.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.rules.max_pause
    }

    /// The layer.
    #[must_use]
    pub fn build(self) -> RateLimitLayer<C, K, W> {
        let Self { name, quota, max_keys, rules, classifier, key, cost } = self;
        let limiters = Registry::new(max_keys, move |key| {
            Limiter::new(key.name_in(&name), quota, rules.clone())
        });
        RateLimitLayer { classifier, key, cost, limiters: Arc::new(limiters) }
    }
}
