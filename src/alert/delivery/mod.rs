//! The path from a decided alert to a sink: a bounded queue and a task for each sink.

mod queue;
mod worker;

pub use self::queue::AlertStats;
#[cfg(test)]
pub(super) use self::queue::DeliveryQueue;
pub(super) use self::queue::{DeliveryStats, DeliveryTicket};
pub(super) use self::worker::{SinkConfig, SinkWorker};
