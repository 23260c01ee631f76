//! The stack over hyper-util's client, against a server that is overloaded twice.
//!
//! `cargo run --example hyper_util --features hyper-util`

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::{Router, routing::get};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{Service, ServiceBuilder, ServiceExt, timeout::TimeoutLayer};
use tower_upstream::{BoxError, CircuitBreakerLayer, Quota, RateLimitLayer, RetryLayer};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let upstream = spawn_upstream().await?;

    let mut client = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(RateLimitLayer::new(Quota::per_minute(60)))
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(10)))
        .service(Client::builder(TokioExecutor::new()).build_http());

    let request = http::Request::get(&upstream).body(Full::<Bytes>::default())?;
    let response = client.ready().await?.call(request).await?;

    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    println!("{status}: {}", String::from_utf8_lossy(&body));
    assert_eq!(body, "answered at attempt 3");
    Ok(())
}

/// A server that answers `503, 503, 200`.
async fn spawn_upstream() -> Result<String, BoxError> {
    let calls = Arc::new(AtomicU32::new(0));
    let app = Router::new().route(
        "/",
        get(move || async move {
            match calls.fetch_add(1, Ordering::SeqCst) + 1 {
                1 | 2 => (StatusCode::SERVICE_UNAVAILABLE, "overloaded".to_owned()),
                call => (StatusCode::OK, format!("answered at attempt {call}")),
            }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(format!("http://{address}/"))
}
