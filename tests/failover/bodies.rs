//! Bodies that stall or break off.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::failover::{FailoverLayer, Region};

use super::regions;

const SECOND: Duration = Duration::from_secs(1);

/// A body with a frame after each of these waits. At `None` it breaks off.
async fn reads(waits: &'static [Option<u32>]) -> (bool, bool) {
    let failover = FailoverLayer::new(regions());
    let handle = failover.handle();
    let client = service_fn(move |_: Request<()>| async move {
        let frames = stream::iter(waits).then(|wait| async move {
            let wait = wait.ok_or("broken off")?;
            sleep(wait * SECOND).await;
            Ok::<_, &str>(Frame::data(Bytes::from_static(b"piece")))
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
    });
    let mut client = ServiceBuilder::new()
        .layer(failover)
        .layer(handle.watch_bodies(5 * SECOND))
        .service(client);
    let response = client.ready().await.unwrap().call(Request::new(())).await.unwrap();
    // A body that nobody reads is no stall.
    sleep(60 * SECOND).await;
    assert!(handle.status()[0].healthy);
    let body = timeout(14 * SECOND, Box::pin(response.into_body()).collect()).await;
    (body.is_ok_and(|body| body.is_ok()), handle.status()[0].healthy)
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_on_harms_none() {
    assert_eq!(reads(&[]).await, (true, true));
    assert_eq!(reads(&[Some(0), Some(4), Some(4), Some(4)]).await, (true, true));
}

#[tokio::test(start_paused = true)]
async fn one_that_stalls_or_breaks_off_takes_its_region_out_and_is_passed_on() {
    assert_eq!(reads(&[Some(1), Some(7)]).await, (true, false));
    assert_eq!(reads(&[Some(99)]).await, (false, false));
    assert_eq!(reads(&[Some(1), None]).await, (false, false));
}

#[tokio::test(start_paused = true)]
async fn one_that_breaks_off_takes_out_the_region_that_it_came_from_and_not_its_namesake() {
    let failover = FailoverLayer::new(regions());
    let handle = failover.handle();
    let back = || Region::new("us-west-2", "https://us/v1").priority(1);
    handle.remove("us-west-2").unwrap();
    handle.add(Region::new("us-west-2", "https://us2/v1").priority(1)).unwrap();
    handle.remove("us-west-2").unwrap();
    handle.add(back()).unwrap();
    let client = service_fn(move |_: Request<()>| async move {
        let frames = stream::iter([Err::<Frame<Bytes>, _>("broken off")]);
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
    });
    let client = ServiceBuilder::new()
        .layer(failover)
        .layer(handle.watch_bodies(5 * SECOND))
        .service(client);
    let response = client.oneshot(Request::new(())).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert!(!handle.status()[0].healthy);
}
