//! What was written in the days after.

use tower::ServiceBuilder;
use tower_upstream::presets;

use super::{Client, Wire};

/// Retry A, alone.
pub(crate) fn by_hand(wire: Wire) -> Client {
    Client::silent(ServiceBuilder::new().layer(presets::retry_a()).service(wire))
}
