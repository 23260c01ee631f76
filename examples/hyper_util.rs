//! All five layers over hyper-util's client: the first of two regions is dead, and the second is
//! overloaded once.
//!
//! `cargo run --example hyper_util`

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::{Router, routing::get};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt, timeout::TimeoutLayer};
use tower_upstream::alert::{AlertLayer, Alerts};
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::failover::{FailoverLayer, Region, Regions};
use tower_upstream::{BoxError, CircuitBreakerLayer, Quota, RateLimitLayer, RetryLayer};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let regions = Regions::new([
        Region::new("us-west-2", format!("http://{}/v1", dead_region().await?)).priority(1),
        Region::new("eu-west-1", format!("http://{}/v1", spawn_region().await?)).priority(2),
    ])?;
    // With sinks, people receive of it: see the module `alert`.
    let alerts = Alerts::builder().service("example").build()?;
    let print = observer_fn(|event: &Event<'_>| println!("  {event}"));
    let watch = Arc::new((alerts.observer(), print));

    let mut client = ServiceBuilder::new()
        .layer(AlertLayer::new(&alerts))
        .layer(RetryLayer::builder().max_attempts(4).observer(Arc::clone(&watch)).build().unwrap())
        .layer(FailoverLayer::builder(regions).observer(Arc::clone(&watch)).build()?)
        .layer(RateLimitLayer::new(Quota::per_minute(60)))
        .layer(CircuitBreakerLayer::builder().by_region().observer(watch).build()?)
        .layer(TimeoutLayer::new(Duration::from_secs(10)))
        .service(Client::builder(TokioExecutor::new()).build_http());

    let request = http::Request::get("/models").body(Full::<Bytes>::default())?;
    let response = client.ready().await?.call(request).await?;

    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    println!("{status}: {}", String::from_utf8_lossy(&body));
    assert_eq!(body, "answered at call 2");
    // An alert waits a second for others. At the end of a program none will come.
    alerts.flush(Duration::from_secs(5)).await;
    let history = alerts.history();
    for alert in &history {
        println!("{}: {}, {}", alert.severity, alert.kind, alert.message);
    }
    assert!(history.iter().any(|alert| alert.region.as_deref() == Some("us-west-2")));
    Ok(())
}

/// Where nobody listens.
async fn dead_region() -> Result<SocketAddr, BoxError> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

/// A server that replies `503, 200`.
async fn spawn_region() -> Result<SocketAddr, BoxError> {
    let calls = Arc::new(AtomicU32::new(0));
    let app = Router::new().route(
        "/v1/models",
        get(move || async move {
            match calls.fetch_add(1, Ordering::SeqCst) + 1 {
                1 => (StatusCode::SERVICE_UNAVAILABLE, "overloaded".to_owned()),
                call => (StatusCode::OK, format!("answered at call {call}")),
            }
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}
