//! What was written in the days after.

#[path = "../../../scenario/retry_patient.rs"]
mod retry_patient;

use tower::ServiceBuilder;

use super::{Client, Wire};

/// The patient retry of team 1, alone.
pub(crate) fn by_hand(wire: Wire) -> Client {
    Client::silent(
        ServiceBuilder::new().layer(retry_patient::retry().build().unwrap()).service(wire),
    )
}
