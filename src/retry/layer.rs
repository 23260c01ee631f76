use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tower_layer::Layer;

use super::config::Config;
use super::{Backoff, Budget, HintUse, Retry};
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, classify_fn};
use crate::event::{Observer, Observers};
use crate::random::RandomSource;
use crate::replay::{BodyReplay, CloneReplay, HttpReplay, Override, OverrideFn, ReplayBody};
use crate::verdict::Verdict;

/// Sends a failed request again, where that is safe and may help.
///
/// The [module](super) says when, and has an example. All clones, and the services that they make,
/// share one budget.
#[derive(Clone, Debug)]
#[must_use]
pub struct RetryLayer<C = HttpClassifier, R = HttpReplay> {
    pub(crate) config: Config<C, R>,
}

impl RetryLayer {
    /// Makes at most three attempts, and waits from 250 ms, doubling up to 10 s, with full jitter.
    /// Obeys a server's hint of up to 60 s. Its budget allows retries for a fifth of the requests.
    pub fn new() -> Self {
        Self { config: Config::new() }
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<C, R> RetryLayer<C, R> {
    /// The name that events show. Default: `upstream`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.config.name = name.into();
        self
    }

    /// How many times a request is sent at most, including the first. Default: 3.
    /// With 0 or 1 it is never sent again.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.config.policy.max_attempts = attempts;
        self
    }

    /// How long to wait before the next attempt. Default: [`Backoff::default`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.policy.backoff = backoff;
        self
    }

    /// How a server's hint (`Retry-After`) is used. Default: [`HintUse::Floor`].
    pub fn hint(mut self, hint: HintUse) -> Self {
        self.config.policy.hint_use = hint;
        self
    }

    /// The longest hint that is waited for. Default: 60 s; `Duration::MAX`: no cap. If the server asks
    /// for a longer wait, its answer is returned at once: a hint is never shortened.
    pub fn hint_cap(mut self, cap: Duration) -> Self {
        self.config.policy.hint_cap = cap;
        self
    }

    /// How long the whole call may take to the response's head, with all its attempts and waits.
    /// Default, and `Duration::MAX`: no limit.
    ///
    /// A wait that would pass the deadline isn't begun: the last answer is
    /// returned at once. An attempt in flight at the deadline is dropped, and
    /// the call ends with [`DeadlineExceeded`](super::DeadlineExceeded). An attempt whose service isn't ready
    /// by then, or that is woken too late, isn't sent; the answer to the attempt before is returned, if it
    /// is still there.
    ///
    /// If the deadline ends a call's first attempt, a circuit breaker or a failover below takes that for
    /// a timeout. It doesn't if the [request](super::Override::deadline) set the deadline, or if attempts
    /// have a shorter [timeout](Self::attempt_timeout). Later attempts had only the time that was left,
    /// and say no more of the upstream than a call that its caller drops.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.config.deadline = Some(deadline);
        self
    }

    /// How long an attempt may take from the call of the inner service to the response's head. Default,
    /// and `Duration::MAX`: no limit.
    ///
    /// An attempt that takes longer is dropped and counts as a timeout. Waiting for the inner service to get
    /// ready isn't included, as with tower's own timeout; only a [`deadline`](Self::deadline) bounds that.
    /// With a rate limit below, put tower's `TimeoutLayer` under the limit instead: this timeout
    /// includes the time in the limit's queue, and takes an attempt that ends there for sent.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.config.attempt_timeout = Some(timeout);
        self
    }

    /// How many retries all calls together may make. Default:
    /// [`RetryBudget::default`](super::RetryBudget::default). To share a budget, give several layers the
    /// same `Arc`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tower_upstream::{RetryLayer, retry::RetryBudget};
    ///
    /// let shared = Arc::new(RetryBudget::new(0.1, 1.0, 20));
    /// let one = RetryLayer::new().budget(Arc::clone(&shared));
    /// let other = RetryLayer::new().budget(shared);
    /// # let _ = (one, other);
    /// ```
    pub fn budget(mut self, budget: impl Budget) -> Self {
        self.config.budget = Some(Arc::new(budget));
        self
    }

    /// Sets no budget: each call may use all its attempts.
    ///
    /// An upstream that fails then gets its usual load multiplied by
    /// [`max_attempts`](Self::max_attempts).
    pub fn no_budget(mut self) -> Self {
        self.config.budget = None;
        self
    }

    /// Also sends a request again that may have been processed and isn't idempotent.
    ///
    /// By default a request is sent again only if the upstream certainly didn't act on it, or if its
    /// method or its `Idempotency-Key` header makes that safe.
    pub fn retry_non_idempotent(mut self) -> Self {
        self.config.policy.non_idempotent = true;
        self
    }

    /// Gives each request an `Idempotency-Key`, by which its server can recognise a repetition: a random
    /// UUID, the same for all attempts and regions. A request of any method then counts as safe to repeat.
    ///
    /// Use it only if the server supports such keys: the header alone protects nothing. A key that the
    /// caller has set stays. A request gets no key if it is sent only once, isn't HTTP, or is
    /// [repeated by cloning](Self::replay_clone).
    pub fn idempotency_key(self) -> Self {
        self.idempotency_header(HeaderName::from_static("idempotency-key"))
    }

    /// Like [`idempotency_key`](Self::idempotency_key), with a header of this name.
    pub fn idempotency_header(mut self, name: HeaderName) -> Self {
        self.config.attempt_headers.idempotency_key = Some(name);
        self
    }

    /// Writes the number of the retry into this header, with 0 for the first attempt, as the OpenAI and
    /// Anthropic SDKs do in `x-stainless-retry-count`. Attempts that an open circuit here
    /// turned away aren't counted. Default: no header.
    pub fn retry_count_header(mut self, name: HeaderName) -> Self {
        self.config.attempt_headers.retry_count = Some(name);
        self
    }

    /// Ends a call at once if an open circuit turns its attempt away. By default a call with a
    /// [`deadline`](Self::deadline) waits until the circuit lets calls through again, if the deadline allows.
    pub fn fail_fast(mut self) -> Self {
        self.config.policy.fail_fast = true;
        self
    }

    /// Keeps the last response during the wait for the next attempt, to return it if that attempt is
    /// turned away on this side (by an open circuit or a limit).
    ///
    /// By default a response is dropped before a wait, which frees what it holds: a
    /// connection, or a stream of one. If the next attempt is then turned away, the caller gets the
    /// rejection, which says when to come back. An error holds nothing, and is saved in any case.
    pub fn keep_last_response(mut self) -> Self {
        self.config.keep_last_response = true;
        self
    }

    /// Decides which verdicts are worth another attempt, in place of
    /// [`is_retryable`](super::is_retryable). A success, a refused credential, an exhausted quota and a
    /// rejection by a limit on this side are never retried, whatever it returns.
    pub fn retry_if(mut self, f: impl Fn(&Verdict) -> bool + Send + Sync + 'static) -> Self {
        self.config.policy.retry_if = Some(Arc::new(f));
        self
    }

    /// Ends a call whose credential was refused with the error
    /// [`CredentialRejected`](super::CredentialRejected) instead of the
    /// response. An error from below becomes its source.
    pub fn credential_error(mut self) -> Self {
        self.config.credential_error = true;
        self
    }

    /// Makes the jitter and the [idempotency keys](Self::idempotency_key) repeatable, for tests and
    /// simulations only: two processes with the same seed give different requests the same keys, and
    /// the server then answers one request with the result of the other.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.random = RandomSource::seeded(seed);
        self
    }

    /// Tells this observer each decision about a failed attempt, with its reason. Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.config.observers = Observers::new(observer);
        self
    }

    /// How answers are judged. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> RetryLayer<C2, R> {
        self.map(|_, replay| (classifier, replay))
    }

    /// How answers are judged: a closure over status, headers and error.
    pub fn classify_fn<F>(self, f: F) -> RetryLayer<ClassifyFn<F>, R>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// How requests are repeated. Default: [`HttpReplay`].
    pub fn replay<R2>(self, replay: R2) -> RetryLayer<C, R2> {
        self.map(|classifier, _| (classifier, replay))
    }

    /// Repeats requests with bodies of any other type: `wrap` makes such a body from one that records
    /// what is sent. Up to 64 KiB are recorded; for another bound give
    /// [`replay`](Self::replay) a [`BodyReplay`].
    ///
    /// ```
    /// use tower_upstream::RetryLayer;
    /// use http_body_util::combinators::UnsyncBoxBody;
    /// # type MyBody = UnsyncBoxBody<bytes::Bytes, tower_upstream::BoxError>;
    ///
    /// let retry = RetryLayer::new().replay_body(MyBody::new);
    /// # fn check<L: tower::Layer<S>, S>(_: L, _: S) {}
    /// # check(retry, tower::service_fn(|_: http::Request<MyBody>| async { Ok::<_, std::io::Error>(http::Response::new(())) }));
    /// ```
    pub fn replay_body<B, F>(self, wrap: F) -> RetryLayer<C, BodyReplay<F>>
    where
        F: Fn(ReplayBody<B>) -> B,
    {
        self.replay(BodyReplay::new(wrap))
    }

    /// Repeats any request that is `Clone`, by cloning it.
    pub fn replay_clone(self) -> RetryLayer<C, CloneReplay> {
        self.replay(CloneReplay)
    }

    /// Lets single requests override these settings by a closure, for requests without extensions
    /// ([`Override`] says how with them). Call this after the setters of how requests are repeated.
    ///
    /// ```
    /// use tower_upstream::RetryLayer;
    /// use tower_upstream::retry::Override;
    ///
    /// #[derive(Clone)]
    /// struct Job { urgent: bool }
    ///
    /// let retry = RetryLayer::new().replay_clone().override_fn(|job: &Job| match job.urgent {
    ///     true => Override::new().max_attempts(6),
    ///     false => Override::new(),
    /// });
    /// # let _ = retry;
    /// ```
    pub fn override_fn<Req, F>(self, f: F) -> RetryLayer<C, OverrideFn<R, F>>
    where
        F: Fn(&Req) -> Override,
    {
        self.map(|classifier, replay| (classifier, OverrideFn::new(replay, f)))
    }

    /// Adds this observers.
    pub(crate) fn also_observe(mut self, observers: &Observers) -> Self {
        self.config.observers = self.config.observers.and(observers);
        self
    }

    fn map<C2, R2>(self, f: impl FnOnce(C, R) -> (C2, R2)) -> RetryLayer<C2, R2> {
        RetryLayer { config: self.config.map(f) }
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
