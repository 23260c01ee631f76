//! A batch of prompts at once, each with its own result or error.
//!
//! Tower's concurrency limit bounds how many are in flight. It stands inside the retry, so that a
//! permit is held for an attempt, but not while a call waits for its next one.
//!
//! `cargo run --example batch`

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::{Router, routing::post};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{ServiceBuilder, ServiceExt, timeout::TimeoutLayer};
use tower_upstream::{BoxError, RetryLayer};

/// How many prompts the upstream works on at once. One more is answered 503.
const PLACES: u32 = 8;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let upstream = spawn_upstream().await?;

    let client = ServiceBuilder::new()
        .layer(RetryLayer::builder().deadline(Duration::from_secs(10)).build().unwrap())
        .layer(GlobalConcurrencyLimitLayer::new(PLACES as usize))
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());

    let prompts: Vec<String> = (1..=40).map(|number| format!("prompt {number}")).collect();
    let reply = async |prompt: &String| {
        let request = http::Request::post(&upstream)
            .header("idempotency-key", prompt)
            .body(Full::from(prompt.clone()))?;
        let response = client.clone().oneshot(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let said = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            Ok(said)
        } else {
            Err(BoxError::from(format!("{status}: {said}")))
        }
    };
    let replies = join_all(prompts.iter().map(reply)).await;

    for (prompt, reply) in prompts.iter().zip(&replies) {
        match reply {
            Ok(said) => println!("{prompt}: {said}"),
            Err(error) => println!("{prompt}: FAILED, {error}"),
        }
    }
    // The upstream refuses every tenth prompt. The others succeed all the same.
    let answered = replies.iter().filter(|reply| reply.is_ok()).count();
    println!("{answered} of {} prompts were answered", prompts.len());
    assert_eq!(answered, 36);
    Ok(())
}

/// A server that is a little slow, has few places, and refuses a prompt that ends in 0.
async fn spawn_upstream() -> Result<String, BoxError> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let complete = async |prompt: String| {
        if TAKEN.fetch_add(1, Ordering::SeqCst) >= PLACES {
            TAKEN.fetch_sub(1, Ordering::SeqCst);
            return (StatusCode::SERVICE_UNAVAILABLE, "overloaded".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        TAKEN.fetch_sub(1, Ordering::SeqCst);
        if prompt.ends_with('0') {
            return (StatusCode::UNPROCESSABLE_ENTITY, "not such a prompt".to_owned());
        }
        (StatusCode::OK, prompt.to_uppercase())
    };
    let app = Router::new().route("/", post(complete));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(format!("http://{address}/"))
}
