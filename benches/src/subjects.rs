use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tower::retry::Policy;
use tower::retry::budget::{Budget, TpsBudget};
use tower::{BoxError, Layer, Service, ServiceBuilder};
use tower_upstream::circuit_breaker::FailureRate;
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::{CircuitBreakerLayer, Quota, RateLimitLayer, RetryLayer};

use crate::{Bare, Visit};

/// A quota that never runs out while it is measured.
const PLENTY: Quota = Quota::per_second(1_000_000_000).burst(1_000_000_000);

/// Shows every subject to `visit`.
pub fn visit_all(visit: &mut impl Visit) {
    visit.visit("bare", Bare);
    visit.visit("request_copy", Copied(Bare));

    visit.visit("retry", RetryLayer::new().layer(Bare));
    let observer = observer_fn(|event: &Event<'_>| _ = std::hint::black_box(event));
    visit.visit("retry_observed", RetryLayer::new().observer(observer).layer(Bare));

    visit.visit("circuit_breaker_consecutive", CircuitBreakerLayer::new().layer(Bare));
    visit.visit("circuit_breaker_rate", by_rate().layer(Bare));
    visit.visit("circuit_breaker_by_authority", by_authority().layer(Bare));
    visit.visit("circuit_breaker_open", open());

    visit.visit("rate_limit", RateLimitLayer::new(PLENTY).layer(Bare));
    visit.visit("rate_limit_strict", RateLimitLayer::new(strict()).layer(Bare));

    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(RateLimitLayer::new(PLENTY))
        .layer(by_rate())
        .service(Bare);
    visit.visit("stack_of_three", stack);

    visit.visit("tower_retry", tower::retry::RetryLayer::new(TowerPolicy::new()).layer(Bare));
    visit.visit("governor", Governed::new());
}

/// Strict, and wide enough for what is measured: the ring is as long as it gets.
fn strict() -> Quota {
    Quota::new(u32::MAX, Duration::from_nanos(1))
}

fn by_rate() -> CircuitBreakerLayer {
    CircuitBreakerLayer::builder()
        .failure_rate(FailureRate::over_calls(100))
        .build()
        .expect("a valid configuration")
}

fn by_authority()
-> CircuitBreakerLayer<tower_upstream::classify::HttpClassifier, tower_upstream::key::ByAuthority> {
    CircuitBreakerLayer::builder().by_authority().build().expect("a valid configuration")
}

/// A breaker whose circuit is open and stays so.
fn open() -> impl Service<Request<()>, Response = Response<()>, Error = BoxError, Future = impl Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let layer = CircuitBreakerLayer::builder()
        .consecutive_failures(1)
        .open_for(Duration::from_secs(86_400))
        .classify_fn(|_| tower_upstream::classify::Verdict::transient())
        .build()
        .expect("a valid configuration");
    let mut service = layer.layer(Bare);
    crate::call_once(&mut service);
    assert!(!crate::call_once(&mut service), "it is open");
    service
}

/// What a retry can't do without: a second copy of the request.
#[derive(Clone)]
struct Copied<S>(S);

impl<S: Service<Request<()>>> Service<Request<()>> for Copied<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> S::Future {
        std::hint::black_box(request.clone());
        self.0.call(request)
    }
}

/// tower's retry, with its budget, as its documentation shows it.
#[derive(Clone)]
struct TowerPolicy(Arc<TpsBudget>);

impl TowerPolicy {
    fn new() -> Self {
        Self(Arc::new(TpsBudget::default()))
    }
}

impl<Res, E> Policy<Request<()>, Res, E> for TowerPolicy {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Request<()>, result: &mut Result<Res, E>) -> Option<Self::Future> {
        if result.is_ok() {
            self.0.deposit();
            return None;
        }
        self.0.withdraw().then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<()>) -> Option<Request<()>> {
        Some(request.clone())
    }
}

/// governor's own check in front of the service.
#[derive(Clone)]
struct Governed {
    limiter: Arc<
        governor::DefaultDirectRateLimiter<
            governor::middleware::NoOpMiddleware<std::time::Instant>,
        >,
    >,
}

impl Governed {
    fn new() -> Self {
        let plenty = NonZeroU32::new(1_000_000_000).expect("not zero");
        let quota = governor::Quota::per_second(plenty);
        Self { limiter: Arc::new(governor::RateLimiter::direct(quota)) }
    }
}

impl Service<Request<()>> for Governed {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        std::hint::black_box(request);
        std::future::ready(match self.limiter.check() {
            Ok(()) => Ok(Response::new(())),
            Err(_) => Err("limited".into()),
        })
    }
}
