use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use super::UpstreamLayer;
use super::check::Settings;
use crate::alert::{AlertLayer, Alerts};
use crate::circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerLayer};
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, classify_fn};
use crate::error::InvalidConfig;
use crate::event::{Observer, Observers};
use crate::failover::{FailoverBuilder, FailoverLayer, Regions};
use crate::key::{ByAuthority, ByCredential, ByRegion};
use crate::rate_limit::{Quota, RateLimitBuilder, RateLimitLayer, UnitCost};
use crate::replay::{HttpReplay, NoReplay};
use crate::retry::{RetryBuilder, RetryLayer};
use crate::verdict::Verdict;

/// Builds an [`UpstreamLayer`](super::UpstreamLayer).
#[derive(Clone, Debug)]
#[must_use]
pub struct UpstreamBuilder<
    C = HttpClassifier,
    R = HttpReplay,
    K = ByCredential,
    B = ByRegion,
    W = UnitCost,
> {
    pub(super) common: Common,
    pub(super) retry: RetryBuilder<C, R>,
    pub(super) rate_limit: RateLimitBuilder<HttpClassifier, K, W>,
    pub(super) circuit_breaker: CircuitBreakerBuilder<HttpClassifier, B>,
}

/// The settings that aren't part of the builder's type.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) name: Arc<str>,
    pub(super) deadline: Option<Duration>,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) alerts: Option<Alerts>,
    pub(super) observers: Observers,
    pub(super) regions: Option<Regions>,
    pub(super) failover: Option<FailoverBuilder>,
}

impl UpstreamBuilder {
    pub(super) const DEADLINE: Duration = Duration::from_secs(120);
    pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

    pub(super) fn new() -> Self {
        let common = Common {
            name: Arc::from("upstream"),
            deadline: None,
            attempt_timeout: None,
            alerts: None,
            observers: Observers::default(),
            regions: None,
            failover: None,
        };
        Self {
            common,
            retry: RetryLayer::builder(),
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

    /// How long the whole call may take, with all its attempts and waits. Default: 2 minutes.
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

    /// Limits the rate of attempts to this quota, for each credential unless
    /// [`rate_limit`](Self::rate_limit) sets another key. That also adds quotas. Default:
    /// [no limit](Quota::unlimited), except what the server asks for.
    pub fn quota(mut self, quota: Quota) -> Self {
        self.rate_limit = self.rate_limit.quota(quota);
        self
    }

    /// Sends attempts to these regions. [`failover`](Self::failover) sets how one is chosen. Default:
    /// none; a request goes where its own URI says.
    pub fn regions(mut self, regions: Regions) -> Self {
        self.common.regions = Some(regions);
        self
    }

    /// Sends the events of all layers to these alerts. Default: none.
    pub fn alerts(mut self, alerts: &Alerts) -> Self {
        self.common.alerts = Some(alerts.clone());
        self
    }

    /// Adds an observer of the events of all layers. Default:
    /// none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.common.observers = self.common.observers.and(&Observers::new(observer));
        self
    }

    /// Sets the classifier of all layers. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> UpstreamBuilder<C2, R, K, B, W> {
        self.retry(|retry| retry.classifier(classifier))
    }

    /// Sets the classifier of all layers to a closure over status, headers and error.
    pub fn classify_fn<F>(self, f: F) -> UpstreamBuilder<ClassifyFn<F>, R, K, B, W>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// Changes the retry. Its classifier and replay strategy hold for all layers, and are
    /// part of the stack's type. Its attempt timeout goes below the circuit breaker, so that the breaker
    /// counts it.
    ///
    /// ```
    /// use tower_upstream::{UpstreamLayer, presets};
    ///
    /// let patient = UpstreamLayer::builder().retry(|retry| retry.max_attempts(5)).build()?;
    /// let as_sdk = UpstreamLayer::builder().retry(|_| presets::llm_retry()).build()?;
    /// # let _ = (patient, as_sdk);
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn retry<C2, R2>(
        self,
        change: impl FnOnce(RetryBuilder<C, R>) -> RetryBuilder<C2, R2>,
    ) -> UpstreamBuilder<C2, R2, K, B, W> {
        UpstreamBuilder {
            common: self.common,
            retry: change(self.retry),
            rate_limit: self.rate_limit,
            circuit_breaker: self.circuit_breaker,
        }
    }

    /// Changes the failover, which needs [`regions`](Self::regions).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_upstream::UpstreamLayer;
    /// use tower_upstream::failover::{Region, Regions};
    ///
    /// let upstream = UpstreamLayer::builder()
    ///     .regions(Regions::new([
    ///         Region::new("east", "https://east.example.com"),
    ///         Region::new("west", "https://west.example.com"),
    ///     ])?)
    ///     .failover(|failover| failover.cooldown(Duration::from_secs(5)))
    ///     .build()?;
    /// # let _ = upstream;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn failover(mut self, change: impl FnOnce(FailoverBuilder) -> FailoverBuilder) -> Self {
        let failover = self.common.failover.take();
        self.common.failover = Some(change(failover.unwrap_or_else(FailoverBuilder::unplaced)));
        self
    }

    /// Changes the rate limit, which counts by credential. Another key, another cost or one more
    /// quota changes the stack's type.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_upstream::{Quota, UpstreamLayer};
    ///
    /// let upstream = UpstreamLayer::builder()
    ///     .quota(Quota::per_minute(60))
    ///     .rate_limit(|limit| limit.max_wait(Duration::from_secs(5)))
    ///     .build()?;
    /// # let _ = upstream;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn rate_limit<K2, W2>(
        self,
        change: impl FnOnce(
            RateLimitBuilder<HttpClassifier, K, W>,
        ) -> RateLimitBuilder<HttpClassifier, K2, W2>,
    ) -> UpstreamBuilder<C, R, K2, B, W2> {
        UpstreamBuilder {
            common: self.common,
            retry: self.retry,
            rate_limit: change(self.rate_limit),
            circuit_breaker: self.circuit_breaker,
        }
    }

    /// Changes the circuit breaker, which has a circuit a region. Another key changes the stack's
    /// type.
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

impl<C: Clone, R: Clone, K, B: 'static, W> UpstreamBuilder<C, R, K, B, W> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// If a layer's settings can't work, if those of two can't work
    /// [together](super#what-is-checked), or if the failover was changed and has no regions.
    pub fn build(self) -> Result<UpstreamLayer<C, R, K, B, W>, InvalidConfig> {
        let Self { common, retry, rate_limit, circuit_breaker } = self;
        let Common { name, alerts, observers, regions, failover, .. } = common;
        let classifier = retry.config.classifier.clone();
        let alert = alerts
            .map(|alerts| AlertLayer::builder(&alerts).classifier(classifier.clone()).build())
            .transpose()?;
        let observers = match &alert {
            Some(alert) => Observers::new(alert.alerts().observer()).and(&observers),
            None => observers,
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
            .also_observe(&observers)
            .lease_of_at_least(attempt_timeout)
            .build()?;
        let max_pause = rate_limit.longest_pause();
        let rate_limit = rate_limit
            .name(Arc::clone(&name))
            .classifier(classifier.clone())
            .also_observe(&observers)
            .build()?;
        let failover = with_regions(failover, regions)?
            .map(|failover| {
                failover.name(Arc::clone(&name)).classifier(classifier).replay(NoReplay)
            })
            .map(|failover| failover.also_observe(&observers).build())
            .transpose()?;
        let mut retry = retry.name(name).also_observe(&observers);
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
        let retry = retry.build()?;
        Ok(UpstreamLayer { alert, retry, failover, rate_limit, circuit_breaker, attempt_timeout })
    }
}

/// Whether attempts in different regions go through different circuits.
fn is_by_region<B: 'static>() -> bool {
    [TypeId::of::<ByRegion>(), TypeId::of::<ByAuthority>()].contains(&TypeId::of::<B>())
}

/// Returns the failover, as it was changed, over these regions; none without regions.
fn with_regions(
    failover: Option<FailoverBuilder>,
    regions: Option<Regions>,
) -> Result<Option<FailoverBuilder>, InvalidConfig> {
    match (failover, regions) {
        (Some(_), None) => Err(InvalidConfig::new(
            "the failover was changed, but it has no regions: give the builder `.regions(..)`",
        )),
        (None, regions) => Ok(regions.map(FailoverLayer::builder)),
        (Some(failover), Some(regions)) => Ok(Some(failover.regions(regions))),
    }
}

/// Returns what is set on the stack or on its retry, and refuses two different values.
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
