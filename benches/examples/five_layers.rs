//! A program with all five layers, whose compile time `scripts/compile-time` measures.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::timeout::TimeoutLayer;
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_upstream::circuit_breaker::FailureRate;
use tower_upstream::failover::{Region, Regions};
use tower_upstream::{
    Alerts, CircuitBreakerLayer, FailoverLayer, Quota, RateLimitLayer, RetryLayer,
};

fn main() -> Result<(), BoxError> {
    let regions = Regions::new([
        Region::new("us", "http://127.0.0.1:1").priority(1),
        Region::new("eu", "http://127.0.0.2:1").priority(2),
    ])?;
    let circuits = CircuitBreakerLayer::builder()
        .failure_rate(FailureRate::over_calls(100))
        .by_authority()
        .build()?;
    let client = ServiceBuilder::new()
        .layer(Alerts::builder().build()?.layer())
        .layer(RetryLayer::new().max_attempts(2).deadline(Duration::from_secs(5)))
        .layer(FailoverLayer::new(regions))
        .layer(RateLimitLayer::new(Quota::per_minute(60)))
        .layer(circuits)
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .service(Client::builder(TokioExecutor::new()).build_http());
    let request = http::Request::get("/models").body(Full::<Bytes>::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(client.oneshot(request)) {
        Ok(answer) => println!("{}", answer.status()),
        Err(error) => println!("{error}"),
    }
    Ok(())
}
