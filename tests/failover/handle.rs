//! A set of regions that changes while it is called.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::RetryLayer;
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::failover::{Condition, FailoverHandle, FailoverLayer, Region, ServingRegion};

use super::{Host, World, client, get, post, regions};

const SECOND: Duration = Duration::from_secs(1);

fn with_handle() -> (FailoverLayer, FailoverHandle) {
    let layer = FailoverLayer::new(regions());
    let handle = layer.handle();
    (layer, handle)
}

#[tokio::test(start_paused = true)]
async fn regions_are_added_removed_and_given_other_priorities() {
    let world = World::default();
    let (layer, handle) = with_handle();
    let mut client = client(layer, &world);
    handle.add(Region::new("sa-east-1", "https://sa/v1").priority(0)).unwrap();
    get(&mut client).await.unwrap();
    handle.prioritise("eu-west-1", 0).unwrap();
    handle.remove("sa-east-1").unwrap();
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["sa", "eu"]);
    let names: Vec<_> = handle.status().iter().map(|region| region.name).collect();
    assert_eq!(names, ["us-west-2", "eu-west-1", "ap-southeast-1"]);
    assert_eq!(handle.status()[1].priority, 0);
}

#[tokio::test(start_paused = true)]
async fn a_region_that_comes_back_has_its_state_still() {
    let world = World::default();
    let (layer, handle) = with_handle();
    let mut client = client(layer, &world);
    world.set("us", Host::AsksFor(503, "100"));
    get(&mut client).await.unwrap();
    handle.remove("us-west-2").unwrap();
    handle.add(Region::new("us-west-2", "https://us/v1").priority(1)).unwrap();
    assert_eq!(handle.status()[0].condition, Condition::Out);
    // Elsewhere it is another one.
    handle.remove("us-west-2").unwrap();
    handle.add(Region::new("us-west-2", "https://us2/v1").priority(1)).unwrap();
    assert_eq!(handle.status()[2].condition, Condition::Fit);
    world.take_called();
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["us2"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_remembers_where_it_was_when_the_set_changes() {
    for retried in [false, true] {
        let world = World::default();
        let (layer, handle) = with_handle();
        world.set("us", Host::TakesAndReplies(SECOND, 500));
        let request = Request::get("/models").body(()).unwrap();
        let call = if retried {
            let retry = ServiceBuilder::new().layer(RetryLayer::new());
            tokio::spawn(client(retry.layer(layer).into_inner(), &world).call(request))
        } else {
            tokio::spawn(client(layer, &world).call(request))
        };
        tokio::time::sleep(SECOND / 2).await;
        handle.remove("eu-west-1").unwrap();
        handle.prioritise("us-west-2", 0).unwrap();
        handle.add(Region::new("sa-east-1", "https://sa/v1").priority(1)).unwrap();
        handle.add(Region::new("ca-west-1", "https://ca/v1").priority(9)).unwrap();
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
        assert_eq!(world.take_called(), ["us", "sa"], "retried: {retried}");
    }
}

#[tokio::test(start_paused = true)]
async fn forced_out_it_takes_no_call_and_drained_none_while_there_is_another() {
    let world = World::default();
    let (layer, handle) = with_handle();
    let mut client = client(layer, &world);
    handle.force_out("us-west-2").unwrap();
    handle.drain("eu-west-1").unwrap();
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["ap"]);
    world.set("ap", Host::Refuses);
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["ap", "eu"]);
    world.set("eu", Host::Refuses);
    get(&mut client).await.unwrap_err();
    assert!(world.take_called().iter().all(|host| host != "us"));
    let conditions: Vec<_> = handle.status().iter().map(|region| region.condition).collect();
    assert_eq!(conditions, [Condition::ForcedOut, Condition::Drained, Condition::Out]);

    handle.release("us-west-2").unwrap();
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["us"]);
}

#[tokio::test(start_paused = true)]
async fn forced_in_it_takes_calls_whatever_is_found() {
    let world = World::default();
    let (layer, handle) = with_handle();
    let mut client = client(layer, &world);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    handle.force_in("us-west-2").unwrap();
    assert_eq!(handle.status()[0].condition, Condition::ForcedIn);
    world.take_called();
    for _ in 0..2 {
        get(&mut client).await.unwrap();
    }
    assert_eq!(world.take_called(), ["us", "eu", "us", "eu"]);
    handle.release("us-west-2").unwrap();
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["eu"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_one_is_never_taken_out() {
    let (_, handle) = with_handle();
    handle.force_out("us-west-2").unwrap();
    handle.remove("eu-west-1").unwrap();
    for refused in [handle.force_out("ap-southeast-1"), handle.remove("ap-southeast-1")] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("last region"), "{refused}");
    }
    handle.release("us-west-2").unwrap();
    handle.remove("ap-southeast-1").unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused() {
    let (_, handle) = with_handle();
    for refused in [
        handle.add(Region::new("us-west-2", "https://other/v1")),
        handle.add(Region::new("new", "nowhere")),
        handle.remove("nobody"),
        handle.prioritise("nobody", 1),
        handle.force_in("nobody"),
        handle.force_out("nobody"),
        handle.drain("nobody"),
        handle.release("nobody"),
    ] {
        refused.unwrap_err();
    }
    let many = (0..2_000).map(|n| handle.add(Region::new(format!("r{n}"), "https://r")));
    assert_eq!(many.filter(Result::is_ok).count(), 1_024);
}

#[tokio::test(start_paused = true)]
async fn the_status_counts_what_is_sent_and_what_is_under_way() {
    let world = World::default();
    let (layer, handle) = with_handle();
    let mut client = client(layer, &world);
    world.set("us", Host::Takes(SECOND));
    get(&mut client).await.unwrap();
    let start = tokio::time::Instant::now();
    let calls: Vec<_> = (0..2).map(|_| client.call(Request::get("/").body(()).unwrap())).collect();
    let status = &handle.status()[0];
    assert_eq!((status.attempts, status.under_way), (3, 2));
    assert_eq!(status.latency, Some(SECOND));
    drop(calls);
    assert_eq!(handle.status()[0].under_way, 0);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    let status = &handle.status()[0];
    assert_eq!((status.attempts, status.under_way, status.since), (4, 0, start));
}

#[tokio::test(start_paused = true)]
async fn a_region_is_added_with_its_client() {
    let named = |name: &'static str| {
        service_fn(move |_: Request<()>| async move {
            let mut response = Response::new(());
            response.extensions_mut().insert(ServingRegion(name));
            Ok::<_, BoxError>(response)
        })
    };
    let (layer, handle) = with_handle();
    let services = layer.services(|region| named(region.name()));
    // A region that has no client isn't called.
    handle.add(Region::new("nobody", "https://nobody/v1").priority(0)).unwrap();
    services
        .add(Region::new("sa-east-1", "https://sa/v1").priority(0), &named("sa-east-1"))
        .unwrap();
    let reply = services.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!(reply.extensions().get(), Some(&ServingRegion("sa-east-1")));
    handle.remove("sa-east-1").unwrap();
    let reply = services.oneshot(Request::new(())).await.unwrap();
    assert_eq!(reply.extensions().get(), Some(&ServingRegion("us-west-2")));
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_of_a_region_that_is_added_counts() {
    let world = World::default();
    let (layer, handle) = with_handle();
    let mut client = client(layer, &world);
    tokio::time::advance(SECOND).await;
    handle.add(Region::new("sa-east-1", "https://sa/v1").priority(0)).unwrap();
    world.set("sa", Host::Refuses);
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["sa", "us"]);
    assert_eq!(handle.status()[3].condition, Condition::Out);
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["us"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_notified_of_a_region_that_is_removed() {
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = Arc::clone(&events);
    let observer =
        observer_fn(move |event: &Event<'_>| hears.lock().unwrap().push(event.to_string()));
    let world = World::default();
    let layer = FailoverLayer::builder(regions()).observer(observer).build().unwrap();
    let handle = layer.handle();
    let mut client = client(layer, &world);
    world.set("us", Host::TakesAndReplies(SECOND, 500));
    let late = client.call(Request::post("/").body(()).unwrap());
    handle.remove("us-west-2").unwrap();
    late.await.unwrap();
    handle.reset();
    assert_eq!(*events.lock().unwrap(), ["upstream: region us-west-2 removed"]);
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_forced_in_is_notified_back_as_it_was_notified_lost() {
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = Arc::clone(&events);
    let observer =
        observer_fn(move |event: &Event<'_>| hears.lock().unwrap().push(event.to_string()));
    let world = World::default();
    let layer = FailoverLayer::builder(regions()).ramp(SECOND).observer(observer).build().unwrap();
    let handle = layer.handle();
    let mut client = client(layer, &world);
    handle.force_in("us-west-2").unwrap();
    // Some of its calls fail; there isn't an event for each of them.
    for status in [500, 200, 500, 200, 200] {
        world.set("us", Host::Replies(status));
        post(&mut client).await.unwrap();
    }
    for _ in 0..3 {
        tokio::time::sleep(11 * SECOND).await;
        post(&mut client).await.unwrap();
    }
    assert_eq!(
        *events.lock().unwrap(),
        [
            "upstream: region us-west-2 out for 10.0s: status 500",
            "upstream: region us-west-2 healthy",
        ]
    );
    // What its calls showed while it was forced in counts once it is released.
    handle.release("us-west-2").unwrap();
    assert_eq!(handle.status()[0].condition, Condition::Fit);
}
