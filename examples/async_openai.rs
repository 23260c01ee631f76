//! The recommended stack under `async-openai`, whose client takes a tower service for its requests.
//!
//! The client hands over a factory of requests, as its own retries need a second one. Ours keep what
//! they need of a `reqwest::Request`, so the factory is asked once. The stack takes the request itself: it
//! sees host and credential, can go to another region, and is the only retry loop.
//!
//! `cargo run --example async_openai`

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use async_openai::types::chat::{
    ChatCompletionRequestUserMessage, CreateChatCompletionRequest, CreateChatCompletionRequestArgs,
};
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json};
use axum::routing::post;
use serde_json::json;
use tower::{ServiceExt, service_fn};
use tower_upstream::alert::Alerts;
use tower_upstream::failover::{Region, Regions};
use tower_upstream::retry::RetryBuilder;
use tower_upstream::{BoxError, Quota, UpstreamLayer};

fn client(regions: &[&str]) -> Result<Client<OpenAIConfig>, BoxError> {
    let named = ["eastus", "swedencentral"].into_iter().zip(regions);
    let upstream = UpstreamLayer::builder()
        .name("openai")
        .deadline(Duration::from_secs(60))
        .attempt_timeout(Duration::from_secs(30))
        .quota(Quota::per_minute(500))
        // A completion that is made twice costs its tokens twice, but does no other harm.
        .retry(RetryBuilder::retry_non_idempotent)
        .regions(Regions::new(named.map(|(name, base)| Region::new(name, *base)))?)
        .alerts(&Alerts::builder().build()?)
        .build()?
        .over(reqwest::Client::builder().retry(reqwest::retry::never()).build()?);
    let service = service_fn(move |factory: HttpRequestFactory| {
        let upstream = upstream.clone();
        async move {
            let request = factory.build().await?;
            upstream.oneshot(request).await.map_err(OpenAIError::from)
        }
    });
    let config = OpenAIConfig::new().with_api_base(regions[0]).with_api_key("sk-test");
    Ok(Client::with_config(config).with_http_service(service))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (overloaded, well) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let regions = [
        spawn_region(StatusCode::SERVICE_UNAVAILABLE, Arc::clone(&overloaded)).await?,
        spawn_region(StatusCode::OK, Arc::clone(&well)).await?,
    ];
    let client = client(&[&regions[0], &regions[1]])?;

    let reply = client.chat().create(question()?).await?;

    let text = reply.choices[0].message.content.as_deref();
    println!("{text:?} after {overloaded:?} calls of the first region, {well:?} of the second");
    assert_eq!(text, Some("hello yourself"));
    assert_eq!((overloaded.load(Ordering::SeqCst), well.load(Ordering::SeqCst)), (1, 1));
    Ok(())
}

fn question() -> Result<CreateChatCompletionRequest, OpenAIError> {
    let hello = ChatCompletionRequestUserMessage::from("hello");
    CreateChatCompletionRequestArgs::default().model("gpt").messages([hello.into()]).build()
}

/// A region that gives every call this status.
async fn spawn_region(status: StatusCode, calls: Arc<AtomicU32>) -> Result<String, BoxError> {
    let reply = move || async move {
        calls.fetch_add(1, Ordering::SeqCst);
        let message = json!({ "role": "assistant", "content": "hello yourself" });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        let completion = json!({
            "id": "1", "object": "chat.completion", "created": 0, "model": "gpt", "choices": [choice],
        });
        (status, Json(completion)).into_response()
    };
    let app = Router::new().route("/v1/chat/completions", post(reply));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(format!("http://{address}/v1"))
}
