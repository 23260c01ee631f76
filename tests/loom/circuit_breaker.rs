//! The decisions of a circuit, and the state that threads share.

#[path = "../../src/circuit_breaker/config.rs"]
mod config;
#[path = "../../src/circuit_breaker/count.rs"]
mod count;
mod models;
#[path = "../../src/circuit_breaker/packed_state.rs"]
mod packed_state;
#[path = "../../src/circuit_breaker/shared_state.rs"]
mod shared_state;
#[path = "../../src/circuit_breaker/state_machine.rs"]
mod state_machine;
#[path = "../../src/circuit_breaker/trip/mod.rs"]
mod trip;

pub(crate) use self::config::OpenDuration;
pub(crate) use self::count::CallResult;
pub(crate) use self::trip::FailureRate;
pub(crate) use crate::error::{CircuitState, OpenReason};
