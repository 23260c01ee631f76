//! The failover layer on paused time, alone and under a retry.

#![cfg(all(feature = "failover", feature = "retry", feature = "circuit-breaker"))]

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::failover::{FailoverLayer, Region, Regions, RegionsExhausted};
use tower_upstream::{BoxError, CircuitBreakerLayer, RetryLayer, cause_ref};

#[path = "failover/all_out.rs"]
mod all_out;
#[path = "failover/alone.rs"]
mod alone;
#[path = "failover/bodies.rs"]
mod bodies;
#[path = "failover/checks.rs"]
mod checks;
#[path = "failover/choice.rs"]
mod choice;
#[path = "failover/exhausted.rs"]
mod exhausted;
#[path = "failover/handle.rs"]
mod handle;
#[path = "failover/nested.rs"]
mod nested;
#[cfg(feature = "rate-limit")]
#[path = "failover/queued.rs"]
mod queued;
#[path = "failover/recovery.rs"]
mod recovery;
#[path = "failover/services.rs"]
mod services;
#[path = "failover/serving.rs"]
mod serving;

/// What each host does now, and which were called.
#[derive(Clone, Default)]
struct World {
    hosts: Arc<Mutex<HashMap<String, Host>>>,
    called: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Copy)]
enum Host {
    Replies(u16),
    AsksFor(u16, &'static str),
    Refuses,
    Resets,
    Takes(Duration),
    TakesAndReplies(Duration, u16),
    TakesAndResets(Duration),
    Hangs,
    Panics,
    Malformed,
}

impl World {
    fn set(&self, host: &str, does: Host) {
        self.hosts.lock().unwrap().insert(host.to_owned(), does);
    }

    fn take_called(&self) -> Vec<String> {
        std::mem::take(&mut *self.called.lock().unwrap())
    }

    async fn reply(self, request: Request<()>) -> Result<Response<()>, BoxError> {
        let host = request.uri().host().unwrap_or("nowhere").to_owned();
        self.called.lock().unwrap().push(host.clone());
        self.does(&host).await
    }

    async fn does(&self, host: &str) -> Result<Response<()>, BoxError> {
        let does = self.hosts.lock().unwrap().get(host).copied().unwrap_or(Host::Replies(200));
        let response = |status| Response::builder().status(status);
        match does {
            Host::Replies(status) => Ok(response(status).body(())?),
            Host::AsksFor(status, wait) => {
                Ok(response(status).header("retry-after", wait).body(())?)
            }
            Host::Refuses => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
            Host::Resets => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            Host::Hangs => std::future::pending().await,
            Host::Takes(time) => {
                tokio::time::sleep(time).await;
                Ok(Response::new(()))
            }
            Host::TakesAndReplies(time, status) => {
                tokio::time::sleep(time).await;
                Ok(response(status).body(())?)
            }
            Host::TakesAndResets(time) => {
                tokio::time::sleep(time).await;
                Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
            }
            Host::Panics => panic!("a bug in a client"),
            Host::Malformed => Err(std::fmt::Error.into()),
        }
    }
}

fn regions() -> Regions {
    Regions::new([
        Region::new("us-west-2", "https://us/v1").priority(1),
        Region::new("eu-west-1", "https://eu/v1").priority(2),
        Region::new("ap-southeast-1", "https://ap/v1").priority(3),
    ])
    .unwrap()
}

fn client<L>(
    layer: L,
    world: &World,
) -> impl Service<Request<()>, Response = Response<()>, Error = BoxError, Future: Send + 'static> + use<L>
where
    L: tower::Layer<tower::util::BoxCloneSyncService<Request<()>, Response<()>, BoxError>>,
    L::Service:
        Service<Request<()>, Response = Response<()>, Error = BoxError, Future: Send + 'static>,
{
    let world = world.clone();
    let inner = service_fn(move |request| world.clone().reply(request));
    layer.layer(tower::util::BoxCloneSyncService::new(inner))
}

async fn get(
    client: &mut impl Service<Request<()>, Response = Response<()>, Error = BoxError>,
) -> Result<u16, BoxError> {
    let request = Request::get("/models").body(())?;
    Ok(client.ready().await?.call(request).await?.status().as_u16())
}

async fn post(
    client: &mut impl Service<Request<()>, Response = Response<()>, Error = BoxError>,
) -> Result<u16, BoxError> {
    let request = Request::post("/messages").body(())?;
    Ok(client.ready().await?.call(request).await?.status().as_u16())
}

#[tokio::test(start_paused = true)]
async fn the_primary_takes_the_calls_while_it_is_healthy() {
    let world = World::default();
    let mut client = client(FailoverLayer::new(regions()), &world);
    for _ in 0..3 {
        assert_eq!(get(&mut client).await.unwrap(), 200);
    }
    assert_eq!(world.take_called(), ["us", "us", "us"]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_region_is_left_for_the_next_one_and_left_alone() {
    for failure in [Host::Replies(500), Host::AsksFor(503, "1"), Host::Refuses, Host::Resets] {
        let world = World::default();
        let mut client = client(FailoverLayer::new(regions()), &world);
        world.set("us", failure);
        assert_eq!(get(&mut client).await.unwrap(), 200);
        assert_eq!(world.take_called(), ["us", "eu"]);
        assert_eq!(get(&mut client).await.unwrap(), 200);
        assert_eq!(world.take_called(), ["eu"]);

        world.set("us", Host::Replies(200));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(get(&mut client).await.unwrap(), 200);
        assert_eq!(world.take_called(), ["us"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_regions_fault_stays() {
    for status in [400, 401, 403, 404, 409, 422, 429, 501] {
        let world = World::default();
        let mut client = client(FailoverLayer::new(regions()), &world);
        world.set("us", Host::Replies(status));
        assert_eq!(get(&mut client).await.unwrap(), status);
        assert_eq!(get(&mut client).await.unwrap(), status);
        assert_eq!(world.take_called(), ["us", "us"], "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_429_leaves_where_the_quota_is_per_region() {
    let world = World::default();
    let layer = FailoverLayer::builder(regions()).quota_per_region().build().unwrap();
    let mut client = client(layer, &world);
    world.set("us", Host::AsksFor(429, "40"));
    assert_eq!(post(&mut client).await.unwrap(), 200);
    assert_eq!(world.take_called(), ["us", "eu"]);
    // It is out for as long as the server asked.
    tokio::time::advance(Duration::from_secs(39)).await;
    assert_eq!(post(&mut client).await.unwrap(), 200);
    assert_eq!(world.take_called(), ["eu"]);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_processed_is_not_sent_twice() {
    let world = World::default();
    let mut client = client(FailoverLayer::new(regions()), &world);
    world.set("us", Host::Resets);
    assert!(post(&mut client).await.is_err());
    assert_eq!(world.take_called(), ["us"]);
    // The next call goes elsewhere, and one that was refused is safe.
    world.set("eu", Host::Refuses);
    assert_eq!(post(&mut client).await.unwrap(), 200);
    assert_eq!(world.take_called(), ["eu", "ap"]);
}

#[tokio::test(start_paused = true)]
async fn with_no_region_healthy_the_primary_is_called_all_the_same() {
    let world = World::default();
    let layer = FailoverLayer::new(regions());
    let handle = layer.handle();
    let mut client = client(layer, &world);
    for host in ["us", "eu", "ap"] {
        world.set(host, Host::Refuses);
    }
    let error = get(&mut client).await.unwrap_err();
    let exhausted = cause_ref::<RegionsExhausted>(&*error).unwrap();
    let tried: Vec<_> = exhausted.tried().collect();
    assert_eq!(tried, ["us-west-2", "eu-west-1", "ap-southeast-1"]);
    assert!(cause_ref::<io::Error>(&*error).is_some());
    assert_eq!(world.take_called(), ["us", "eu", "ap"]);
    assert!(handle.status().iter().all(|region| !region.healthy));
    // A call that begins now goes to the primary first, and to the others before it fails.
    assert!(get(&mut client).await.is_err());
    let called = world.take_called();
    assert_eq!((called.len(), &*called[0]), (3, "us"));
}

#[tokio::test(start_paused = true)]
async fn at_most_so_many_regions_are_tried() {
    let world = World::default();
    let mut client =
        client(FailoverLayer::builder(regions()).max_attempts(2).build().unwrap(), &world);
    for host in ["us", "eu", "ap"] {
        world.set(host, Host::Replies(503));
    }
    assert_eq!(get(&mut client).await.unwrap(), 503);
    assert_eq!(world.take_called(), ["us", "eu"]);
}

#[tokio::test(start_paused = true)]
async fn under_a_retry_there_is_one_loop() {
    let world = World::default();
    let layer = ServiceBuilder::new()
        .layer(RetryLayer::builder().max_attempts(4).build().unwrap())
        .layer(FailoverLayer::new(regions()))
        .into_inner();
    let mut client = client(layer, &world);
    for host in ["us", "eu", "ap"] {
        world.set(host, Host::Replies(500));
    }
    let start = tokio::time::Instant::now();
    assert_eq!(get(&mut client).await.unwrap(), 500);
    // Three regions without a pause; then the retry waits, and begins again.
    let called = world.take_called();
    assert_eq!((called.len(), &called[..3]), (4, &["us", "eu", "ap"].map(String::from)[..]));
    assert!(start.elapsed() <= Duration::from_secs(1));

    tokio::time::advance(Duration::from_secs(60)).await;
    world.set("eu", Host::Replies(200));
    let start = tokio::time::Instant::now();
    assert_eq!(get(&mut client).await.unwrap(), 200);
    assert_eq!(world.take_called(), ["us", "eu"]);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_everywhere_does_not_stick_to_a_dead_primary() {
    let world = World::default();
    let layer = ServiceBuilder::new()
        .layer(RetryLayer::builder().max_attempts(6).build().unwrap())
        .layer(FailoverLayer::new(regions()))
        .into_inner();
    let mut client = client(layer, &world);
    world.set("us", Host::Refuses);
    world.set("eu", Host::Replies(503));
    world.set("ap", Host::Replies(503));
    _ = get(&mut client).await;
    let mut called = world.take_called();
    called[3..].sort();
    assert_eq!(called, ["us", "eu", "ap", "ap", "eu", "us"]);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_sends_the_call_elsewhere_at_once() {
    let world = World::default();
    let breaker = CircuitBreakerLayer::builder()
        .consecutive_failures(1)
        .open_for(Duration::from_secs(300))
        .by_authority()
        .build()
        .unwrap();
    let layer = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(FailoverLayer::new(regions()))
        .layer(breaker)
        .into_inner();
    let mut client = client(layer, &world);
    world.set("us", Host::Replies(500));
    assert_eq!(get(&mut client).await.unwrap(), 200);
    assert_eq!(world.take_called(), ["us", "eu"]);
    // The cooldown has passed, and the circuit is open still.
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(post(&mut client).await.unwrap(), 200);
    assert_eq!(world.take_called(), ["eu"]);
}

#[tokio::test(start_paused = true)]
async fn the_request_is_rewritten_to_the_region() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let inner = service_fn(move |request: Request<()>| {
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
        notes.lock().unwrap().push(format!("{} {}", request.uri(), host.unwrap_or_default()));
        async { Ok::<_, BoxError>(Response::new(())) }
    });
    let client = tower::Layer::layer(&FailoverLayer::new(regions()), inner);
    for (uri, host) in [
        ("/models?limit=3", None),
        ("https://us/v1/models", Some("us")),
        ("https://eu/v1/models", Some("eu")),
        ("https://elsewhere/models", Some("elsewhere")),
        ("https://us/v10/models", None),
        ("/", None),
        ("https://EU:443/v1/models", None),
        ("https://eu/v1", None),
        ("https://eu/v1?limit=3", None),
        ("https://eu:8443/v1/models", None),
    ] {
        let mut request = Request::get(uri).body(()).unwrap();
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        client.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "https://us/v1/models?limit=3 ",
            "https://us/v1/models us",
            "https://us/v1/models us",
            "https://us/v1/models us",
            "https://us/v1/v10/models ",
            "https://us/v1/ ",
            "https://us/v1/models ",
            "https://us/v1 ",
            "https://us/v1?limit=3 ",
            // Another port is another server.
            "https://us/v1/v1/models ",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_of_a_region_with_a_user_name_means_the_same_place_without_it() {
    let inner = service_fn(|request: Request<()>| async move {
        assert_eq!(request.uri(), "https://us/v1/models");
        Ok::<_, BoxError>(Response::new(()))
    });
    let client = tower::Layer::layer(&FailoverLayer::new(regions()), inner);
    client
        .oneshot(Request::get("https://user:secret@eu/v1/models").body(()).unwrap())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_target_that_grows_too_long_below_the_base_goes_to_no_other_place() {
    let inner = service_fn(|request: Request<()>| async move {
        // No client sends that.
        assert_eq!(request.uri().authority(), None);
        Err::<Response<()>, _>(BoxError::from("no host"))
    });
    let client = tower::Layer::layer(&FailoverLayer::new(regions()), inner);
    let path = format!("/{}", "a".repeat(65_533));
    client.oneshot(Request::get(path).body(()).unwrap()).await.unwrap_err();
}

#[test]
fn a_base_that_holds_a_secret_is_not_repeated() {
    for name in ["", "us"] {
        let region = Region::new(name, "https://user:secret@api.example.com/v1?key=secret");
        assert!(!format!("{region:?}").contains("secret"));
        let refused = Regions::new([region]).unwrap_err().to_string();
        assert!(!refused.contains("secret"), "{refused}");
    }
}

#[cfg(feature = "reqwest")]
#[tokio::test(start_paused = true)]
async fn the_schemes_own_port_may_be_written_or_not() {
    let regions =
        [Region::new("a", "https://a:443/v1"), Region::new("b", "https://b/v1").priority(2)];
    let layer = FailoverLayer::new(Regions::new(regions).unwrap());
    let client = tower::Layer::layer(
        &layer,
        service_fn(|request: reqwest::Request| async move {
            // reqwest drops the port.
            assert_eq!(request.url().as_str(), "https://a/v1/models");
            Ok::<_, BoxError>(reqwest::Response::from(Response::new("")))
        }),
    );
    for url in ["https://a:443/v1/models", "https://b:443/v1/models", "https://b/v1/models"] {
        let request = reqwest::Request::new(http::Method::GET, url.parse().unwrap());
        client.clone().oneshot(request).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_host_headers_only_the_regions_own_is_left() {
    let inner = service_fn(|request: Request<()>| async move {
        let hosts: Vec<_> = request.headers().get_all("host").iter().collect();
        assert_eq!(hosts, ["us"]);
        Ok::<_, BoxError>(Response::new(()))
    });
    let client = tower::Layer::layer(&FailoverLayer::new(regions()), inner);
    let request = Request::get("/").header("host", "eu").header("host", "elsewhere").body(());
    client.oneshot(request.unwrap()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_two_regions_at_one_host_the_longer_base_is_meant() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let inner = service_fn(move |request: Request<()>| {
        notes.lock().unwrap().push(request.uri().to_string());
        async { Ok::<_, BoxError>(Response::new(())) }
    });
    let layer = FailoverLayer::new(Regions::new([Region::new("a", "https://one")]).unwrap());
    let client = tower::Layer::layer(&layer, inner);
    let call = || client.clone().oneshot(Request::get("https://one/b/models").body(()).unwrap());
    call().await.unwrap();
    // From now on /b is a region of its own.
    layer.handle().add(Region::new("b", "https://one/b").priority(2)).unwrap();
    call().await.unwrap();
    assert_eq!(*seen.lock().unwrap(), ["https://one/b/models", "https://one/models"]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_region_is_left_when_the_retry_above_has_waited_long_enough() {
    let world = World::default();
    let layer = ServiceBuilder::new()
        .layer(RetryLayer::builder().attempt_timeout(Duration::from_secs(2)).build().unwrap())
        .layer(FailoverLayer::new(regions()))
        .into_inner();
    let mut client = client(layer, &world);
    world.set("us", Host::Hangs);
    let start = tokio::time::Instant::now();
    assert_eq!(get(&mut client).await.unwrap(), 200);
    assert_eq!(world.take_called(), ["us", "eu"]);
    assert!(start.elapsed() < Duration::from_millis(2_010), "{:?}", start.elapsed());
    assert_eq!(get(&mut client).await.unwrap(), 200);
    assert_eq!(world.take_called(), ["eu"]);
}

#[tokio::test(start_paused = true)]
async fn so_many_regions_that_a_call_cannot_remember_are_refused() {
    for attempts in [0, 8, usize::MAX] {
        assert!(FailoverLayer::builder(regions()).max_attempts(attempts).build().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_servers_word_keeps_a_region_out_for_so_long_at_most() {
    let world = World::default();
    let builder = FailoverLayer::builder(regions()).hint_cap(Duration::from_secs(60));
    let mut client = client(builder.build().unwrap(), &world);
    world.set("us", Host::AsksFor(503, "31535999"));
    get(&mut client).await.unwrap();
    world.take_called();
    tokio::time::advance(Duration::from_secs(60)).await;
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called()[0], "us");
}

#[tokio::test(start_paused = true)]
async fn a_reset_brings_every_region_back() {
    let world = World::default();
    let layer = FailoverLayer::new(regions());
    let handle = layer.handle();
    let mut client = client(layer, &world);
    world.set("us", Host::AsksFor(503, "200"));
    get(&mut client).await.unwrap();
    world.set("us", Host::Replies(200));
    handle.reset();
    assert!(handle.status().iter().all(|region| region.healthy));
    world.take_called();
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["us"]);
}

#[tokio::test(start_paused = true)]
async fn what_one_client_finds_out_every_client_of_the_layer_knows() {
    let world = World::default();
    let layer = FailoverLayer::new(regions());
    let (mut one, mut other) = (client(layer.clone(), &world), client(layer, &world));
    world.set("us", Host::Refuses);
    get(&mut one).await.unwrap();
    assert_eq!(world.take_called(), ["us", "eu"]);
    get(&mut other).await.unwrap();
    assert_eq!(world.take_called(), ["eu"]);
}

#[tokio::test(start_paused = true)]
async fn one_client_a_region() {
    let called: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let mut client =
        FailoverLayer::builder(regions()).replay_clone().build().unwrap().services(|region| {
            let (region, called) = (region.name(), Arc::clone(&called));
            service_fn(move |_: u32| {
                called.lock().unwrap().push(region);
                async move {
                    match region {
                        "us-west-2" => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                        _ => Ok(Response::new(())),
                    }
                }
            })
        });
    client.ready().await.unwrap().call(7).await.unwrap();
    client.ready().await.unwrap().call(7).await.unwrap();
    assert_eq!(*called.lock().unwrap(), ["us-west-2", "eu-west-1", "eu-west-1"]);
}

#[tokio::test(start_paused = true)]
async fn events_report_of_regions_lost_and_back() {
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = Arc::clone(&events);
    let observer =
        observer_fn(move |event: &Event<'_>| hears.lock().unwrap().push(event.to_string()));
    let world = World::default();
    let mut client =
        client(FailoverLayer::builder(regions()).observer(observer).build().unwrap(), &world);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    world.set("us", Host::Replies(200));
    tokio::time::advance(Duration::from_secs(11)).await;
    get(&mut client).await.unwrap();
    assert_eq!(
        *events.lock().unwrap(),
        [
            "upstream: region us-west-2 out for 10.0s: connection failed",
            "upstream: region us-west-2 failed (connection failed), trying another region",
            "upstream: region us-west-2 healthy",
        ]
    );
}
