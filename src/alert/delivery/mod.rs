//! The path from a decided alert to a sink: a bounded queue and a task for each sink.

mod queue;
mod stats;
mod worker;

#[cfg(test)]
pub(super) use self::queue::DeliveryQueue;
pub use self::stats::AlertStats;
pub(super) use self::stats::{DeliveryStats, DeliveryTicket};
pub(super) use self::worker::{SinkConfig, SinkWorker};
