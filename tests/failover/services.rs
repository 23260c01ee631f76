//! One client a region: clients that aren't ready, and clients that come later.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_upstream::RetryLayer;
use tower_upstream::classify::HttpClassifier;
use tower_upstream::failover::{FailoverLayer, FailoverServices, Region, Regions};
use tower_upstream::replay::HttpReplay;

use super::{Host, World, get, post, regions};

const SECOND: Duration = Duration::from_secs(1);

type Client = BoxCloneSyncService<Request<()>, Response<()>, BoxError>;

/// A region's client, which asks this world.
fn at(host: &str, world: &World) -> Client {
    let (host, world) = (host.to_owned(), world.clone());
    BoxCloneSyncService::new(service_fn(move |_| {
        world.called.lock().unwrap().push(host.clone());
        let (host, world) = (host.clone(), world.clone());
        async move { world.does(&host).await }
    }))
}

/// One client per region, each ready while it has a place.
struct Places(Vec<Arc<Semaphore>>);

impl Places {
    fn new(places: [usize; 3]) -> Self {
        Self(places.map(|places| Arc::new(Semaphore::new(places))).to_vec())
    }

    fn over(
        &self,
        layer: &FailoverLayer,
        world: &World,
    ) -> FailoverServices<Client, HttpClassifier, HttpReplay> {
        let mut places = self.0.iter();
        layer.services(|region| {
            let places = Arc::clone(places.next().unwrap());
            let client = at(region.host().to_str().unwrap(), world);
            let limit = GlobalConcurrencyLimitLayer::with_semaphore(places);
            BoxCloneSyncService::new(limit.layer(client))
        })
    }

    fn free(&self) -> Vec<usize> {
        self.0.iter().map(|places| places.available_permits()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_not_ready_holds_up_no_call_that_another_can_take() {
    let (world, places) = (World::default(), Places::new([0, 1, 1]));
    let layer = FailoverLayer::new(regions());
    let mut client = places.over(&layer, &world);
    let start = Instant::now();
    get(&mut client).await.unwrap();
    // Nothing was sent yet, so a call that isn't idempotent goes elsewhere too.
    post(&mut client).await.unwrap();
    get(&mut RetryLayer::new().layer(client.clone())).await.unwrap();
    assert_eq!((world.take_called(), start.elapsed()), (vec!["eu".into(); 3], Duration::ZERO));
    // The region hasn't failed, and is preferred again when its client is ready.
    assert!(layer.handle().status()[0].healthy);
    places.0[0].add_permits(1);
    get(&mut client).await.unwrap();
    assert_eq!((world.take_called(), places.free()), (vec!["us".into()], vec![1, 1, 1]));
}

#[tokio::test(start_paused = true)]
async fn with_no_region_ready_a_call_waits_for_the_first_that_is() {
    let (world, places) = (World::default(), Places::new([0, 0, 0]));
    let layer = FailoverLayer::new(regions());
    let client = places.over(&layer, &world);
    let call = tokio::spawn(client.oneshot(Request::new(())));
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.take_called(), [""; 0]);
    places.0[2].add_permits(1);
    call.await.unwrap().unwrap();
    assert_eq!(world.take_called(), ["ap"]);
    // The call has left the other queues, and counts in one region only.
    places.0[0].add_permits(1);
    places.0[1].add_permits(1);
    assert_eq!(places.free(), [1, 1, 1]);
    let status = layer.handle().status();
    assert_eq!(status.iter().map(|region| region.under_way).collect::<Vec<_>>(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_region_is_no_better_than_one_that_is_not_ready() {
    let (world, places) = (World::default(), Places::new([1, 1, 0]));
    let layer = FailoverLayer::new(regions());
    let mut client = places.over(&layer, &world);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    world.take_called();
    let held = places.0[1].clone().acquire_owned().await.unwrap();
    let call = tokio::spawn(client.oneshot(Request::new(())));
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.take_called(), [""; 0]);
    drop(held);
    call.await.unwrap().unwrap();
    assert_eq!(world.take_called(), ["eu"]);
}

#[tokio::test(start_paused = true)]
async fn a_region_that_comes_back_has_the_client_that_it_comes_with() {
    let world = World::default();
    let layer = FailoverLayer::new(regions());
    let mut client = layer.services(|region| at(region.name(), &world));
    get(&mut client).await.unwrap();
    layer.handle().remove("us-west-2").unwrap();
    client.add(Region::new("us-west-2", "https://us/v1"), &at("new", &world)).unwrap();
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["us-west-2", "new"]);
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_calls_a_region_again_clones_no_client() {
    /// Counts its clones.
    struct Cloned(Arc<AtomicUsize>);

    impl Clone for Cloned {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Relaxed);
            Self(Arc::clone(&self.0))
        }
    }

    let clones = Arc::new(AtomicUsize::new(0));
    let mut client = FailoverLayer::new(regions()).services(|_| {
        let cloned = Cloned(Arc::clone(&clones));
        service_fn(move |_: Request<()>| {
            let _ = &cloned;
            async { Ok::<_, BoxError>(Response::new(())) }
        })
    });
    get(&mut client).await.unwrap();
    let before = clones.load(Relaxed);
    get(&mut client).await.unwrap();
    assert_eq!(clones.load(Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn each_service_of_a_layer_is_given_its_own_client_of_a_new_region() {
    let world = World::default();
    let layer = FailoverLayer::new(regions());
    let region = || Region::new("sa-east-1", "https://sa").priority(0);
    let (mut one, mut other) =
        (layer.services(|_| at("one", &world)), layer.services(|_| at("other", &world)));
    layer.handle().add(region()).unwrap();
    get(&mut one).await.unwrap();
    one.add(region(), &at("one's", &world)).unwrap();
    get(&mut one).await.unwrap();
    get(&mut other).await.unwrap();
    other.add(region(), &at("other's", &world)).unwrap();
    get(&mut other).await.unwrap();
    assert_eq!(world.take_called(), ["one", "one's", "other", "other's"]);
    // It has one now; and another place under the same name is another region.
    for region in [region(), Region::new("sa-east-1", "https://elsewhere")] {
        assert!(one.add(region, &at("one's", &world)).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn more_unready_regions_than_a_call_remembers_are_waited_for_all_the_same() {
    let many = (0..12).map(|n| Region::new(format!("region-{n}"), format!("https://host-{n}")));
    let layer = FailoverLayer::new(Regions::new(many).unwrap());
    let places = Arc::new(Semaphore::new(0));
    let world = World::default();
    let client = layer.services(|region| {
        let limit = GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&places));
        BoxCloneSyncService::new(limit.layer(at(region.name(), &world)))
    });
    let call = tokio::spawn(client.oneshot(Request::new(())));
    tokio::time::sleep(SECOND).await;
    places.add_permits(1);
    call.await.unwrap().unwrap();
    assert_eq!((world.take_called().len(), places.available_permits()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_client_fails_to_get_ready_was_not_sent_and_goes_elsewhere() {
    /// Fails to get ready, with an error that no classifier knows.
    #[derive(Clone)]
    struct Unready(Client);

    impl Service<Request<()>> for Unready {
        type Response = Response<()>;
        type Error = BoxError;
        type Future = <Client as Service<Request<()>>>::Future;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Err("no connection".into()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            self.0.call(request)
        }
    }

    for retried in [false, true] {
        let world = World::default();
        let layer = FailoverLayer::new(regions());
        let client = layer.services(|region| match region.name() {
            "us-west-2" => BoxCloneSyncService::new(Unready(at("us", &world))),
            _ => at(region.host().to_str().unwrap(), &world),
        });
        let retry = retried.then(RetryLayer::new);
        let mut client = tower::util::option_layer(retry).layer(client);
        assert_eq!(post(&mut client).await.unwrap(), 200, "retried: {retried}");
        assert_eq!(world.take_called(), ["eu"]);
        assert!(!layer.handle().status()[0].healthy);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_region_does_not_go_there_once_that_is_lost() {
    let (world, places) = (World::default(), Places::new([1, 1, 0]));
    let layer = FailoverLayer::new(regions());
    let client = places.over(&layer, &world);
    world.set("us", Host::TakesAndReplies(SECOND, 500));
    world.set("eu", Host::Takes(3 * SECOND));
    let request = || Request::post("/").body(()).unwrap();
    let calls: Vec<_> = (0..3).map(|_| tokio::spawn(client.clone().oneshot(request()))).collect();
    let mut statuses = Vec::new();
    for call in calls {
        statuses.push(call.await.unwrap().unwrap().status().as_u16());
    }
    // The third one waits for both. The first frees its place, and finds that us is lost.
    assert_eq!(
        (statuses, world.take_called()),
        (vec![500, 200, 200], ["us", "eu", "eu"].map(String::from).to_vec())
    );
    assert_eq!(places.free(), [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_a_client_go_to_a_region_that_is_back_by_then() {
    let (world, places) = (World::default(), Places::new([1, 1, 0]));
    let layer = FailoverLayer::new(regions());
    let mut client = places.over(&layer, &world);
    world.set("us", Host::Refuses);
    world.set("eu", Host::Refuses);
    layer.handle().remove("ap-southeast-1").unwrap();
    get(&mut client).await.unwrap_err();
    layer.handle().force_in("us-west-2").unwrap();
    // From now on us has no place for anybody, and eu has recovered.
    let _held = places.0[0].clone().acquire_owned().await.unwrap();
    world.set("eu", Host::Replies(200));
    let first = tokio::spawn(client.clone().oneshot(Request::new(())));
    tokio::time::sleep(12 * SECOND).await;
    world.take_called();
    // It waited until eu was on trial; and from then on nobody waits.
    first.await.unwrap().unwrap();
    let start = Instant::now();
    get(&mut client).await.unwrap();
    assert_eq!((world.take_called(), start.elapsed()), (vec!["eu".into()], Duration::ZERO));
}
