use std::task::{Context, Poll};
use std::time::Duration;

use failsafe::backoff::{self, Constant};
use failsafe::failure_policy::{self, ConsecutiveFailures};
use failsafe::futures::CircuitBreaker as _;
use failsafe::{Config, StateMachine};
use futures_util::FutureExt;
use http::Request;
use recloser::{AnyError, AsyncRecloser, Recloser, RecloserFuture};
use tower::{Layer, Service};
use tower_resilience::circuitbreaker::CircuitBreakerLayer as TheirLayer;
use tower_resilience::outlier::{OutlierDetectionLayer, OutlierDetector};
use tower_upstream::CircuitBreakerLayer;
use tower_upstream::circuit_breaker::{CircuitBreakerBuilder, FailureRate};

use super::{OBSERVED, Row, no_op_observer, ours, peer};
use crate::bare::{Bare, FailsFirst};
use crate::subject::{Outcome, Serves, call};

/// Consecutive failures that open a circuit, calls in a window, and the time that a circuit stays
/// open: longer than any measurement.
const FAILURES: u32 = 5;
const WINDOW: u32 = 100;
const LONG: Duration = Duration::from_secs(86_400);

pub(super) fn rows() -> Vec<Row> {
    [
        ours(("circuit_breaker_consecutive", "5 failures in a row"), |observed| {
            built(consecutive(), observed).layer(Bare)
        }),
        ours(("circuit_breaker_rate", "half of the last 100 calls"), |observed| {
            built(rate(), observed).layer(Bare)
        }),
        ours(("circuit_breaker_by_authority", "the same, a circuit a host"), |observed| {
            built(rate().by_authority(), observed).layer(Bare)
        }),
        peer(("failsafe", "failsafe 1.3, 5 failures in a row"), || Failsafe::new(FAILURES, Bare)),
        peer(("recloser", "recloser 1.4, half of the last 100 calls"), || {
            Reclosed::new(WINDOW, Bare)
        }),
        peer(
            (
                "tower_resilience_circuit_breaker",
                "tower-resilience 0.13, half of the last 100 calls",
            ),
            || theirs().layer(Bare),
        ),
        peer(
            ("tower_resilience_outlier", "tower-resilience 0.13, 5 errors in a row, 2 instances"),
            || outlier().layer(Bare),
        ),
        open(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns rows with a circuit that one failure has opened.
fn open() -> Vec<Row> {
    let ours = |observed| {
        let builder = CircuitBreakerLayer::builder().consecutive_failures(1).open_for(LONG);
        opened(1, |inner| built(builder, observed).layer(inner))
    };
    let observed = format!("circuit_breaker_open{OBSERVED}");
    vec![
        Row::rejects(("circuit_breaker_open", "open"), move || ours(false)),
        Row::rejects((&observed, "open"), move || ours(true)),
        Row::rejects(("failsafe_open", "failsafe 1.3, open"), || {
            opened(1, |inner| Failsafe::new(1, inner))
        }),
        // It decides only once its window is full.
        Row::rejects(("recloser_open", "recloser 1.4, open"), || {
            opened(2, |inner| Reclosed::new(1, inner))
        }),
        Row::rejects(
            ("tower_resilience_circuit_breaker_open", "tower-resilience 0.13, open"),
            || {
                let builder = TheirLayer::builder().consecutive_failures(1);
                let layer = builder.wait_duration_in_open(LONG).build().expect("valid");
                opened(1, |inner| layer.layer(inner))
            },
        ),
    ]
}

fn consecutive() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder().consecutive_failures(FAILURES)
}

pub(super) fn rate() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder().failure_rate(FailureRate::over_calls(WINDOW))
}

pub(super) fn built<C, K>(
    builder: CircuitBreakerBuilder<C, K>,
    observed: bool,
) -> CircuitBreakerLayer<C, K> {
    let builder = if observed { builder.observer(no_op_observer()) } else { builder };
    builder.build().expect("a valid configuration")
}

/// Returns tower-resilience's circuit breaker with its default window.
pub(super) fn theirs() -> TheirLayer {
    let builder = TheirLayer::builder().failure_rate_threshold(0.5);
    builder.sliding_window_size(WINDOW as usize).build().expect("a valid configuration")
}

fn outlier() -> OutlierDetectionLayer {
    let detector = OutlierDetector::new();
    let instances = ["one", "other"];
    instances.iter().for_each(|instance| detector.register(*instance, FAILURES as usize));
    let builder = OutlierDetectionLayer::builder().detector(detector).error_on_ejection();
    builder.instance_name(instances[0]).build().expect("a valid configuration")
}

/// Returns the service that `make` returns, after this number of failures.
fn opened<S: Serves<()>>(failures: u32, make: impl FnOnce(FailsFirst) -> S) -> S {
    let mut service = make(FailsFirst::new(failures));
    for _ in 0..failures {
        let outcome = call(&mut service).now_or_never();
        assert_eq!(outcome, Some(Outcome::Rejected), "it fails at first");
    }
    service
}

/// failsafe as a service.
#[derive(Clone)]
struct Failsafe<S> {
    breaker: StateMachine<ConsecutiveFailures<Constant>, ()>,
    inner: S,
}

impl<S> Failsafe<S> {
    fn new(failures: u32, inner: S) -> Self {
        let policy = failure_policy::consecutive_failures(failures, backoff::constant(LONG));
        Self { breaker: Config::new().failure_policy(policy).build(), inner }
    }
}

impl<B, S: Service<Request<B>>> Service<Request<B>> for Failsafe<S> {
    type Response = S::Response;
    type Error = failsafe::Error<S::Error>;
    type Future = failsafe::futures::ResponseFuture<
        S::Future,
        ConsecutiveFailures<Constant>,
        (),
        failsafe::Any,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(failsafe::Error::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.breaker.call(self.inner.call(request))
    }
}

/// recloser as a service.
#[derive(Clone)]
struct Reclosed<S> {
    breaker: AsyncRecloser,
    inner: S,
}

impl<S> Reclosed<S> {
    fn new(window: u32, inner: S) -> Self {
        let breaker = Recloser::custom().error_rate(0.5).closed_len(window as usize);
        Self { breaker: breaker.open_wait(LONG).build().into(), inner }
    }
}

impl<B, S: Service<Request<B>>> Service<Request<B>> for Reclosed<S> {
    type Response = S::Response;
    type Error = recloser::Error<S::Error>;
    type Future = RecloserFuture<S::Future, AnyError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(recloser::Error::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.breaker.call(self.inner.call(request))
    }
}
