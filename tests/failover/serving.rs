//! The serving region in the response.

use http::{Request, Response};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::failover::{FailoverLayer, ServingRegion};
use tower_upstream::{BoxError, RetryLayer};

use super::{Host, World, client, regions};

async fn served_by(
    client: &mut impl Service<Request<()>, Response = Response<()>, Error = BoxError>,
) -> Option<&'static str> {
    let request = Request::get("/models").body(()).unwrap();
    let response = client.ready().await.unwrap().call(request).await.unwrap();
    response.extensions().get().map(|ServingRegion(name)| *name)
}

#[tokio::test(start_paused = true)]
async fn it_is_told_where_asked_for() {
    let world = World::default();
    let mut silent = client(FailoverLayer::new(regions()), &world);
    assert_eq!(served_by(&mut silent).await, None);

    let mut client =
        client(FailoverLayer::builder(regions()).region_in_response().build().unwrap(), &world);
    assert_eq!(served_by(&mut client).await, Some("us-west-2"));
    world.set("us", Host::Refuses);
    assert_eq!(served_by(&mut client).await, Some("eu-west-1"));
    // A failure is somebody's too.
    world.set("eu", Host::Answers(500));
    world.set("ap", Host::Answers(400));
    assert_eq!(served_by(&mut client).await, Some("ap-southeast-1"));
}

#[tokio::test(start_paused = true)]
async fn it_is_told_under_a_retry() {
    let world = World::default();
    let layer = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(FailoverLayer::builder(regions()).region_in_response().build().unwrap())
        .into_inner();
    world.set("us", Host::Refuses);
    assert_eq!(served_by(&mut client(layer, &world)).await, Some("eu-west-1"));
}

#[tokio::test(start_paused = true)]
async fn it_is_told_with_one_client_a_region() {
    let layer = FailoverLayer::builder(regions()).region_in_response().build().unwrap();
    let mut client = layer.services(|region| {
        assert!(region.uri().to_string().starts_with("http"), "{}", region.uri());
        let status = if region.name() == "us-west-2" { 503 } else { 200 };
        service_fn(move |_: Request<()>| async move {
            Ok::<_, BoxError>(Response::builder().status(status).body(())?)
        })
    });
    assert_eq!(served_by(&mut client).await, Some("eu-west-1"));
}

#[cfg(feature = "reqwest")]
#[tokio::test(start_paused = true)]
async fn it_is_told_in_reqwests_responses() {
    let layer = FailoverLayer::builder(regions()).region_in_response().build().unwrap();
    let client = layer.layer(service_fn(|_: reqwest::Request| async {
        Ok::<_, BoxError>(reqwest::Response::from(Response::new("")))
    }));
    let request = reqwest::Request::new(http::Method::GET, "https://us/v1".parse().unwrap());
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&ServingRegion("us-west-2")));
}
