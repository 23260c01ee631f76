//! What decides, and what threads share of it.

#[path = "../../src/circuit_breaker/count.rs"]
mod count;
#[path = "../../src/circuit_breaker/gate.rs"]
mod gate;
#[path = "../../src/circuit_breaker/inner.rs"]
mod inner;
#[path = "../../src/circuit_breaker/machine.rs"]
mod machine;
mod models;
#[path = "../../src/circuit_breaker/open_for.rs"]
mod open_for;
#[path = "../../src/circuit_breaker/reason.rs"]
mod reason;
#[path = "../../src/circuit_breaker/rules.rs"]
mod rules;
#[path = "../../src/circuit_breaker/trip/mod.rs"]
mod trip;
#[path = "../../src/circuit_breaker/tripped.rs"]
mod tripped;
#[path = "../../src/circuit_breaker/word.rs"]
mod word;

pub(crate) use self::count::Count;
pub(crate) use self::open_for::OpenFor;
pub(crate) use self::trip::FailureRate;
pub(crate) use crate::error::{CircuitState, OpenReason};
