//! The circuit breaker as a layer, by what can be seen from outside.

#![cfg(feature = "circuit-breaker")]

use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_test::mock;
use tower_upstream::circuit_breaker::{
    CallResult, CircuitBreakerBuilder, CircuitBreakerHandle, CircuitOpen, CircuitState,
    CircuitTransition, CredentialLatch, FailureRate, OpenDuration, OpenReason,
};
use tower_upstream::classify::{Cause, Class, Verdict};
use tower_upstream::event::{Event, Observer, observer_fn};
use tower_upstream::key::KeyRef;
use tower_upstream::{BoxError, CircuitBreakerLayer, cause_ref};

mod config;
mod events;
mod half_open;
mod handle;
mod keys;
mod latch;
mod open;
mod opening;
mod peer;
mod presets;
mod readiness;
mod recovery;
mod timing;

const SECOND: Duration = Duration::from_secs(1);

/// What the upstream does with a request: its body says so.
#[derive(Debug)]
enum Reply {
    Status(u16),
    /// A status with a `Retry-After` of so many seconds.
    After(u16, u32),
    Refused,
    /// The status that is sent here.
    Later(oneshot::Receiver<u16>),
    Hangs,
}

use Reply::{After, Hangs, Later, Refused, Status};

async fn reply(request: Request<Reply>) -> Result<Response<()>, BoxError> {
    let (status, after) = match request.into_body() {
        Status(status) => (status, None),
        After(status, seconds) => (status, Some(seconds)),
        Refused => return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
        Later(status) => (status.await?, None),
        Hangs => pending().await,
    };
    let response = Response::builder().status(status);
    let response = match after {
        Some(seconds) => response.header("retry-after", seconds),
        None => response,
    };
    Ok(response.body(())?)
}

trait Upstream:
    Service<Request<Reply>, Response = Response<()>, Error = BoxError, Future: Send> + Clone + Send
{
}

impl<S> Upstream for S where
    S: Service<Request<Reply>, Response = Response<()>, Error = BoxError, Future: Send>
        + Clone
        + Send
{
}

async fn ask(client: &impl Upstream, reply: Reply) -> Result<StatusCode, BoxError> {
    Ok(client.clone().oneshot(Request::new(reply)).await?.status())
}

/// Calls, and asserts that the upstream was asked.
async fn passes(client: &impl Upstream, status: u16) {
    assert_eq!(ask(client, Status(status)).await.unwrap(), status);
}

/// Calls, and asserts that the circuit answered; when to come back.
async fn rejected(client: &impl Upstream) -> Option<Duration> {
    let error = ask(client, Status(200)).await.expect_err("the circuit should be open");
    cause_ref::<CircuitOpen>(&*error).expect("a rejection").retry_after()
}

async fn fails(client: &impl Upstream, times: usize) {
    for _ in 0..times {
        passes(client, 500).await;
    }
}

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder().consecutive_failures(3).open_for(10 * SECOND)
}

fn build(builder: CircuitBreakerBuilder) -> (impl Upstream, CircuitBreakerHandle) {
    let layer = builder.build().unwrap();
    (layer.layer(service_fn(reply)), layer.handle())
}

/// A call whose status is observed later: polled once, so that it is sent.
fn send_later(
    client: &impl Upstream,
) -> (oneshot::Sender<u16>, task::Spawn<impl Future<Output = Result<StatusCode, BoxError>>>) {
    let (status, later) = oneshot::channel();
    let client = client.clone();
    let mut call = task::spawn(async move { ask(&client, Later(later)).await });
    assert_pending!(call.poll());
    (status, call)
}

fn to(uri: &str, header: Option<(&str, &str)>, status: u16) -> Request<Reply> {
    let mut request = Request::builder().uri(uri);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    request.body(Status(status)).unwrap()
}
