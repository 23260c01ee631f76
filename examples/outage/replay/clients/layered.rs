//! The stack that this crate recommends.

use std::time::Duration;

use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, timeout::TimeoutLayer};
use tower_upstream::alert::{Alerts, PagerDuty, Severity, Slack};
use tower_upstream::failover::{FailoverLayer, HealthChecks, Region, Regions};
use tower_upstream::retry::RetryBudget;
use tower_upstream::{CircuitBreakerLayer, InvalidConfig, Quota, RateLimitLayer, RetryLayer};

use super::super::timeline::REGIONS;
use super::{Client, Plain, Wire};

/// What the layers must know of the world.
pub(crate) struct Layered<'a> {
    pub(crate) wire: Wire,
    /// For health checks and alerts.
    pub(crate) plain: Plain,
    /// The regions' base URLs, the primary's first.
    pub(crate) bases: &'a [String],
    pub(crate) slack: String,
    pub(crate) pager_duty: String,
}

/// The five layers and a timeout, for requests that come in bursts of twenty.
pub(crate) fn layered(with: Layered<'_>) -> Result<Client, InvalidConfig> {
    // Slack hears of what somebody should look at; what is only good to know is for dashboards.
    let alerts = Alerts::builder()
        .service("outage")
        .sink(Slack::new(with.slack), Severity::Warning, with.plain.clone())
        .sink(
            PagerDuty::new("routing key").base_url(with.pager_duty),
            Severity::Critical,
            with.plain.clone(),
        )
        .build()?;
    let bases = REGIONS.into_iter().zip(with.bases).zip(1..);
    let regions = Regions::new(
        bases.map(|((name, base), priority)| Region::new(name, base).priority(priority)),
    )?;
    // As patient as the policy that it replaces: five attempts of 30 s, and the waits between. Two
    // bursts can be repeated at once, as where two regions go under one of them.
    let retry = RetryLayer::new()
        .max_attempts(5)
        .deadline(Duration::from_secs(180))
        .budget(RetryBudget::new(0.2, 0.1, 40))
        .observer(alerts.observer());
    let failover = FailoverLayer::builder(regions)
        .health_checks(HealthChecks::new(with.plain))
        .observer(alerts.observer())
        .build()?;
    // Half a minute's calls at once, the others one a second: else a line that has waited would
    // spend the whole minute at once, and the next one would be silent.
    let pace = RateLimitLayer::builder(Quota::per_minute(60).burst(30)).by_credential().build();
    let limit = RateLimitLayer::builder(Quota::per_minute(60))
        .by_credential()
        .observer(alerts.observer())
        .build();
    // Says nothing to the alerts: where a circuit opens its region is lost, and that is told.
    let breaker = CircuitBreakerLayer::builder().by_authority().build()?;
    let service = ServiceBuilder::new()
        .layer(alerts.layer())
        .layer(retry)
        .layer(failover)
        .layer(pace)
        .layer(limit)
        .layer(breaker)
        .layer(TimeoutLayer::new(Duration::from_secs(5)))
        .service(with.wire);
    Ok(Client { service: BoxCloneSyncService::new(service), alerts: Some(alerts) })
}
