//! The stack as `UpstreamLayer` builds it: timeouts, a deadline and the keys by default.

use tower::Layer;
use tower_upstream::alert::Slo;
use tower_upstream::failover::{Region, Regions};
use tower_upstream::stack::Upstream;
use tower_upstream::{Alerts, Quota, UpstreamLayer};

use super::rate_limit::PLENTY;
use super::{Row, no_op_observer, ours, peer};
use crate::bare::Bare;

/// Two regions that differ by host.
pub const REGIONS: [&str; 2] = [super::REGIONS[0], super::REGIONS[1]];

pub(super) fn rows() -> Vec<Row> {
    let about = "UpstreamLayer: 2 regions, a quota, timeouts, without alerts";
    let mut rows = ours(("upstream", about), |observed| layer(&REGIONS, observed).layer(Bare));
    let about = "the same, with alerts: an availability SLO, without a sink";
    rows.extend(peer(("upstream_alerts", about), || with_alerts(&REGIONS).layer(Bare)));
    rows
}

/// Returns the stack over a client, with regions of these bases.
pub fn upstream<S: Clone>(client: S, bases: &[&str]) -> Upstream<S> {
    layer(bases, false).layer(client)
}

fn layer(bases: &[&str], observed: bool) -> UpstreamLayer {
    build(bases, observed, None)
}

fn with_alerts(bases: &[&str]) -> UpstreamLayer {
    let alerts = Alerts::builder().slo(Slo::availability(0.999)).build();
    build(bases, false, Some(&alerts.expect("a valid configuration")))
}

fn build(bases: &[&str], observed: bool, alerts: Option<&Alerts>) -> UpstreamLayer {
    let regions = bases.iter().zip(1..).map(|(base, priority)| {
        Region::new(format!("region-{priority}"), *base).priority(priority)
    });
    let mut builder = UpstreamLayer::builder()
        .regions(Regions::new(regions).expect("valid regions"))
        .quota(Quota::per_second(PLENTY).burst(PLENTY));
    if observed {
        builder = builder.observer(no_op_observer());
    }
    if let Some(alerts) = alerts {
        builder = builder.alerts(alerts);
    }
    builder.build().expect("a valid configuration")
}
