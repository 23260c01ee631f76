use tower::Layer;
use tower_upstream::alert::Slo;
use tower_upstream::{AlertLayer, Alerts};

use super::{Row, no_op_observer, ours};
use crate::bare::Bare;

pub(super) fn rows() -> Vec<Row> {
    ours(("alert", "an availability SLO, without a sink"), |observed| layer(observed).layer(Bare))
}

/// Returns the alert layer of all rows that have one.
pub(super) fn layer(observed: bool) -> AlertLayer {
    let builder = Alerts::builder().slo(Slo::availability(0.999));
    let builder = if observed { builder.observer(no_op_observer()) } else { builder };
    AlertLayer::new(&builder.build().expect("a valid configuration"))
}
