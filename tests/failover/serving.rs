//! The serving region in the response.

use http::{Request, Response};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::failover::{FailoverLayer, ServingRegion};
use tower_upstream::{BoxError, RetryLayer};

use super::{Host, World, regions};

async fn served_by(
    client: &mut impl Service<Request<()>, Response = Response<()>, Error = BoxError>,
) -> Option<&'static str> {
    let request = Request::get("/models").body(()).unwrap();
    let response = client.ready().await.unwrap().call(request).await.unwrap();
    response.extensions().get().map(|ServingRegion(name)| *name)
}

#[tokio::test(start_paused = true)]
async fn it_is_notified_where_asked_for() {
    let world = World::default();
    let below = world.clone();
    let mut client = ServiceBuilder::new()
        .layer(FailoverLayer::new(regions()))
        .map_response(ServingRegion::insert_into)
        .service(service_fn(move |request| below.clone().reply(request)));
    assert_eq!(served_by(&mut client).await, Some("us-west-2"));
    world.set("us", Host::Refuses);
    assert_eq!(served_by(&mut client).await, Some("eu-west-1"));
    // A response that fails comes from a region too.
    world.set("eu", Host::Replies(500));
    world.set("ap", Host::Replies(400));
    assert_eq!(served_by(&mut client).await, Some("ap-southeast-1"));

    let mut silent = super::client(FailoverLayer::new(regions()), &world);
    assert_eq!(served_by(&mut silent).await, None);
}

#[tokio::test(start_paused = true)]
async fn it_is_notified_under_a_retry() {
    let world = World::default();
    let below = world.clone();
    let mut client = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(FailoverLayer::new(regions()))
        .map_response(ServingRegion::insert_into)
        .service(service_fn(move |request| below.clone().reply(request)));
    world.set("us", Host::Refuses);
    assert_eq!(served_by(&mut client).await, Some("eu-west-1"));
}

#[tokio::test(start_paused = true)]
async fn it_is_notified_with_one_client_a_region() {
    let mut client = FailoverLayer::new(regions()).services(|region| {
        assert!(region.uri().to_string().starts_with("http"), "{}", region.uri());
        let status = if region.name() == "us-west-2" { 503 } else { 200 };
        let client = service_fn(move |_: Request<()>| async move {
            Ok::<_, BoxError>(Response::builder().status(status).body(())?)
        });
        client.map_response(ServingRegion::insert_into)
    });
    assert_eq!(served_by(&mut client).await, Some("eu-west-1"));
}

#[tokio::test(start_paused = true)]
async fn without_a_failover_the_response_stays_as_it_is() {
    let mut client = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(())))
        .map_response(ServingRegion::insert_into);
    assert_eq!(served_by(&mut client).await, None);
}

#[cfg(feature = "reqwest")]
#[tokio::test(start_paused = true)]
async fn it_is_notified_in_reqwests_responses() {
    let client = service_fn(|_: reqwest::Request| async {
        Ok::<_, BoxError>(reqwest::Response::from(Response::new("")))
    });
    let observed = client.map_response(ServingRegion::insert_into);
    let client = FailoverLayer::new(regions()).layer(observed);
    let request = reqwest::Request::new(http::Method::GET, "https://us/v1".parse().unwrap());
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&ServingRegion("us-west-2")));
}
