//! The stack over reqwest, against a server that asks for patience once.
//!
//! `reqwest::Client` is a tower service of `reqwest::Request`. Its own retries
//! are turned off: there is one retry loop, ours.
//!
//! `cargo run --example reqwest --features reqwest`

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_upstream::circuit_breaker::CircuitBreakerLayer;
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::{BoxError, Quota, RateLimitLayer, RetryLayer};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let upstream = spawn_upstream().await?;
    let http = reqwest::Client::builder()
        .retry(reqwest::retry::never())
        .timeout(Duration::from_secs(10))
        .build()?;

    let mut client = ServiceBuilder::new()
        .layer(RetryLayer::new().observer(observer_fn(|event: &Event<'_>| println!("{event}"))))
        .layer(RateLimitLayer::builder(Quota::per_minute(60)).by_credential().build())
        .layer(CircuitBreakerLayer::builder().by_authority().build()?)
        .service(http.clone());

    let request =
        http.post(&upstream).bearer_auth("sk-test").body("{\"prompt\":\"hello\"}").build()?;
    let start = Instant::now();
    let response = client.ready().await?.call(request).await?;

    println!("{} after {:?}", response.status(), start.elapsed());
    assert_eq!(response.text().await?, "hello yourself");
    assert!(start.elapsed() >= Duration::from_secs(1));
    Ok(())
}

/// A server that answers 429 with a hint, then 200.
async fn spawn_upstream() -> Result<String, BoxError> {
    let calls = Arc::new(AtomicU32::new(0));
    let app = Router::new().route(
        "/v1/messages",
        post(move || async move {
            match calls.fetch_add(1, Ordering::SeqCst) {
                0 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response(),
                _ => "hello yourself".into_response(),
            }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(format!("http://{address}/v1/messages"))
}
