//! An axum handler that calls out through the stack.
//!
//! The client is built once and lives in the router's state; what the handler
//! replies tells its own callers what happened upstream.
//!
//! `cargo run --example axum`

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tower::ServiceExt;
use tower_upstream::Upstream;
use tower_upstream::alert::Alerts;
use tower_upstream::circuit_breaker::CircuitOpen;
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::failover::{Region, Regions};
use tower_upstream::{BoxError, Quota, UpstreamLayer, cause_ref};

/// The client, with a type that fits in a field.
type Provider = Upstream<Client<HttpConnector, Body>>;

/// Passes a request on, and says 503 with a `Retry-After` while the circuit is open.
async fn pass_on(State(provider): State<Provider>, request: Request) -> Response {
    // Its path goes below the region's base.
    match provider.oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => match cause_ref::<CircuitOpen>(&*error) {
            Some(open) => {
                let wait = open.retry_after().unwrap_or(Duration::from_secs(1)).as_secs() + 1;
                let wait = [("retry-after", wait.to_string())];
                (StatusCode::SERVICE_UNAVAILABLE, wait).into_response()
            }
            None => StatusCode::BAD_GATEWAY.into_response(),
        },
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Nobody listens here: the upstream is dead.
    let upstream = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;

    let stack = UpstreamLayer::builder()
        .name("provider")
        .deadline(Duration::from_secs(2))
        .attempt_timeout(Duration::from_secs(1))
        .quota(Quota::per_minute(60))
        .regions(Regions::new([Region::new("us-west-2", format!("http://{upstream}/v1"))])?)
        .circuit_breaker(|breaker| breaker.consecutive_failures(6))
        // With sinks, people receive of it: see the module `alert`.
        .alerts(&Alerts::builder().build()?)
        .observer(observer_fn(|event: &Event<'_>| println!("  {event}")))
        .build()?;
    let provider = stack.over(Client::builder(TokioExecutor::new()).build_http());
    let app = Router::new().route("/{*path}", any(pass_on)).with_state(provider);

    for expected in
        [StatusCode::BAD_GATEWAY, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE]
    {
        let request = Request::get("/models").body(Body::empty())?;
        let response = app.clone().oneshot(request).await?;
        println!("{} {:?}", response.status(), response.headers().get("retry-after"));
        assert_eq!(response.status(), expected);
    }
    Ok(())
}
