//! A paced quota's number, lent to a fast_path and taken back.

#[path = "../../src/rate_limit/fast_path.rs"]
mod fast_path;
#[path = "../../src/rate_limit/meter/mod.rs"]
mod meter;
mod models;
#[path = "../../src/rate_limit/quota.rs"]
mod quota;
#[path = "../../src/rate_limit/state_lock.rs"]
mod state_lock;

pub(crate) use self::quota::Quota;
