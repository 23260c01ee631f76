//! What the error says when no region answered.

use std::time::Duration;

use http::Request;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_upstream::failover::{FailoverLayer, RegionsExhausted};
use tower_upstream::{CircuitBreakerLayer, RetryLayer, cause_ref};

use super::{Host, World, client, get, regions};

fn exhausted(error: &BoxError) -> &RegionsExhausted {
    cause_ref(&**error).unwrap()
}

#[tokio::test(start_paused = true)]
async fn it_says_of_each_region_what_happened() {
    for retried in [false, true] {
        let world = World::default();
        let breaker = CircuitBreakerLayer::builder()
            .consecutive_failures(1)
            .open_for(Duration::from_secs(300))
            .by_authority();
        let failover = FailoverLayer::new(regions());
        let layer = ServiceBuilder::new()
            .option_layer(retried.then(|| RetryLayer::builder().max_attempts(3).build().unwrap()))
            .layer(failover.clone())
            .layer(breaker.build().unwrap())
            .into_inner();
        let mut client = client(layer, &world);
        // Its circuit opens, and stays so when its cooldown is over.
        world.set("eu", Host::Refuses);
        failover.handle().force_out("us-west-2").unwrap();
        assert_eq!(get(&mut client).await.unwrap(), 200);
        failover.handle().release("us-west-2").unwrap();
        tokio::time::advance(Duration::from_secs(11)).await;
        // Of this one the server asked to be left alone.
        world.set("ap", Host::AsksFor(503, "60"));
        failover.handle().prioritise("ap-southeast-1", 0).unwrap();
        world.set("us", Host::Replies(200));
        assert_eq!(get(&mut client).await.unwrap(), 200);
        world.take_called();

        world.set("us", Host::Resets);
        let error = get(&mut client).await.unwrap_err();
        assert_eq!(world.take_called(), ["us"]);
        if retried {
            // What a region really answered goes before what was decided on this side.
            assert!(cause_ref::<RegionsExhausted>(&*error).is_none(), "{error}");
            assert!(cause_ref::<std::io::Error>(&*error).is_some(), "{error}");
            continue;
        }
        let exhausted = exhausted(&error);
        assert_eq!(exhausted.tried().collect::<Vec<_>>(), ["us-west-2"]);
        assert_eq!(
            exhausted.to_string(),
            "all regions failed: us-west-2 failed (connection broken), \
             eu-west-1 rejected by its circuit, \
             ap-southeast-1 not tried, out for another 60.0s (status 503)"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_notified_as_sent_though_a_circuit_has_opened_since() {
    let world = World::default();
    let breaker = CircuitBreakerLayer::builder()
        .consecutive_failures(1)
        .open_for(Duration::from_secs(300))
        .by_authority();
    let layer = ServiceBuilder::new()
        .layer(FailoverLayer::builder(regions()).max_attempts(2).build().unwrap())
        .layer(breaker.build().unwrap())
        .into_inner();
    let mut client = client(layer, &world);
    world.set("us", Host::Resets);
    world.set("eu", Host::TakesAndResets(Duration::from_secs(30)));
    let request = Request::get("/").body(()).unwrap();
    let slow = tokio::spawn(client.ready().await.unwrap().call(request));
    // In the meantime the cooldown of us is over, and its circuit turns another call away.
    tokio::time::sleep(Duration::from_secs(11)).await;
    world.set("eu", Host::Replies(200));
    get(&mut client).await.unwrap();
    let error = slow.await.unwrap().unwrap_err();
    assert_eq!(exhausted(&error).tried().collect::<Vec<_>>(), ["us-west-2", "eu-west-1"]);
}
