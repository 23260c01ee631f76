//! Models of a paced quota's state, which is lent to the fast path and taken back.

#[path = "../../src/rate_limit/fast_path.rs"]
mod fast_path;
#[path = "../../src/rate_limit/meter/mod.rs"]
mod meter;
mod models;
#[path = "../../src/rate_limit/quota.rs"]
mod quota;

pub(crate) use self::quota::Quota;
