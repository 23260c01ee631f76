//! The contracts that every layer keeps.
//!
//! Each contract is written once, for any [`Subject`](layers::Subject), and run
//! for every layer: `cargo test --all-features --test contract` has a line for
//! each pair, `readiness::never_calls_an_unready_service::retry ... ok`.
//!
//! A new layer is a file in `layers/` that says how to build and observe it, and
//! one line in each list below that it belongs to.
#![cfg(all(
    feature = "retry",
    feature = "circuit-breaker",
    feature = "rate-limit",
    feature = "failover",
    feature = "alert",
    feature = "peek"
))]
// A contract is `async` whether or not it waits: they are all run alike.
#![allow(clippy::unused_async)]

/// Runs contracts for every layer of a list.
///
/// A contract is an `async fn name<S: Subject>()`; the tests are in a module of its name.
macro_rules! contracts {
    ($list:ident: $($contract:ident),+ $(,)?) => {
        $($list! { $contract })+
    };
}

/// Every layer, healthy: a call goes straight to the inner service.
macro_rules! every_layer {
    ($contract:ident $($state:tt)*) => {
        layers_over_anything! { $contract
            peek => Peek,
            $($state)*
        }
    };
}

/// Those that go over every service, HTTP or not, and have an observer.
macro_rules! layers_over_anything {
    ($contract:ident $($state:tt)*) => {
        tests! { $contract:
            retry => Retry,
            circuit_breaker => CircuitBreaker,
            circuit_breaker_by_authority => CircuitBreakerByAuthority,
            rate_limit => RateLimit,
            rate_limit_rejecting => RateLimitRejecting,
            rate_limit_by_credential => RateLimitByCredential,
            failover => Failover,
            alert => Alert,
            $($state)*
        }
    };
}

/// Those that don't send a call elsewhere. A failover does: it changes a request's
/// target, and says in the error which regions were tried.
macro_rules! layers_that_stay {
    ($contract:ident) => {
        tests! { $contract:
            retry => Retry,
            circuit_breaker => CircuitBreaker,
            circuit_breaker_by_authority => CircuitBreakerByAuthority,
            rate_limit => RateLimit,
            rate_limit_rejecting => RateLimitRejecting,
            rate_limit_by_credential => RateLimitByCredential,
            alert => Alert,
            peek => Peek,
        }
    };
}

/// Those whose replies change when they are used up. A failover then replies from another
/// region, and an alert layer tells others than the caller.
macro_rules! layers_that_show_it {
    ($contract:ident) => {
        tests! { $contract:
            retry => Retry,
            circuit_breaker => CircuitBreaker,
            circuit_breaker_by_authority => CircuitBreakerByAuthority,
            rate_limit => RateLimit,
            rate_limit_rejecting => RateLimitRejecting,
            rate_limit_by_credential => RateLimitByCredential,
        }
    };
}

/// Every layer, and those states of one in which a call takes another way in.
macro_rules! every_layer_and_state {
    ($contract:ident) => {
        every_layer! { $contract
            circuit_breaker_half_open => CircuitBreakerHalfOpen,
        }
    };
}

/// The same of those that go over every service.
macro_rules! layers_and_states_over_anything {
    ($contract:ident) => {
        layers_over_anything! { $contract
            circuit_breaker_half_open => CircuitBreakerHalfOpen,
        }
    };
}

/// Those that can make a call wait before it is sent, or sent again.
macro_rules! layers_that_wait {
    ($contract:ident) => {
        tests! { $contract:
            retry => Retry,
            rate_limit => RateLimit,
            rate_limit_by_credential => RateLimitByCredential,
        }
    };
}

/// Those that can turn a call away.
macro_rules! layers_that_reject {
    ($contract:ident) => {
        tests! { $contract:
            circuit_breaker => CircuitBreaker,
            circuit_breaker_by_authority => CircuitBreakerByAuthority,
            rate_limit_rejecting => RateLimitRejecting,
        }
    };
}

/// Those that turn calls away without asking the inner service whether it is ready.
macro_rules! circuits {
    ($contract:ident) => {
        tests! { $contract:
            circuit_breaker => CircuitBreaker,
            circuit_breaker_by_authority => CircuitBreakerByAuthority,
        }
    };
}

/// Those that spend something for every call that is sent.
macro_rules! layers_with_a_quota {
    ($contract:ident) => {
        tests! { $contract:
            rate_limit => RateLimit,
            rate_limit_by_credential => RateLimitByCredential,
        }
    };
}

/// Those that keep a state for each key.
macro_rules! layers_with_keys {
    ($contract:ident) => {
        tests! { $contract:
            circuit_breaker_by_authority => CircuitBreakerByAuthority,
            rate_limit_by_credential => RateLimitByCredential,
        }
    };
}

/// The tests of one contract.
macro_rules! tests {
    ($contract:ident: $($name:ident => $subject:ident,)+) => {
        mod $contract {
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    super::$contract::<$crate::layers::$subject>().await;
                }
            )+
        }
    };
}

mod cancellation;
mod clock;
mod composition;
mod deadlines;
mod errors;
mod extremes;
mod keys;
mod late_results;
mod layers;
mod observers;
mod readiness;
mod state;
mod transparency;
mod types;
mod upstream;
