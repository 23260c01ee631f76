//! Which of several equals takes a call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use tower::{Service, ServiceExt};
use tower_upstream::failover::{FailoverLayer, Region, Regions};
use tower_upstream::key::key_fn;

use super::{Host, World, client, get};

fn equals(hosts: &[&str]) -> Regions {
    Regions::new(hosts.iter().map(|host| Region::new(*host, format!("https://{host}/v1")))).unwrap()
}

#[tokio::test(start_paused = true)]
async fn calls_under_way_weigh_as_much_as_latency() {
    let world = World::default();
    for (host, millis) in [("fast", 100), ("slow", 200)] {
        world.set(host, Host::Takes(Duration::from_millis(millis)));
    }
    let mut client = client(FailoverLayer::new(equals(&["fast", "slow"])), &world);
    for _ in 0..2 {
        get(&mut client).await.unwrap();
    }
    world.take_called();
    let mut calls = Vec::new();
    for _ in 0..300 {
        calls.push(client.ready().await.unwrap().call(Request::get("/").body(()).unwrap()));
    }
    join_all(calls).await;
    let called = world.take_called();
    let fast = called.iter().filter(|host| *host == "fast").count();
    assert!((190..=210).contains(&fast), "{fast} of 300");
}

#[tokio::test(start_paused = true)]
async fn one_that_was_slow_is_tried_again() {
    let world = World::default();
    world.set("one", Host::Takes(Duration::from_secs(4)));
    world.set("other", Host::Takes(Duration::from_millis(100)));
    let mut client = client(FailoverLayer::new(equals(&["one", "other"])), &world);
    for _ in 0..100 {
        get(&mut client).await.unwrap();
    }
    let called = world.take_called();
    assert_eq!(called.iter().filter(|host| *host == "one").count(), 1);
    // It is fast by now, and nobody would know.
    world.set("one", Host::Takes(Duration::from_millis(10)));
    for _ in 0..1_000 {
        get(&mut client).await.unwrap();
    }
    let called = world.take_called();
    assert!(called.iter().filter(|host| *host == "one").count() > 100);
}

#[tokio::test(start_paused = true)]
async fn a_key_keeps_to_its_region_and_moves_only_where_that_is_lost() {
    let world = World::default();
    let hosts = ["one", "two", "three"];
    let layer = FailoverLayer::builder(equals(&hosts))
        .sticky(key_fn(|head| head.header("x-conversation")))
        .build()
        .unwrap();
    let mut client = client(layer, &world);
    let mut homes = BTreeMap::new();
    for _ in 0..3 {
        for key in 0..60 {
            let request = Request::get("/").header("x-conversation", key).body(()).unwrap();
            client.ready().await.unwrap().call(request).await.unwrap();
            let host = world.take_called().remove(0);
            assert_eq!(*homes.entry(key).or_insert_with(|| host.clone()), host);
        }
    }
    assert_eq!(homes.values().collect::<BTreeSet<_>>().len(), hosts.len());
    world.set("one", Host::Refuses);
    for (key, home) in &homes {
        let request = Request::get("/").header("x-conversation", *key).body(()).unwrap();
        client.ready().await.unwrap().call(request).await.unwrap();
        let host = world.take_called().pop().unwrap();
        assert_eq!(host == *home, home != "one");
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_which_nothing_is_known_does_not_get_all_the_calls() {
    let world = World::default();
    world.set("replies", Host::Takes(Duration::from_millis(50)));
    world.set("hangs", Host::Hangs);
    let mut client = client(FailoverLayer::new(equals(&["replies", "hangs"])), &world);
    for _ in 0..1_000 {
        let call = client.ready().await.unwrap().call(Request::get("/").body(()).unwrap());
        tokio::spawn(call);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let called = world.take_called();
    let hang = called.iter().filter(|host| *host == "hangs").count();
    // As many as there are until the other one has answered first.
    assert!(hang <= 50, "{hang} of 1,000");
}
