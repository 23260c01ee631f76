//! All five layers stacked by hand, and the closest stack of a peer.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::retry::Retry as TowerRetry;
use tower::timeout::Timeout;
use tower::{Layer, ServiceBuilder};
use tower_resilience::fallback::FallbackLayer;
use tower_upstream::alert::AlertService;
use tower_upstream::circuit_breaker::CircuitBreaker;
use tower_upstream::classify::HttpClassifier;
use tower_upstream::failover::Failover;
use tower_upstream::key::ByRegion;
use tower_upstream::rate_limit::RateLimit;
use tower_upstream::replay::NoReplay;
use tower_upstream::retry::Retry;

use super::failover::REGIONS;
use super::retry::TowerPolicy;
use super::{Row, alert, circuit_breaker, failover, ours, rate_limit, retry, typed};
use crate::bare::Bare;
use crate::content::Content;
use crate::subject::Serves;

/// Alert, retry with budget, failover, rate limit, and a circuit per region with a failure rate, in
/// the order of `UpstreamLayer` but without its timeouts.
pub type Stack<S> = AlertService<
    Retry<
        Failover<RateLimit<CircuitBreaker<S, HttpClassifier, ByRegion>>, HttpClassifier, NoReplay>,
    >,
    HttpClassifier,
>;

/// tower's own layers in a typical order.
pub type TowerStack<S> = TowerRetry<TowerPolicy, Timeout<LoadShed<ConcurrencyLimit<S>>>>;

pub(super) fn rows() -> Vec<Row> {
    let about = "alert, retry, failover (3), limit, a breaker a region (rate)";
    let theirs_is = "tower-resilience 0.13: fallback, breaker (100), retry (bucket), limiter";
    let mut rows = ours(("stack", about), |observed| stack(Bare, &REGIONS, observed));
    rows.extend(typed(("tower_resilience_stack", theirs_is), theirs::<()>, theirs::<Bytes>));
    rows
}

/// Returns the stack over regions with these bases.
pub fn stack<S: Clone>(inner: S, regions: &[&str], observed: bool) -> Stack<S> {
    let failover = failover::builder(regions, observed).replay(NoReplay);
    ServiceBuilder::new()
        .layer(alert::layer(observed))
        .layer(retry::layer(observed))
        .layer(failover.build().expect("a valid configuration"))
        .layer(rate_limit::layer(observed))
        .layer(circuit_breaker::built(circuit_breaker::rate().by_region(), observed))
        .service(inner)
}

/// Returns tower's retry, timeout, load shed and concurrency limit.
pub fn tower_stack<S>(inner: S) -> TowerStack<S> {
    ServiceBuilder::new()
        .layer(retry::tower())
        .timeout(Duration::from_secs(30))
        .load_shed()
        .concurrency_limit(100)
        .service(inner)
}

fn theirs<B: Content + Clone + Sync>() -> impl Serves<B> {
    let limited = rate_limit::theirs().layer(Bare);
    let retried = retry::theirs::<B, _>(limited);
    let broken = circuit_breaker::theirs().layer(retried);
    let fallback = FallbackLayer::<Request<B>, _, _>::service(|_| async { Ok(Response::new(())) });
    fallback.layer(broken)
}
