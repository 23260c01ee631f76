//! An axum handler that calls out through the stack.
//!
//! The client is built once and lives in the router's state; what the handler
//! answers tells its own callers what happened upstream.
//!
//! `cargo run --example axum --features axum`

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::any};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, timeout::TimeoutLayer};
use tower_upstream::circuit_breaker::{CircuitBreakerLayer, CircuitOpen};
use tower_upstream::{BoxError, RetryLayer, cause_ref};

/// A client that fits in a struct field.
type Upstream = BoxCloneSyncService<Request, Response, BoxError>;

#[derive(Clone)]
struct App {
    client: Upstream,
    upstream: std::net::SocketAddr,
}

/// Passes a request on, and says 503 with a `Retry-After` while the circuit is open.
async fn pass_on(State(app): State<App>, mut request: Request) -> Response {
    let path = request.uri().path().to_owned();
    *request.uri_mut() = match Uri::builder()
        .scheme("http")
        .authority(app.upstream.to_string())
        .path_and_query(path)
        .build()
    {
        Ok(uri) => uri,
        Err(_) => return StatusCode::BAD_REQUEST.into_response(),
    };
    match app.client.oneshot(request).await {
        Ok(response) => response,
        Err(error) => match cause_ref::<CircuitOpen>(&*error) {
            Some(open) => {
                let wait = open.retry_after().unwrap_or(Duration::from_secs(1)).as_secs() + 1;
                (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", wait.to_string())])
                    .into_response()
            }
            None => StatusCode::BAD_GATEWAY.into_response(),
        },
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Nobody listens here: the upstream is dead.
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await?.local_addr()?;

    let client = ServiceBuilder::new()
        .layer(RetryLayer::new().deadline(Duration::from_secs(2)))
        .layer(CircuitBreakerLayer::builder().consecutive_failures(6).build()?)
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .map_response(|response: http::Response<hyper::body::Incoming>| response.map(Body::new))
        .service(Client::builder(TokioExecutor::new()).build_http::<Body>());
    let client = BoxCloneSyncService::new(client);
    let app = Router::new().route("/{*path}", any(pass_on)).with_state(App { client, upstream });

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
