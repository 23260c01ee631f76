//! What one request asks for, where no retry stands above.

use std::time::Duration;

use http::Request;
use tokio::time::Instant;
use tower::{Service, ServiceExt};
use tower_upstream::cause_ref;
use tower_upstream::failover::{FailoverLayer, NoRegionAvailable, WhenAllOut};
use tower_upstream::replay::{NoReplay, Override};

use super::{Host, World, client, get, regions};

const SECOND: Duration = Duration::from_secs(1);

fn asking(asks: Override) -> Request<()> {
    Request::get("/models").extension(asks).body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_request_may_ask_for_fewer_regions() {
    for (asks, called) in [
        (Override::new(), &["us", "eu", "ap"][..]),
        (Override::new().max_attempts(2), &["us", "eu"]),
        (Override::new().max_attempts(9), &["us", "eu", "ap"]),
        (Override::new().max_attempts(0), &["us"]),
        (Override::new().no_retry(), &["us"]),
    ] {
        let world = World::default();
        let client = client(FailoverLayer::new(regions()), &world);
        for host in ["us", "eu", "ap"] {
            world.set(host, Host::Replies(500));
        }
        assert_eq!(client.oneshot(asking(asks)).await.unwrap().status(), 500);
        assert_eq!(world.take_called(), called, "{asks:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_nothing_kept_only_the_next_call_goes_elsewhere() {
    let world = World::default();
    let layer = FailoverLayer::builder(regions()).replay(NoReplay).build().unwrap();
    let mut client = client(layer, &world);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap_err();
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["us", "eu"]);
}

#[tokio::test(start_paused = true)]
async fn past_a_requests_deadline_no_other_region_is_tried() {
    for (takes, called) in [(SECOND, &["us", "eu"][..]), (3 * SECOND, &["us"])] {
        let world = World::default();
        let client = client(FailoverLayer::new(regions()), &world);
        world.set("us", Host::TakesAndReplies(takes, 500));
        let request = asking(Override::new().deadline(2 * SECOND));
        client.oneshot(request).await.unwrap();
        assert_eq!(world.take_called(), called);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_wait_for_a_region_past_its_deadline() {
    let world = World::default();
    let layer = FailoverLayer::builder(regions()).when_all_out(WhenAllOut::Wait).build().unwrap();
    let mut client = client(layer, &world);
    for host in ["us", "eu", "ap"] {
        world.set(host, Host::Refuses);
    }
    get(&mut client).await.unwrap_err();
    let start = Instant::now();
    let request = asking(Override::new().deadline(SECOND));
    let error = client.ready().await.unwrap().call(request).await.unwrap_err();
    assert!(cause_ref::<NoRegionAvailable>(&*error).is_some());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_the_end_of_a_trial_waits_no_longer_than_its_deadline() {
    let world = World::default();
    let layer = FailoverLayer::builder(regions()).when_all_out(WhenAllOut::Wait).build().unwrap();
    let handle = layer.handle();
    for others in ["eu-west-1", "ap-southeast-1"] {
        handle.remove(others).unwrap();
    }
    let mut client = client(layer, &world);
    world.set("us", Host::Takes(SECOND));
    get(&mut client).await.unwrap();
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap_err();
    world.set("us", Host::Hangs);
    tokio::time::sleep(11 * SECOND).await;
    let hangs = tokio::spawn(client.call(asking(Override::new())));
    let start = Instant::now();
    let request = asking(Override::new().deadline(2 * SECOND));
    let error = client.ready().await.unwrap().call(request).await.unwrap_err();
    assert!(cause_ref::<NoRegionAvailable>(&*error).is_some());
    assert!(start.elapsed() <= 2 * SECOND, "{:?}", start.elapsed());
    hangs.abort();
}
