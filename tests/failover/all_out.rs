//! What a call does when no region is fit.

use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceBuilder};
use tower_upstream::failover::{FailoverLayer, NoRegionAvailable, Region, WhenAllOut};
use tower_upstream::{RetryLayer, cause_ref};

use super::{Host, World, client, get, regions};

const SECOND: Duration = Duration::from_secs(1);

fn all_refuse() -> World {
    let world = World::default();
    for host in ["us", "eu", "ap"] {
        world.set(host, Host::Refuses);
    }
    world
}

fn all_reply(world: &World) {
    for host in ["us", "eu", "ap"] {
        world.set(host, Host::Replies(200));
    }
}

fn layer(when_all_out: WhenAllOut) -> FailoverLayer {
    FailoverLayer::builder(regions()).when_all_out(when_all_out).build().unwrap()
}

fn back_in(error: &BoxError) -> Option<Duration> {
    cause_ref::<NoRegionAvailable>(&**error).map(NoRegionAvailable::retry_after)
}

#[tokio::test(start_paused = true)]
async fn it_goes_to_the_least_bad() {
    let world = all_refuse();
    world.set("us", Host::AsksFor(503, "99"));
    let mut client = client(layer(WhenAllOut::LeastBad), &world);
    get(&mut client).await.unwrap_err();
    world.take_called();
    get(&mut client).await.unwrap_err();
    let mut called = world.take_called();
    called.sort();
    // The one that asked to be left alone is.
    assert_eq!(called, ["ap", "eu"]);
}

#[tokio::test(start_paused = true)]
async fn it_fails_at_once_and_says_when_to_come_back() {
    let world = all_refuse();
    let mut client = client(layer(WhenAllOut::FailFast), &world);
    let error = get(&mut client).await.unwrap_err();
    // The first call finds it out, and gets what was seen.
    assert!(back_in(&error).is_none());
    world.take_called();
    let start = Instant::now();
    let wait = back_in(&get(&mut client).await.unwrap_err()).unwrap();
    assert!(wait >= 10 * SECOND && wait <= 11 * SECOND, "{wait:?}");
    assert!(world.take_called().is_empty() && start.elapsed().is_zero());
    all_reply(&world);
    tokio::time::sleep(wait).await;
    assert_eq!(get(&mut client).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_retry_above_waits_for_it_without_spending_its_budget() {
    let world = all_refuse();
    let layer = ServiceBuilder::new()
        .layer(RetryLayer::builder().deadline(30 * SECOND).build().unwrap())
        .layer(layer(WhenAllOut::FailFast))
        .into_inner();
    let mut client = client(layer, &world);
    get(&mut client).await.unwrap_err();
    all_reply(&world);
    world.take_called();
    assert_eq!(get(&mut client).await.unwrap(), 200);
    assert_eq!(world.take_called().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_the_one_that_is_back_the_soonest() {
    let world = all_refuse();
    let mut client = client(layer(WhenAllOut::Wait), &world);
    get(&mut client).await.unwrap_err();
    all_reply(&world);
    world.take_called();
    let start = Instant::now();
    assert_eq!(get(&mut client).await.unwrap(), 200);
    assert_eq!(world.take_called().len(), 1);
    assert!((10 * SECOND..=11 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_pass_the_deadline_is_not_slept() {
    let world = all_refuse();
    let layer = ServiceBuilder::new()
        .layer(RetryLayer::builder().deadline(5 * SECOND).max_attempts(1).build().unwrap())
        .layer(layer(WhenAllOut::Wait))
        .into_inner();
    let mut client = client(layer, &world);
    for _ in 0..3 {
        get(&mut client).await.unwrap_err();
    }
    let start = Instant::now();
    assert!(back_in(&get(&mut client).await.unwrap_err()).is_some());
    assert!(start.elapsed().is_zero());
}

#[cfg(feature = "tonic")]
#[tokio::test(start_paused = true)]
async fn a_tonic_client_sees_unavailable() {
    let world = all_refuse();
    let mut client = client(layer(WhenAllOut::FailFast), &world);
    get(&mut client).await.unwrap_err();
    let error = get(&mut client).await.unwrap_err();
    assert_eq!(tonic::Status::from_error(error).code(), tonic::Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn who_waits_receives_a_region_that_is_back_sooner() {
    for how in 0..3 {
        let world = all_refuse();
        let layer = layer(WhenAllOut::Wait);
        let handle = layer.handle();
        let mut client = client(layer, &world);
        get(&mut client).await.unwrap_err();
        all_reply(&world);
        let start = Instant::now();
        let call = tokio::spawn(client.call(Request::get("/").body(()).unwrap()));
        tokio::time::sleep(SECOND).await;
        match how {
            0 => handle.reset(),
            1 => handle.force_in("eu-west-1").unwrap(),
            _ => handle.add(Region::new("sa-east-1", "https://sa/v1")).unwrap(),
        }
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
        assert_eq!(start.elapsed(), SECOND, "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_do_not_all_go_probing() {
    let world = all_refuse();
    let mut client = client(layer(WhenAllOut::Wait), &world);
    get(&mut client).await.unwrap_err();
    world.take_called();
    let mut calls = Vec::new();
    for _ in 0..100 {
        calls.push(client.call(Request::get("/").body(()).unwrap()));
    }
    let calls = tokio::spawn(join_all(calls));
    for host in ["us", "eu", "ap"] {
        world.set(host, Host::TakesAndReplies(SECOND, 500));
    }
    tokio::time::sleep(11 * SECOND + SECOND / 2).await;
    let called = world.take_called();
    // One a region, each of which may go on to the others when it fails.
    assert!((1..=9).contains(&called.len()), "{}", called.len());
    // One that has proved itself takes them all, at once.
    for host in ["us", "eu", "ap"] {
        world.set(host, Host::TakesAndReplies(SECOND, 200));
    }
    let start = Instant::now();
    let replies = calls.await.unwrap();
    let served = replies.iter().filter(|reply| reply.as_ref().is_ok_and(|a| a.status() == 200));
    assert!(served.count() >= 97);
    assert!(start.elapsed() < 25 * SECOND, "{:?}", start.elapsed());
}
