//! A paced quota's number, lent to a lane and taken back.

#[path = "../../src/rate_limit/desk.rs"]
mod desk;
#[path = "../../src/rate_limit/lane.rs"]
mod lane;
#[path = "../../src/rate_limit/meter/mod.rs"]
mod meter;
mod models;
#[path = "../../src/rate_limit/quota.rs"]
mod quota;

pub(crate) use self::quota::Quota;
