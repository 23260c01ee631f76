//! Each layer stands above and below what tower and tower-http have, and above
//! and below its like.

use std::time::Duration;

use tower::buffer::{Buffer, BufferLayer};
use tower::limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer, RateLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tower::util::{BoxCloneService, BoxCloneSyncService, BoxService, Either, option_layer};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};
use tower_http::timeout::TimeoutLayer as HttpTimeoutLayer;
use tower_upstream::cause_ref;

use crate::clock::in_time;
use crate::layers::{Subject, call};
use crate::upstream::{Inner, Mark, Reply, Request, Response, Upstream, request};

contracts! { every_layer_and_state:
    below_a_buffer,
    above_a_buffer,
    as_an_optional_layer,
    boxed,
    above_a_boxed_service_that_is_not_sync,
    below_a_timeout,
    above_a_timeout,
    in_nested_service_builders,
    above_another_of_its_kind,
    as_one_of_two,
    among_limits_of_tower,
    spawned_as_a_task,
}
// A half-open circuit below itself would wait for its own probe.
contracts! { every_layer: above_itself }

const TIMEOUT: Duration = Duration::from_secs(5);

/// Replies three calls in a row, each with its own reply.
async fn works<C>(mut client: C)
where
    C: Service<Request, Response = Response>,
    C::Error: Into<BoxError>,
{
    let mut last = Mark(0);
    for _ in 0..3 {
        let reply = in_time(async { client.ready().await?.call(request()).await }).await;
        let reply = reply.map_err(Into::into).expect("a reply");
        assert_eq!(reply.status(), 200);
        assert_ne!(*reply.body(), last);
        last = reply.into_body();
    }
}

async fn below_a_buffer<S: Subject>() {
    let upstream = Upstream::new();
    let client = S::new().over(upstream.inner());
    works(Buffer::new(client.clone(), 4)).await;
    works(ServiceBuilder::new().layer(BufferLayer::new(1)).service(client)).await;
}

async fn above_a_buffer<S: Subject>() {
    let upstream = Upstream::new();
    works(S::new().over(Inner::new(Buffer::new(upstream.inner(), 1)))).await;
}

async fn as_an_optional_layer<S: Subject>() {
    let upstream = Upstream::new();
    for layer in [Some(S::new().layer()), None] {
        works(option_layer(layer.clone()).layer(upstream.inner())).await;
        works(ServiceBuilder::new().option_layer(layer).service(upstream.inner())).await;
    }
}

async fn boxed<S: Subject>() {
    let upstream = Upstream::new();
    let client = S::new().over(upstream.inner());
    works(BoxCloneSyncService::new(client.clone())).await;
    works(BoxCloneService::new(client.clone())).await;
    works(BoxService::new(client.clone())).await;
    let layer = ServiceBuilder::new().layer(BoxCloneSyncService::layer()).layer(S::new().layer());
    works(layer.service(upstream.inner())).await;
}

/// Such as a client made of `BoxCloneService`s: it can be sent, but not shared.
async fn above_a_boxed_service_that_is_not_sync<S: Subject>() {
    let upstream = Upstream::new();
    let not_sync: BoxCloneService<Request, Response, BoxError> =
        BoxCloneService::new(upstream.inner());
    // The subject's own inner service is one that can be shared, hence the buffer.
    works(S::new().over(Inner::new(Buffer::new(not_sync, 1)))).await;
}

/// The call is dropped by the timeout, and the next one is served.
async fn below_a_timeout<S: Subject>() {
    let upstream = Upstream::new();
    let client = S::new().over(upstream.inner());
    let tower = TimeoutLayer::new(TIMEOUT).layer(client.clone());
    upstream.replies(Reply::Hang);
    let error = in_time(call_any(tower.clone())).await.expect_err("a timeout");
    assert!(cause_ref::<Elapsed>(&*error).is_some(), "another error: {error}");
    let status = http::StatusCode::GATEWAY_TIMEOUT;
    let http = HttpTimeoutLayer::with_status_code(status, TIMEOUT).layer(client);
    let reply = in_time(call_any(http.clone())).await.expect("a reply");
    assert_eq!(reply.status(), status);
    assert_eq!(upstream.in_flight(), 0);
    upstream.replies(Reply::Status(200));
    works(tower).await;
    works(http).await;
}

async fn call_any<C>(client: C) -> Result<Response, BoxError>
where
    C: Service<Request, Response = Response>,
    C::Error: Into<BoxError>,
{
    client.oneshot(request()).await.map_err(Into::into)
}

/// The layer sees the timeout as a failure, and passes it on.
async fn above_a_timeout<S: Subject>() {
    let upstream = Upstream::that_replies(Reply::Hang);
    let tower = TimeoutLayer::new(TIMEOUT).layer(upstream.inner());
    let error = in_time(call(S::new().over(Inner::new(tower.clone())), request()))
        .await
        .expect_err("a timeout");
    assert!(cause_ref::<Elapsed>(&*error).is_some(), "another error: {error}");
    let status = http::StatusCode::GATEWAY_TIMEOUT;
    let http = HttpTimeoutLayer::with_status_code(status, TIMEOUT).layer(upstream.inner());
    let reply = in_time(call(S::new().over(Inner::new(http.clone())), request())).await;
    assert_eq!(reply.expect("a reply").status(), status);
    assert_eq!(upstream.in_flight(), 0);
    upstream.replies(Reply::Status(200));
    works(S::new().over(Inner::new(tower))).await;
    works(S::new().over(Inner::new(http))).await;
}

async fn in_nested_service_builders<S: Subject>() {
    let upstream = Upstream::new();
    let inner = ServiceBuilder::new().layer(S::new().layer());
    let middle = ServiceBuilder::new().buffer(4).layer(inner);
    let outer = ServiceBuilder::new().timeout(TIMEOUT).layer(middle);
    works(outer.service(upstream.inner())).await;
}

async fn above_another_of_its_kind<S: Subject>() {
    let upstream = Upstream::new();
    works(S::new().over(S::new().boxed(upstream.inner()))).await;
}

async fn above_itself<S: Subject>() {
    let upstream = Upstream::new();
    let subject = S::new();
    works(subject.over(subject.boxed(upstream.inner()))).await;
}

async fn as_one_of_two<S: Subject>() {
    let upstream = Upstream::new();
    let subject = S::new();
    let left: Either<_, Inner> = Either::Left(subject.over(upstream.inner()));
    works(left).await;
    let right: Either<Inner, _> = Either::Right(subject.over(upstream.inner()));
    works(right).await;
    let either: Inner = Inner::new(Either::<_, Inner>::Left(upstream.inner()));
    works(subject.over(either)).await;
}

async fn among_limits_of_tower<S: Subject>() {
    let upstream = Upstream::new();
    let below = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(upstream.inner());
    let client = S::new().over(Inner::new(below));
    works(LoadShedLayer::new().layer(client.clone())).await;
    works(GlobalConcurrencyLimitLayer::new(1).layer(client.clone())).await;
    works(RateLimitLayer::new(1, Duration::from_secs(1)).layer(client)).await;
}

async fn spawned_as_a_task<S: Subject>() {
    let upstream = Upstream::new();
    let client = S::new().over(upstream.inner());
    let calls: Vec<_> = (0..3).map(|_| tokio::spawn(works(client.clone()))).collect();
    for call in calls {
        // A half-open circuit lets one through at a time, and is closed by it.
        in_time(call).await.expect("each is answered");
    }
    assert_eq!(upstream.calls(), 9);
}
