use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tower_layer::Layer;

use super::backoff::Backoff;
use super::budget::Budget;
use super::config::Config;
use super::decision::HintUse;
use super::service::Retry;
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, classify_fn};
use crate::error::InvalidConfig;
use crate::event::{Observer, Observers};
use crate::random::RandomSource;
use crate::replay::{BodyReplay, CloneReplay, HttpReplay, Override, OverrideFn, ReplayBody};
use crate::verdict::Verdict;

/// Retries failed requests where that is safe and may help.
///
/// The [module](super) describes when, with an example. All clones, and the services that they make,
/// share one budget. Alone, the layer has no deadline, so that `poll_ready` waits for the inner service
/// and passes its backpressure on; [`UpstreamLayer`](crate::UpstreamLayer) sets a deadline of 2 minutes.
#[derive(Clone, Debug)]
#[must_use]
pub struct RetryLayer<C = HttpClassifier, R = HttpReplay> {
    pub(crate) config: Config<C, R>,
}

impl RetryLayer {
    /// Creates a layer with at most 3 attempts, waits from 250 ms doubling up to 10 s with full jitter,
    /// hints of up to 60 s, and a budget of retries for a fifth of the requests.
    pub fn new() -> Self {
        Self { config: Config::new() }
    }

    /// Returns a builder with the same defaults.
    pub fn builder() -> RetryBuilder {
        RetryBuilder { config: Config::new() }
    }
}

impl<C, R> RetryLayer<C, R> {
    /// Returns a builder with this layer's settings. The layers that it builds share this layer's
    /// budget.
    pub fn into_builder(self) -> RetryBuilder<C, R> {
        RetryBuilder { config: self.config }
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, C, R> Layer<S> for RetryLayer<C, R>
where
    S: Clone,
    C: Clone,
    R: Clone,
{
    type Service = Retry<S, C, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(inner, self.config.clone())
    }
}

/// A builder of a [`RetryLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RetryBuilder<C = HttpClassifier, R = HttpReplay> {
    pub(crate) config: Config<C, R>,
}

impl<C, R> RetryBuilder<C, R> {
    /// Sets the name that events show. Default: `upstream`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Sets how many times a request is sent at most, the first time included. Default: 3.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.config.policy.max_attempts = attempts;
        self
    }

    /// Sets the wait before each further attempt. Default: [`Backoff::default`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.policy.backoff = backoff;
        self
    }

    /// Sets how a server's hint (`Retry-After`) is used. Default: [`HintUse::Floor`].
    pub fn hint(mut self, hint: HintUse) -> Self {
        self.config.policy.hint_use = hint;
        self
    }

    /// Sets the longest hint that is waited for. Default: 60 s. `Duration::MAX` is no cap.
    ///
    /// If the server requests a longer wait, the result is returned at once; a hint is never
    /// shortened.
    pub fn hint_cap(mut self, cap: Duration) -> Self {
        self.config.policy.hint_cap = cap;
        self
    }

    /// Sets how long the whole call may take to the response's head, with all attempts and waits.
    /// Default: no limit, as is `Duration::MAX`; in [`UpstreamLayer`](crate::UpstreamLayer), 2 minutes.
    ///
    /// A wait that would exceed the deadline is not started: the last result is returned at once. An
    /// attempt in flight at the deadline is dropped, and the call fails with
    /// [`DeadlineExceeded`](super::DeadlineExceeded). An attempt whose service is not ready by then is
    /// not sent; the previous result is returned if it still exists.
    ///
    /// If the deadline ends the first attempt of a call, a circuit breaker or failover below counts a
    /// timeout. It doesn't if the [request](super::Override::deadline) set the deadline, or if
    /// attempts have a shorter [timeout](Self::attempt_timeout). A later attempt had only the
    /// remaining time, so it counts like a call that its caller drops.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.config.deadline = Some(deadline);
        self
    }

    /// Sets how long an attempt may take from the call of the inner service to the response's head.
    /// Default: no limit, as is `Duration::MAX`.
    ///
    /// An attempt that takes longer is dropped and counts as a timeout. The wait for the inner
    /// service's readiness isn't included, as with tower's timeout; only the
    /// [`deadline`](Self::deadline) bounds that wait. Above a rate limit, use tower's `TimeoutLayer`
    /// below that limit instead: this timeout includes the time in the limit's queue.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.config.attempt_timeout = Some(timeout);
        self
    }

    /// Sets the budget of retries that all calls share. Default:
    /// [`RetryBudget::default`](super::RetryBudget::default). Layers that get the same `Arc` share a
    /// budget.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tower_upstream::{RetryLayer, retry::RetryBudget};
    ///
    /// let shared = Arc::new(RetryBudget::new().ratio(0.1).per_second(1.0).reserve(20));
    /// let first = RetryLayer::builder().budget(Arc::clone(&shared)).build()?;
    /// let second = RetryLayer::builder().budget(shared).build()?;
    /// # let _ = (first, second);
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn budget(mut self, budget: impl Budget) -> Self {
        self.config.budget = Some(Arc::new(budget));
        self
    }

    /// Removes the budget: each call may use all its attempts.
    ///
    /// An upstream that fails then receives its usual load times
    /// [`max_attempts`](Self::max_attempts).
    pub fn no_budget(mut self) -> Self {
        self.config.budget = None;
        self
    }

    /// Also retries requests that may have been processed and are not idempotent.
    ///
    /// By default, a request is retried only if the upstream certainly did not process it, or if its
    /// method or its `Idempotency-Key` header makes that safe.
    pub fn retry_non_idempotent(mut self) -> Self {
        self.config.policy.non_idempotent = true;
        self
    }

    /// Adds an `Idempotency-Key` to each request: a random UUID, the same for all attempts and
    /// regions. A request of any method is then safe to retry.
    ///
    /// Use it only if the server supports such keys. A key that the caller has set is kept. A request
    /// gets no key if it is sent only once, isn't HTTP, or is [cloned](Self::replay_clone).
    pub fn idempotency_key(self) -> Self {
        self.idempotency_header(HeaderName::from_static("idempotency-key"))
    }

    /// Like [`idempotency_key`](Self::idempotency_key), with a header of this name.
    pub fn idempotency_header(mut self, name: HeaderName) -> Self {
        self.config.attempt_headers.idempotency_key = Some(name);
        self
    }

    /// Sets the header that holds the number of the retry, 0 for the first attempt, as the OpenAI and
    /// Anthropic SDKs send in `x-stainless-retry-count`. Attempts that a local circuit rejected
    /// aren't counted. Default: none.
    pub fn retry_count_header(mut self, name: HeaderName) -> Self {
        self.config.attempt_headers.retry_count = Some(name);
        self
    }

    /// Ends a call at once if an open circuit rejects its attempt. By default, a call with a
    /// [`deadline`](Self::deadline) waits until the circuit admits calls again, if the deadline
    /// allows.
    pub fn fail_fast(mut self) -> Self {
        self.config.policy.fail_fast = true;
        self
    }

    /// Keeps the last response during the wait for the next attempt, to return it if that attempt is
    /// rejected locally (by an open circuit or a limit).
    ///
    /// By default, a response is dropped before a wait, which frees its connection or stream. If the
    /// next attempt is then rejected, the caller receives the rejection. An error holds nothing, and
    /// is always kept.
    pub fn keep_last_response(mut self) -> Self {
        self.config.keep_last_response = true;
        self
    }

    /// Sets which verdicts are retried, instead of [`is_retryable`](super::is_retryable). A success, a
    /// rejected credential, an exhausted quota and a rejection by a local limit are never retried.
    pub fn retry_if(mut self, f: impl Fn(&Verdict) -> bool + Send + Sync + 'static) -> Self {
        self.config.policy.retry_if = Some(Arc::new(f));
        self
    }

    /// Fails a call whose credential was rejected with
    /// [`CredentialRejected`](super::CredentialRejected) instead of the response. An error from below
    /// becomes its source.
    pub fn credential_error(mut self) -> Self {
        self.config.credential_error = true;
        self
    }

    /// Makes jitter and [idempotency keys](Self::idempotency_key) repeatable, for tests and
    /// simulations only: two processes with the same seed send different requests with the same keys,
    /// and the server returns the result of one request for the other.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.random = RandomSource::seeded(seed);
        self
    }

    /// Sets the observer of decisions about failed attempts. Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.config.observers = Observers::new(observer);
        self
    }

    /// Sets the classifier of results. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> RetryBuilder<C2, R> {
        self.map(|_, replay| (classifier, replay))
    }

    /// Sets the classifier of results to a closure over status, headers and error.
    pub fn classify_fn<F>(self, f: F) -> RetryBuilder<ClassifyFn<F>, R>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// Sets how requests are repeated. Default: [`HttpReplay`].
    pub fn replay<R2>(self, replay: R2) -> RetryBuilder<C, R2> {
        self.map(|classifier, _| (classifier, replay))
    }

    /// Repeats requests with bodies of any other type. `wrap` creates such a body from a recording one.
    /// Up to 64 KiB are recorded; for another limit, pass a [`BodyReplay`] to
    /// [`replay`](Self::replay).
    ///
    /// ```
    /// use tower_upstream::RetryLayer;
    /// use http_body_util::combinators::UnsyncBoxBody;
    /// # type MyBody = UnsyncBoxBody<bytes::Bytes, tower_upstream::BoxError>;
    ///
    /// let retry = RetryLayer::builder().replay_body(MyBody::new).build()?;
    /// # fn check<L: tower::Layer<S>, S>(_: L, _: S) {}
    /// # check(retry, tower::service_fn(|_: http::Request<MyBody>| async { Ok::<_, std::io::Error>(http::Response::new(())) }));
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn replay_body<B, F>(self, wrap: F) -> RetryBuilder<C, BodyReplay<F>>
    where
        F: Fn(ReplayBody<B>) -> B,
    {
        self.replay(BodyReplay::new(wrap))
    }

    /// Repeats any request that is `Clone`, by cloning it.
    pub fn replay_clone(self) -> RetryBuilder<C, CloneReplay> {
        self.replay(CloneReplay)
    }

    /// Lets single requests override these settings by a closure, for requests without extensions;
    /// [`Override`] describes those with extensions. Call it after the setters of the replay strategy.
    ///
    /// ```
    /// use tower_upstream::RetryLayer;
    /// use tower_upstream::retry::Override;
    ///
    /// #[derive(Clone)]
    /// struct Job { urgent: bool }
    ///
    /// let by_urgency = |job: &Job| match job.urgent {
    ///     true => Override::new().max_attempts(6),
    ///     false => Override::new(),
    /// };
    /// let retry = RetryLayer::builder().replay_clone().override_fn(by_urgency).build()?;
    /// # let _ = retry;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn override_fn<Req, F>(self, f: F) -> RetryBuilder<C, OverrideFn<R, F>>
    where
        F: Fn(&Req) -> Override,
    {
        self.map(|classifier, replay| (classifier, OverrideFn::new(replay, f)))
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// If no attempt is allowed, or a deadline or an attempt timeout is zero.
    pub fn build(self) -> Result<RetryLayer<C, R>, InvalidConfig> {
        self.config.check()?;
        Ok(RetryLayer { config: self.config })
    }

    /// Adds these observers.
    pub(crate) fn also_observe(mut self, observers: &Observers) -> Self {
        self.config.observers = self.config.observers.and(observers);
        self
    }

    fn map<C2, R2>(self, f: impl FnOnce(C, R) -> (C2, R2)) -> RetryBuilder<C2, R2> {
        RetryBuilder { config: self.config.map(f) }
    }
}
