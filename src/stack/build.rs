//! How a stack's layers are built from what its builder was set.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use super::builder::Common;
use super::check::Settings;
use super::{UpstreamBuilder, UpstreamLayer};
use crate::error::InvalidConfig;
use crate::event::Observers;
use crate::failover::{FailoverBuilder, FailoverLayer, Regions};
use crate::key::{ByAuthority, ByRegion};
use crate::rate_limit::Quotas;
use crate::replay::NoReplay;

impl<C: Clone, R: Clone, K, B: 'static, W: Quotas> UpstreamBuilder<C, R, K, B, W> {
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
        let alert = alerts.map(|alerts| alerts.layer().classifier(classifier.clone()));
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
            .build();
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
