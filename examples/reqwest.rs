//! The recommended stack over reqwest, against a server that asks for patience once.
//!
//! `reqwest::Client` is a tower service of `reqwest::Request`. Its own retries
//! are turned off: there is one retry loop, ours.
//!
//! `cargo run --example reqwest`

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use tower::{Service, ServiceExt};
use tower_upstream::Upstream;
use tower_upstream::alert::Alerts;
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::failover::{Region, Regions};
use tower_upstream::{BoxError, Quota, UpstreamLayer};

/// A provider's client, with a type that fits in a field.
struct Provider {
    http: reqwest::Client,
    upstream: Upstream<reqwest::Client>,
}

impl Provider {
    fn new(base: &str) -> Result<Self, BoxError> {
        let http = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
        let upstream = UpstreamLayer::builder()
            .name("provider")
            .deadline(Duration::from_secs(60))
            .attempt_timeout(Duration::from_secs(10))
            .quota(Quota::per_minute(60))
            .regions(Regions::new([Region::new("us-west-2", base)])?)
            // With sinks, people receive of it: see the module `alert`.
            .alerts(&Alerts::builder().build()?)
            .observer(observer_fn(|event: &Event<'_>| println!("  {event}")))
            .build()?;
        Ok(Self { upstream: upstream.over(http.clone()), http })
    }

    async fn ask(&mut self, base: &str, prompt: &str) -> Result<String, BoxError> {
        let request = self.http.post(format!("{base}/messages")).bearer_auth("sk-test");
        let request = request.body(format!("{{\"prompt\":\"{prompt}\"}}")).build()?;
        let reply = self.upstream.ready().await?.call(request).await?;
        Ok(reply.error_for_status()?.text().await?)
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let base = spawn_upstream().await?;
    let mut provider = Provider::new(&base)?;

    let start = Instant::now();
    let reply = provider.ask(&base, "hello").await?;

    println!("{reply:?} after {:?}", start.elapsed());
    assert_eq!(reply, "hello yourself");
    assert!(start.elapsed() >= Duration::from_secs(1));
    Ok(())
}

/// A server that replies 429 with a hint, then 200.
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
    Ok(format!("http://{address}/v1"))
}
