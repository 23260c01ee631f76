//! The stack that this crate recommends.

use std::time::Duration;

use tower::util::BoxCloneSyncService;
use tower_upstream::alert::{Alerts, PagerDuty, Severity, Slack};
use tower_upstream::failover::{HealthChecks, Region, Regions};
use tower_upstream::retry::RetryBudget;
use tower_upstream::{InvalidConfig, Quota, UpstreamLayer};

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
    // Slack receives warnings; information is for dashboards.
    let alerts = Alerts::builder()
        .service("outage")
        .sink(Slack::new(with.slack), Severity::Info, with.plain.clone())
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
    let upstream = UpstreamLayer::builder()
        .name("provider")
        // As patient as the policy that it replaces: five attempts of 30 s, and the waits between.
        .deadline(Duration::from_secs(180))
        .attempt_timeout(Duration::from_secs(5))
        // Two bursts can be repeated at once, as where the limit is lowered or a region goes under one.
        .retry(|retry| retry.max_attempts(5).budget(RetryBudget::new().reserve(40)))
        .quota(Quota::per_minute(60))
        .regions(regions)
        .failover(|failover| failover.health_checks(HealthChecks::new(with.plain)))
        .alerts(&alerts)
        .build()?;
    let service = upstream.over(with.wire);
    Ok(Client { service: BoxCloneSyncService::new(service), alerts: Some(alerts) })
}
