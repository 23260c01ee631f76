use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use super::UpstreamLayer;
use super::check::Settings;
use crate::alert::Alerts;
use crate::circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerLayer};
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, Verdict, classify_fn};
use crate::error::InvalidConfig;
use crate::event::{Listener, Observer};
use crate::failover::{FailoverBuilder, FailoverLayer, IfAsked, Regions};
use crate::key::{ByAuthority, ByCredential, ByRegion};
use crate::rate_limit::{OneEach, Quota, Quotas, RateLimitBuilder, RateLimitLayer};
use crate::replay::{HttpReplay, NoReplay};
use crate::retry::RetryLayer;

/// Builds an [`UpstreamLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct UpstreamBuilder<
    C = HttpClassifier,
    R = HttpReplay,
    K = ByCredential,
    B = ByRegion,
    W = OneEach,
> {
    common: Common,
    retry: RetryLayer<C, R>,
    rate_limit: RateLimitBuilder<HttpClassifier, K, W>,
    circuit_breaker: CircuitBreakerBuilder<HttpClassifier, B>,
}

/// What isn't a type.
#[derive(Clone, Debug)]
struct Common {
    name: Arc<str>,
    deadline: Option<Duration>,
    attempt_timeout: Option<Duration>,
    alerts: Option<Alerts>,
    listener: Listener,
    failover: Option<FailoverBuilder>,
    region_in_response: bool,
}

impl UpstreamBuilder {
    const DEADLINE: Duration = Duration::from_secs(120);
    const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

    pub(super) fn new() -> Self {
        let common = Common {
            name: Arc::from("upstream"),
            deadline: None,
            attempt_timeout: None,
            alerts: None,
            listener: Listener::default(),
            failover: None,
            region_in_response: false,
        };
        Self {
            common,
            retry: RetryLayer::new(),
            rate_limit: RateLimitLayer::builder(Quota::unlimited()).by_credential(),
            circuit_breaker: CircuitBreakerLayer::builder().by_region(),
        }
    }
}

impl<C, R, K, B, W> UpstreamBuilder<C, R, K, B, W> {
    /// The name that errors, events and status of all layers show. Default: `upstream`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.common.name = name.into();
        self
    }

    /// How long the whole call may take, waits and attempts. Default: 2 minutes.
    /// `Duration::MAX`: no limit.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.common.deadline = Some(deadline);
        self
    }

    /// How long one attempt may take, from when it is sent to the response's head. Default: 30 s.
    /// `Duration::MAX`: no limit.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.common.attempt_timeout = Some(timeout);
        self
    }

    /// Limits the rate of each credential's attempts to this quota. Default:
    /// [no limit](Quota::unlimited) but the server's word. For more than one quota, or other settings, see [`rate_limit`](Self::rate_limit).
    pub fn quota(self, quota: Quota) -> UpstreamBuilder<C, R, ByCredential, B> {
        self.rate_limit(quota, |limit| limit)
    }

    /// Sends attempts to these regions. Default: none, and requests go where they say. For
    /// more than the regions see [`failover`](Self::failover).
    pub fn regions(self, regions: Regions) -> Self {
        self.failover(regions, |failover| failover)
    }

    /// Puts the region that served a response into its extensions, as a
    /// [`ServingRegion`](crate::failover::ServingRegion). Default: not, since a response's first
    /// extension is allocated.
    pub fn region_in_response(mut self) -> Self {
        self.common.region_in_response = true;
        self
    }

    /// Has people told of what these alerts find worth it; all layers tell them. Default: nobody.
    pub fn alerts(mut self, alerts: &Alerts) -> Self {
        self.common.alerts = Some(alerts.clone());
        self
    }

    /// Who hears the events of all layers, beside the alerts, and other observers if it is given more
    /// than once. Default: nobody.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.common.listener = self.common.listener.and(&Listener::new(observer));
        self
    }

    /// How answers are judged, by all layers alike. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> UpstreamBuilder<C2, R, K, B, W> {
        self.retry(|retry| retry.classifier(classifier))
    }

    /// How answers are judged, by all layers alike: a closure over status, headers and error.
    pub fn classify_fn<F>(self, f: F) -> UpstreamBuilder<ClassifyFn<F>, R, K, B, W>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// Changes the retry. How it judges answers and repeats requests holds
    /// for all layers; its attempt timeout goes below the circuit breaker, so that that sees it.
    ///
    /// ```
    /// use tower_upstream::{UpstreamLayer, presets};
    ///
    /// let patient = UpstreamLayer::builder().retry(|retry| retry.max_attempts(5)).build()?;
    /// let by_hand = UpstreamLayer::builder().retry(|_| presets::retry_b()).build()?;
    /// # let _ = (patient, by_hand);
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn retry<C2, R2>(
        self,
        change: impl FnOnce(RetryLayer<C, R>) -> RetryLayer<C2, R2>,
    ) -> UpstreamBuilder<C2, R2, K, B, W> {
        UpstreamBuilder {
            common: self.common,
            retry: change(self.retry),
            rate_limit: self.rate_limit,
            circuit_breaker: self.circuit_breaker,
        }
    }

    /// Sends attempts to these regions, by a failover with other settings.
    pub fn failover(
        mut self,
        regions: Regions,
        change: impl FnOnce(FailoverBuilder) -> FailoverBuilder,
    ) -> Self {
        self.common.failover = Some(change(FailoverLayer::builder(regions)));
        self
    }

    /// Limits the rate of attempts to this quota, by credential unless `change` says otherwise,
    /// with other settings.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_upstream::{Quota, UpstreamLayer};
    ///
    /// let upstream = UpstreamLayer::builder()
    ///     .rate_limit(Quota::per_minute(60), |limit| limit.max_wait(Duration::from_secs(5)))
    ///     .build()?;
    /// # let _ = upstream;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn rate_limit<K2, W2>(
        self,
        quota: Quota,
        change: impl FnOnce(
            RateLimitBuilder<HttpClassifier, ByCredential>,
        ) -> RateLimitBuilder<HttpClassifier, K2, W2>,
    ) -> UpstreamBuilder<C, R, K2, B, W2> {
        UpstreamBuilder {
            common: self.common,
            retry: self.retry,
            rate_limit: change(RateLimitLayer::builder(quota).by_credential()),
            circuit_breaker: self.circuit_breaker,
        }
    }

    /// Changes the circuit breaker, which has a circuit a region.
    ///
    /// ```
    /// use tower_upstream::UpstreamLayer;
    /// use tower_upstream::circuit_breaker::FailureRate;
    ///
    /// let upstream = UpstreamLayer::builder()
    ///     .circuit_breaker(|breaker| breaker.failure_rate(FailureRate::over_calls(50)))
    ///     .build()?;
    /// # let _ = upstream;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn circuit_breaker<B2>(
        self,
        change: impl FnOnce(
            CircuitBreakerBuilder<HttpClassifier, B>,
        ) -> CircuitBreakerBuilder<HttpClassifier, B2>,
    ) -> UpstreamBuilder<C, R, K, B2, W> {
        UpstreamBuilder {
            common: self.common,
            retry: self.retry,
            rate_limit: self.rate_limit,
            circuit_breaker: change(self.circuit_breaker),
        }
    }
}

impl<C: Clone, R: Clone, K, B: 'static, W: Quotas> UpstreamBuilder<C, R, K, B, W> {
    /// The layer.
    ///
    /// # Errors
    ///
    /// If a layer's settings can't work, or those of two can't work
    /// [together](super#what-is-checked).
    pub fn build(self) -> Result<UpstreamLayer<C, R, K, B, W>, InvalidConfig> {
        let Self { common, retry, rate_limit, circuit_breaker } = self;
        let Common { name, alerts, listener, failover, .. } = common;
        let classifier = retry.config.classifier.clone();
        let alert = alerts.map(|alerts| alerts.layer().classifier(classifier.clone()));
        let listener = match &alert {
            Some(alert) => Listener::new(alert.alerts().observer()).and(&listener),
            None => listener,
        };

        let own = &retry.config;
        let deadline = once("deadline", common.deadline, own.deadline)?;
        let deadline = deadline.unwrap_or(UpstreamBuilder::DEADLINE);
        let deadline = Some(deadline).filter(|deadline| *deadline != Duration::MAX);
        let attempt_timeout = once("attempt_timeout", common.attempt_timeout, own.attempt_timeout)?;
        let attempt_timeout = attempt_timeout.unwrap_or(UpstreamBuilder::ATTEMPT_TIMEOUT);

        let circuit_breaker = circuit_breaker
            .name(Arc::clone(&name))
            .classifier(classifier.clone())
            .also_tell(&listener)
            .lease_of_at_least(attempt_timeout)
            .build()?;
        let max_pause = rate_limit.longest_pause();
        let rate_limit = rate_limit
            .name(Arc::clone(&name))
            .classifier(classifier.clone())
            .also_tell(&listener)
            .build();
        let failover = failover
            .map(|failover| {
                failover.name(Arc::clone(&name)).classifier(classifier).replay(NoReplay)
            })
            .map(|failover| failover.telling(IfAsked(common.region_in_response)))
            .map(|failover| failover.also_tell(&listener).build())
            .transpose()?;
        let mut retry = retry.name(name).also_tell(&listener);
        retry.config.deadline = deadline;
        retry.config.attempt_timeout = None;
        retry.config.timed_below = true;

        Settings {
            attempts: retry.config.policy.max_attempts,
            attempt_timeout,
            deadline,
            hint_cap: retry.config.policy.longest_hint(),
            max_pause,
            failures_to_open: circuit_breaker.failures_to_open(),
            circuits: failover
                .as_ref()
                .filter(|_| is_by_region::<B>())
                .map_or(1, FailoverLayer::reach),
        }
        .check()?;
        Ok(UpstreamLayer { alert, retry, failover, rate_limit, circuit_breaker, attempt_timeout })
    }
}

/// Whether attempts in different regions go through different circuits.
fn is_by_region<B: 'static>() -> bool {
    [TypeId::of::<ByRegion>(), TypeId::of::<ByAuthority>()].contains(&TypeId::of::<B>())
}

/// What is set on the stack, or on its retry.
fn once(
    what: &str,
    stack: Option<Duration>,
    retry: Option<Duration>,
) -> Result<Option<Duration>, InvalidConfig> {
    match (stack, retry) {
        (Some(stack), Some(retry)) if stack != retry => Err(InvalidConfig::new(format!(
            "{what} is {stack:?} on the stack and {retry:?} on its retry; set it once"
        ))),
        _ => Ok(stack.or(retry)),
    }
}
