use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tower_layer::Layer;

use super::config::Config;
use super::{Backoff, Budget, HintUse, Retry};
use crate::chance::Chance;
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, Verdict, classify_fn};
use crate::event::{Listener, Observer};
use crate::replay::{BodyReplay, CloneReplay, HttpReplay, Override, OverrideFn, ReplayBody};

/// Sends a failed request again, where that is safe and may help.
///
/// See the [module](super) for what it does and an example. Clones, and the
/// services of all clones, share one budget.
#[derive(Clone, Debug)]
#[must_use]
pub struct RetryLayer<C = HttpClassifier, R = HttpReplay> {
    pub(crate) config: Config<C, R>,
}

impl RetryLayer {
    /// Three attempts; waits from 250 ms, doubling up to 10 s, with full jitter;
    /// a server's hint is obeyed up to 60 s; a budget of a fifth of the requests.
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

    /// How often a request is sent at most, the first time included. Default: 3.
    /// 0 and 1 both mean that it is never sent again.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.config.policy.max_attempts = attempts;
        self
    }

    /// How long to wait before the next attempt. Default: [`Backoff::default`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.policy.backoff = backoff;
        self
    }

    /// What is done with a server's hint (`Retry-After`). Default: [`HintUse::Floor`].
    pub fn hint(mut self, hint: HintUse) -> Self {
        self.config.policy.hint_use = hint;
        self
    }

    /// The longest hint of a server that is waited for. Default: 60 s. Past it the answer is
    /// returned at once: a hint is never shortened. `Duration::MAX`: no cap.
    pub fn hint_cap(mut self, cap: Duration) -> Self {
        self.config.policy.hint_cap = cap;
        self
    }

    /// How long the whole call may take, waits and attempts, to the response's head. Default, and
    /// `Duration::MAX`: no limit.
    ///
    /// A wait that would pass the deadline isn't begun: the last answer is
    /// returned at once. An attempt in flight at the deadline is dropped, and
    /// the call ends with [`DeadlineExceeded`](super::DeadlineExceeded). One that isn't ready by then, or is
    /// woken too late, isn't sent; what came of the one before is returned, if it is still there.
    ///
    /// For a circuit breaker or a failover below, a first attempt that is cut so has timed out. Not if it had
    /// only what a [request's own deadline](super::Override::deadline) gave it, or attempts have a shorter
    /// [timeout](Self::attempt_timeout) of their own: with what an earlier one or a queue left it, an
    /// attempt says no more of the upstream than a call that its caller drops.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.config.deadline = Some(deadline);
        self
    }

    /// How long an attempt may take from when the inner service is called to the response's head. Default,
    /// and `Duration::MAX`: no limit.
    ///
    /// It then counts as a timeout. Getting ready isn't counted, as with tower's
    /// own timeout; a [`deadline`](Self::deadline) bounds that too. With a rate limit below, put
    /// tower's `TimeoutLayer` under that instead: here the time in its queue is the attempt's, and one
    /// that times out there is taken for sent.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.config.attempt_timeout = Some(timeout);
        self
    }

    /// How many retries all calls together may make. Default:
    /// [`RetryBudget::default`](super::RetryBudget::default). To share one among layers, give each the same `Arc`.
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

    /// No budget: each call may use all its attempts.
    ///
    /// When the upstream fails, it then gets as many times its usual load as
    /// there are attempts.
    pub fn no_budget(mut self) -> Self {
        self.config.budget = None;
        self
    }

    /// Also sends again what may have been processed and isn't idempotent.
    ///
    /// By default that is only done if it is certain that the upstream didn't
    /// act on the request, or the request's method or its `Idempotency-Key`
    /// header makes a repetition safe.
    pub fn retry_non_idempotent(mut self) -> Self {
        self.config.policy.non_idempotent = true;
        self
    }

    /// Gives each request an `Idempotency-Key`, by which its server can tell a repetition: a random
    /// UUID, the same for all attempts and regions. A request of any method then counts as safe to repeat.
    ///
    /// A key of the caller's own stays. Only where the server knows such keys: the header alone
    /// protects nothing. A request that is sent once gets none, nor does one that isn't HTTP or is
    /// [repeated by cloning](Self::replay_clone).
    pub fn idempotency_key(self) -> Self {
        self.idempotency_header(HeaderName::from_static("idempotency-key"))
    }

    /// As [`idempotency_key`](Self::idempotency_key), in a header of this name.
    pub fn idempotency_header(mut self, name: HeaderName) -> Self {
        self.config.stamps.idempotency_key = Some(name);
        self
    }

    /// Tells the server in this header how many retries came before: 0 in the first attempt, as
    /// `x-stainless-retry-count` of the OpenAI and Anthropic SDKs counts. What an open circuit here
    /// turned away isn't counted. Default: not told.
    pub fn retry_count_header(mut self, name: HeaderName) -> Self {
        self.config.stamps.retry_count = Some(name);
        self
    }

    /// Ends a call at once where an open circuit turns its attempt away. By default it waits until the
    /// circuit lets calls through again, however long, if it has a [`deadline`](Self::deadline) that allows it.
    pub fn fail_fast(mut self) -> Self {
        self.config.policy.fail_fast = true;
        self
    }

    /// Holds an answer also during the wait for the next attempt, to return it if that is turned away on this
    /// side (by an open circuit, a limit) before it is under way.
    ///
    /// By default a response is dropped before a wait, so that what it holds is free meanwhile: a
    /// connection, one of the streams of one. If the next attempt is turned away then, the caller gets that
    /// rejection, which says when to come back. An error holds nothing, and is returned in any case.
    pub fn hold_answers(mut self) -> Self {
        self.config.hold_answers = true;
        self
    }

    /// Which verdicts are worth another attempt, in place of
    /// [`is_retryable`](super::is_retryable). A success, a dead credential, an exhausted quota and a
    /// decision of this side are never retried, whatever it says.
    pub fn retry_if(mut self, f: impl Fn(&Verdict) -> bool + Send + Sync + 'static) -> Self {
        self.config.policy.retry_if = Some(Arc::new(f));
        self
    }

    /// Ends a call whose credential was refused with the error
    /// [`CredentialRejected`](super::CredentialRejected), in place of the
    /// response; an error from below becomes its source.
    pub fn credential_error(mut self) -> Self {
        self.config.credential_error = true;
        self
    }

    /// Makes the jitter and the [idempotency keys](Self::idempotency_key) repeatable, for tests and
    /// simulations. Nowhere else: two processes with one seed give different requests the same keys, and
    /// a server that knows them answers one with what the other was told.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.chance = Chance::seeded(seed);
        self
    }

    /// Who hears of each decision about a failed attempt, and its reason. Default: nobody.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.config.listener = Listener::new(observer);
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

    /// Repeats requests whose bodies are neither plain bytes nor known: given
    /// how to make such a body of a recording one. Up to 64 KiB are recorded; for another bound give
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

    /// What a request asks for in place of these settings: a closure, for requests without extensions
    /// ([`Override`] says how with them). Set how requests are repeated before this.
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

    /// This one hears too.
    pub(crate) fn also_tell(mut self, listener: &Listener) -> Self {
        self.config.listener = self.config.listener.and(listener);
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
