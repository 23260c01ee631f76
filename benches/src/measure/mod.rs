//! Measurements.

pub mod contended;
pub mod instructions;
pub mod loopback;
pub mod median;
pub mod overhead;
pub mod pairs;
