//! A failover over a limiter in which calls wait for their turn.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tokio::sync::Semaphore;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::failover::{FailoverHandle, FailoverLayer};
use tower_upstream::retry::RetryBuilder;
use tower_upstream::{Quota, RateLimitLayer, RetryLayer};

use super::{Host, World, get, regions};

const SECOND: Duration = Duration::from_secs(1);

/// A client that is sent one attempt per `period`, with as many at once as there are permits.
fn queueing(
    retry: RetryBuilder,
    period: Duration,
    permits: &Arc<Semaphore>,
    world: &World,
) -> (BoxCloneSyncService<Request<()>, http::Response<()>, tower::BoxError>, FailoverHandle) {
    let failover = FailoverLayer::new(regions());
    let handle = failover.handle();
    let world = world.clone();
    let client = ServiceBuilder::new()
        .layer_fn(BoxCloneSyncService::new)
        .layer(retry.max_attempts(1).build().unwrap())
        .layer(failover)
        .layer(RateLimitLayer::new(Quota::new(1, period)))
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(permits)))
        .service(service_fn(move |request| world.clone().reply(request)));
    (client, handle)
}

fn healthy(handle: &FailoverHandle) -> bool {
    handle.status().iter().all(|region| region.healthy)
}

#[tokio::test(start_paused = true)]
async fn a_timeout_in_our_own_queue_is_not_the_regions() {
    let world = World::default();
    let retry = RetryLayer::builder().attempt_timeout(2 * SECOND);
    let permits = Arc::new(Semaphore::new(1));
    let (mut client, handle) = queueing(retry, 60 * SECOND, &permits, &world);
    get(&mut client).await.unwrap();
    get(&mut client).await.unwrap_err();
    assert_eq!(world.take_called(), ["us"], "the second one was never sent");
    assert!(healthy(&handle));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_before_the_client_is_ready_is_not_the_regions() {
    let world = World::default();
    let retry = RetryLayer::builder().deadline(10 * SECOND);
    let permits = Arc::new(Semaphore::new(1));
    let (mut client, handle) = queueing(retry, SECOND, &permits, &world);
    get(&mut client).await.unwrap();
    let second = tokio::spawn(client.oneshot(Request::get("/models").body(()).unwrap()));
    // It waits for its turn now, and then for the permit.
    tokio::task::yield_now().await;
    let _held = permits.acquire().await.unwrap();
    second.await.unwrap().unwrap_err();
    assert_eq!(world.take_called(), ["us"], "the second one was never sent");
    assert!(healthy(&handle));
}

#[tokio::test(start_paused = true)]
async fn a_region_that_hangs_is_at_fault_also_after_a_queue() {
    let world = World::default();
    let retry = RetryLayer::builder().attempt_timeout(10 * SECOND);
    let permits = Arc::new(Semaphore::new(1));
    let (mut client, handle) = queueing(retry, SECOND, &permits, &world);
    get(&mut client).await.unwrap();
    world.set("us", Host::Hangs);
    get(&mut client).await.unwrap_err();
    assert_eq!(world.take_called(), ["us", "us"]);
    assert!(!healthy(&handle));
}
