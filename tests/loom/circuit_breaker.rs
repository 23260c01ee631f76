//! What decides, and what threads share of it.

#[path = "../../src/circuit_breaker/config.rs"]
mod config;
#[path = "../../src/circuit_breaker/count.rs"]
mod count;
#[path = "../../src/circuit_breaker/inner.rs"]
mod inner;
mod models;
#[path = "../../src/circuit_breaker/open_for.rs"]
mod open_for;
#[path = "../../src/circuit_breaker/packed_state.rs"]
mod packed_state;
#[path = "../../src/circuit_breaker/reason.rs"]
mod reason;
#[path = "../../src/circuit_breaker/shared_state.rs"]
mod shared_state;
#[path = "../../src/circuit_breaker/state_machine.rs"]
mod state_machine;
#[path = "../../src/circuit_breaker/trip/mod.rs"]
mod trip;
#[path = "../../src/circuit_breaker/tripped.rs"]
mod tripped;

pub(crate) use self::count::CallResult;
pub(crate) use self::open_for::OpenDuration;
pub(crate) use self::trip::FailureRate;
pub(crate) use crate::error::{CircuitState, OpenReason};
