//! How a region is lost, and comes back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::{FutureExt, join_all};
use http::{Request, Response, StatusCode};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::RetryLayer;
use tower_upstream::classify::{Cause, Verdict};
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::failover::{Condition, FailoverHandle, FailoverLayer};

use super::{Host, World, client, get, regions};

const SECOND: Duration = Duration::from_secs(1);

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

fn condition(handle: &FailoverHandle) -> Condition {
    handle.status()[0].condition
}

#[tokio::test(start_paused = true)]
async fn a_success_that_comes_late_brings_no_region_back() {
    let world = World::default();
    let mut client = client(FailoverLayer::new(regions()), &world);
    world.set("us", Host::Takes(5 * SECOND));
    let slow = client.ready().await.unwrap().call(Request::get("/").body(()).unwrap());
    let slow = tokio::spawn(slow);
    pass(SECOND).await;
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    world.take_called();
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["eu"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_lost_while_a_region_that_cools_down_would_serve_it() {
    let world = World::default();
    let mut client = client(FailoverLayer::new(regions()), &world);
    for host in ["us", "eu"] {
        world.set(host, Host::Refuses);
    }
    get(&mut client).await.unwrap();
    // Two have recovered, of which nobody knows yet, and the third one dies.
    world.set("eu", Host::Replies(200));
    world.set("ap", Host::Refuses);
    assert_eq!(get(&mut client).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn probing_it_takes_one_call_at_a_time() {
    let world = World::default();
    let layer = FailoverLayer::builder(regions()).good_calls(2).ramp(Duration::ZERO).build();
    let layer = layer.unwrap();
    let handle = layer.handle();
    let mut client = client(layer, &world);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    assert_eq!(condition(&handle), Condition::Out);
    pass(11 * SECOND).await;
    world.set("us", Host::Takes(SECOND));
    world.take_called();
    for _ in 0..2 {
        assert_eq!(condition(&handle), Condition::Probing);
        let mut calls = Vec::new();
        for _ in 0..10 {
            calls.push(client.ready().await.unwrap().call(Request::get("/").body(()).unwrap()));
        }
        join_all(calls).await;
        let called = world.take_called();
        assert_eq!(called.iter().filter(|host| *host == "us").count(), 1, "{called:?}");
    }
    assert_eq!(condition(&handle), Condition::Fit);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_probing_releases_its_slot() {
    let world = World::default();
    let mut client = client(FailoverLayer::new(regions()), &world);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    pass(11 * SECOND).await;
    world.set("us", Host::Hangs);
    world.take_called();
    let mut call = client.ready().await.unwrap().call(Request::get("/").body(()).unwrap()).boxed();
    assert!((&mut call).now_or_never().is_none());
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["us", "eu"]);
    drop(call);
    world.set("us", Host::Replies(200));
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["us"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_probing_keeps_others_away_for_a_cooldown() {
    let world = World::default();
    let mut client = client(FailoverLayer::new(regions()), &world);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    pass(11 * SECOND).await;
    world.set("us", Host::Hangs);
    let call = client.ready().await.unwrap().call(Request::get("/").body(()).unwrap());
    let hangs = tokio::spawn(call);
    pass(9 * SECOND).await;
    world.set("us", Host::Replies(200));
    world.take_called();
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["eu"]);
    pass(2 * SECOND).await;
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["us"]);
    hangs.abort();
}

#[tokio::test(start_paused = true)]
async fn its_share_grows_while_it_comes_back() {
    let world = World::default();
    let layer = FailoverLayer::builder(regions()).ramp(100 * SECOND).seed(7).build().unwrap();
    let handle = layer.handle();
    let mut client = client(layer, &world);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    world.set("us", Host::Replies(200));
    pass(11 * SECOND).await;
    get(&mut client).await.unwrap();
    for (after, share) in [(0, 0.1), (50, 0.5), (40, 0.9)] {
        pass(after * SECOND).await;
        assert_eq!(condition(&handle), Condition::Ramping);
        world.take_called();
        for _ in 0..1_000 {
            get(&mut client).await.unwrap();
        }
        let called = world.take_called();
        let took = called.iter().filter(|host| *host == "us").count();
        let took = f64::from(u32::try_from(took).unwrap()) / 1_000.0;
        assert!((took - share).abs() < 0.05, "{took}, and not {share}");
    }
    pass(11 * SECOND).await;
    assert_eq!(condition(&handle), Condition::Fit);
    world.take_called();
    for _ in 0..100 {
        get(&mut client).await.unwrap();
    }
    assert!(world.take_called().iter().all(|host| host == "us"));
}

#[tokio::test(start_paused = true)]
async fn each_failure_probing_doubles_its_cooldown() {
    let world = World::default();
    let layer = FailoverLayer::new(regions());
    let handle = layer.handle();
    let mut client = client(layer, &world);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    for cooldown in [20, 40, 80, 160, 300, 300] {
        let before = handle.status()[0].out_until.unwrap();
        tokio::time::sleep_until(before + SECOND).await;
        world.take_called();
        assert_eq!(get(&mut client).await.unwrap(), 200);
        assert_eq!(world.take_called(), ["us", "eu"]);
        let out_for = handle.status()[0].out_until.unwrap() - tokio::time::Instant::now();
        let within = out_for.as_secs_f64() / f64::from(cooldown);
        assert!((0.999..=1.1).contains(&within), "{out_for:?}, and not {cooldown} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_comes_by_when_all_were_tried_begins_anew() {
    let world = World::default();
    let layer = ServiceBuilder::new()
        .layer(RetryLayer::builder().max_attempts(9).build().unwrap())
        .layer(FailoverLayer::builder(regions()).max_attempts(7).build().unwrap())
        .into_inner();
    let mut client = client(layer, &world);
    for host in ["us", "eu", "ap"] {
        world.set(host, Host::Refuses);
    }
    get(&mut client).await.unwrap_err();
    let called = world.take_called();
    for round in called.chunks(3) {
        let mut round = round.to_vec();
        round.sort();
        assert_eq!(round, ["ap", "eu", "us"]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_asked_for_less_than_a_cooldown_is_left_alone_for_that_long() {
    let world = World::default();
    let mut client = client(FailoverLayer::new(regions()), &world);
    for host in ["us", "eu", "ap"] {
        world.set(host, Host::AsksFor(503, "5"));
    }
    get(&mut client).await.unwrap();
    world.take_called();
    // All have asked for it, so only the primary is called all the same.
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["us"]);
    // And when that time is over the others are, though they are out still.
    pass(5 * SECOND).await;
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_panics_when_called_leaves_nothing_behind() {
    let panics = Arc::new(AtomicBool::new(false));
    let panicking = Arc::clone(&panics);
    let inner = service_fn(move |request: Request<()>| {
        let fails = request.uri().host() == Some("us");
        assert!(!panicking.load(Relaxed), "a bug in a client");
        async move {
            if fails {
                Err(BoxError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)))
            } else {
                Ok(Response::new(()))
            }
        }
    });
    let layer = FailoverLayer::new(regions());
    let handle = layer.handle();
    let mut client = layer.layer(inner);
    get(&mut client).await.unwrap();
    pass(11 * SECOND).await;
    panics.store(true, Relaxed);
    let request = Request::get("/").body(()).unwrap();
    let called = catch_unwind(AssertUnwindSafe(|| drop(client.clone().call(request))));
    assert!(called.is_err());
    assert_eq!((condition(&handle), handle.status()[0].under_way), (Condition::Probing, 0));
    // Its place on trial is another's.
    panics.store(false, Relaxed);
    let attempts = handle.status()[0].attempts;
    get(&mut client).await.unwrap();
    assert_eq!(handle.status()[0].attempts, attempts + 1);
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_is_found_on_this_side_brings_no_region_back() {
    let at_fault = Verdict::rejected();
    let alive = at_fault.with_cause(Cause::Status(StatusCode::NOT_FOUND));
    for (verdict, expected) in [(at_fault, Condition::Probing), (alive, Condition::Ramping)] {
        let world = World::default();
        let layer = FailoverLayer::builder(regions())
            .classify_fn(move |outcome| match outcome.as_error() {
                Some(error) if error.is::<std::fmt::Error>() => verdict,
                _ => outcome.verdict(),
            })
            .build()
            .unwrap();
        let handle = layer.handle();
        let mut client = client(layer, &world);
        world.set("us", Host::Refuses);
        get(&mut client).await.unwrap();
        pass(11 * SECOND).await;
        world.set("us", Host::Malformed);
        get(&mut client).await.unwrap_err();
        assert_eq!(condition(&handle), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_region_probing_that_says_no_is_alive() {
    for status in [401, 404, 409, 429] {
        let world = World::default();
        let layer = FailoverLayer::new(regions());
        let handle = layer.handle();
        let mut client = client(layer, &world);
        world.set("us", Host::Refuses);
        get(&mut client).await.unwrap();
        pass(11 * SECOND).await;
        world.set("us", Host::Replies(status));
        get(&mut client).await.unwrap();
        assert_eq!(condition(&handle), Condition::Ramping, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ramp_without_an_end_stays_at_a_tenth() {
    let world = World::default();
    let layer = FailoverLayer::builder(regions()).ramp(Duration::MAX).seed(7).build().unwrap();
    let mut client = client(layer, &world);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    world.set("us", Host::Replies(200));
    pass(11 * SECOND).await;
    get(&mut client).await.unwrap();
    world.take_called();
    for _ in 0..1_000 {
        get(&mut client).await.unwrap();
    }
    let called = world.take_called();
    let took = called.iter().filter(|host| *host == "us").count();
    assert!((50..150).contains(&took), "{took} of 1,000");
}

#[tokio::test(start_paused = true)]
async fn a_cooldown_that_is_longer_than_the_longest_is_kept() {
    let world = World::default();
    let layer = FailoverLayer::builder(regions()).cooldown(600 * SECOND).build().unwrap();
    let mut client = client(layer, &world);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    pass(590 * SECOND).await;
    world.take_called();
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["eu"]);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_region_is_out_until_the_hint_and_no_cooldown_grows_of_it() {
    let world = World::default();
    let layer = FailoverLayer::builder(regions()).quota_per_region().build().unwrap();
    let handle = layer.handle();
    let mut client = client(layer, &world);
    world.set("us", Host::AsksFor(429, "2"));
    for _ in 0..5 {
        world.take_called();
        get(&mut client).await.unwrap();
        get(&mut client).await.unwrap();
        assert_eq!(world.take_called(), ["us", "eu", "eu"]);
        pass(2 * SECOND).await;
    }
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    let out_for = handle.status()[0].out_until.unwrap() - tokio::time::Instant::now();
    assert!((10.0..=11.0).contains(&out_for.as_secs_f64()), "{out_for:?}");
}

#[tokio::test(start_paused = true)]
async fn a_region_that_hangs_until_the_deadline_is_lost() {
    let world = World::default();
    let failover = FailoverLayer::new(regions());
    let retry = RetryLayer::builder().deadline(5 * SECOND).build().unwrap();
    let mut client =
        client(ServiceBuilder::new().layer(retry).layer(failover).into_inner(), &world);
    world.set("us", Host::Hangs);
    get(&mut client).await.unwrap_err();
    world.take_called();
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["eu"]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_at_a_timeout_leaves_no_call_under_way() {
    let world = World::default();
    let observer = observer_fn(|event: &Event<'_>| {
        assert!(
            !matches!(event, Event::RegionChanged(_) | Event::FailedOver(_)),
            "a bug in an observer"
        );
    });
    let failover = FailoverLayer::builder(regions()).observer(observer).build().unwrap();
    let handle = failover.handle();
    let retry = RetryLayer::builder().attempt_timeout(SECOND).build().unwrap();
    let mut client =
        client(ServiceBuilder::new().layer(retry).layer(failover).into_inner(), &world);
    world.set("us", Host::Hangs);
    let call = client.ready().await.unwrap().call(Request::get("/").body(()).unwrap());
    assert!(tokio::spawn(call).await.unwrap_err().is_panic());
    assert_eq!(handle.status()[0].under_way, 0);
}
