use tower::Layer;
use tower_upstream::{AlertLayer, Alerts};

use super::{Row, nobody, ours};
use crate::bare::Bare;

pub(super) fn rows() -> Vec<Row> {
    ours(("alert", "without a sink"), |observed| layer(observed).layer(Bare))
}

/// The alert layer of every row that has one: an objective (SLO) goes here.
pub(super) fn layer(observed: bool) -> AlertLayer {
    let builder = Alerts::builder();
    let builder = if observed { builder.observer(nobody()) } else { builder };
    builder.build().expect("a valid configuration").layer()
}
