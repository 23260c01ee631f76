use tower::Layer;
use tower_upstream::FailoverLayer;
use tower_upstream::failover::{FailoverBuilder, Region, Regions};

use super::{Row, no_op_observer, ours};
use crate::bare::Bare;

/// Three regions that differ by host.
pub const REGIONS: [&str; 3] = [
    "https://us-west-2.example.com",
    "https://eu-west-1.example.com",
    "https://ap-southeast-1.example.com",
];

pub(super) fn rows() -> Vec<Row> {
    ours(("failover", "3 regions by host, rewritten"), |observed| {
        layer(&REGIONS, observed).layer(Bare)
    })
}

pub(super) fn layer(bases: &[&str], observed: bool) -> FailoverLayer {
    builder(bases, observed).build().expect("a valid configuration")
}

/// Returns a builder with regions of these bases, in order of priority.
pub(super) fn builder(bases: &[&str], observed: bool) -> FailoverBuilder {
    let regions = bases.iter().zip(1..).map(|(base, priority)| {
        Region::new(format!("region-{priority}"), *base).priority(priority)
    });
    let builder = FailoverLayer::builder(Regions::new(regions).expect("valid regions"));
    if observed { builder.observer(no_op_observer()) } else { builder }
}
