//! Active health checks.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::time::Instant;
use tower::{ServiceBuilder, service_fn};
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::failover::{
    FailoverBuilder, FailoverLayer, HealthChecks, Region, RegionStatus, Regions, WhenAllOut,
};
use tower_upstream::{BoxError, CircuitBreakerLayer, Quota, RateLimitLayer};

use super::{Host, World, client, get, regions};

const SECOND: Duration = Duration::from_secs(1);

/// The checks' client: what it was asked, and how many of it and its checks there are.
#[derive(Clone, Default)]
struct Checker {
    seen: Arc<Mutex<Vec<(String, Instant)>>>,
    held: Arc<()>,
    under_way: Arc<AtomicUsize>,
}

struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Checker {
    /// Checks of the same hosts as the calls go to.
    fn checks(&self, world: &World) -> HealthChecks {
        let (world, checker) = (world.clone(), self.clone());
        HealthChecks::new(service_fn(move |request| checker.clone().reply(world.clone(), request)))
    }

    fn reply(
        self,
        world: World,
        request: Request<Bytes>,
    ) -> impl Future<Output = Result<Response<()>, BoxError>> + Send {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let under_way = UnderWay(Arc::clone(&self.under_way));
        async move {
            let _under_way = under_way;
            assert_eq!(request.uri().path(), "/v1/health");
            let host = request.uri().host().unwrap().to_owned();
            self.seen.lock().unwrap().push((host.clone(), Instant::now()));
            world.does(&host).await
        }
    }

    fn take_seen(&self) -> Vec<String> {
        let mut hosts: Vec<_> = self.seen.lock().unwrap().drain(..).map(|(host, _)| host).collect();
        hosts.sort();
        hosts
    }

    /// When this host was checked.
    fn times(&self, host: &str) -> Vec<Instant> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(seen, _)| seen == host).map(|(_, at)| *at).collect()
    }

    /// How many clients there are besides this one, and how many checks are under way.
    fn left(&self) -> (usize, usize) {
        (Arc::strong_count(&self.held) - 1, self.under_way.load(Ordering::SeqCst))
    }
}

/// A layer with these checks, and a cooldown that is longer than any test.
fn with(checks: HealthChecks) -> FailoverBuilder {
    FailoverLayer::builder(regions())
        .cooldown(3600 * SECOND)
        .max_cooldown(7200 * SECOND)
        .health_checks(checks)
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

fn healthy(status: &[RegionStatus]) -> Vec<bool> {
    status.iter().map(|region| region.healthy).collect()
}

#[tokio::test(start_paused = true)]
async fn they_start_with_the_first_call() {
    let (world, checker) = (World::default(), Checker::default());
    let layer = with(checker.checks(&world)).build().unwrap();
    let handle = layer.handle();
    let (mut one, mut other) = (client(layer.clone(), &world), client(layer, &world));
    pass(60 * SECOND).await;
    assert!(checker.take_seen().is_empty());
    assert!(handle.status().iter().all(|region| region.last_check.is_none()));

    get(&mut one).await.unwrap();
    get(&mut other).await.unwrap();
    pass(SECOND).await;
    assert_eq!(checker.take_seen(), ["ap", "eu", "us"]);
    assert!(handle.status().iter().all(|region| region.last_check.is_some()));
}

#[test]
fn they_are_built_outside_a_runtime_and_outlive_one() {
    let (world, checker) = (World::default(), Checker::default());
    let layer = with(checker.checks(&world)).build().unwrap();
    for _ in 0..2 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            get(&mut client(layer.clone(), &world)).await.unwrap();
            pass(SECOND).await;
        });
        assert_eq!(checker.take_seen(), ["ap", "eu", "us"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_primary_is_found_without_a_failed_call() {
    for failure in [Host::Replies(500), Host::Replies(404), Host::Replies(204), Host::Refuses] {
        let (world, checker) = (World::default(), Checker::default());
        let layer = with(checker.checks(&world)).build().unwrap();
        let handle = layer.handle();
        let mut client = client(layer, &world);
        get(&mut client).await.unwrap();
        assert_eq!(world.take_called(), ["us"]);

        world.set("us", failure);
        pass(12 * SECOND).await;
        assert_eq!(get(&mut client).await.unwrap(), 200);
        assert_eq!(world.take_called(), ["eu"]);
        assert_eq!(healthy(&handle.status()), [false, true, true]);

        // One check that succeeds brings it back, even during its cooldown.
        world.set("us", Host::Replies(200));
        pass(12 * SECOND).await;
        assert_eq!(get(&mut client).await.unwrap(), 200);
        assert_eq!(world.take_called(), ["us"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_check_finds_down_stays_out_until_one_succeeds() {
    let (world, checker) = (World::default(), Checker::default());
    // Left to the cooldown, it would be back between two checks.
    let layer = with(checker.checks(&world)).cooldown(SECOND).max_cooldown(SECOND).build().unwrap();
    let mut client = client(layer, &world);
    world.set("us", Host::Refuses);
    get(&mut client).await.unwrap();
    pass(SECOND).await;
    world.take_called();
    for _ in 0..600 {
        assert_eq!(get(&mut client).await.unwrap(), 200);
        pass(SECOND / 4).await;
    }
    assert!(world.take_called().iter().all(|host| host == "eu"));
}

#[tokio::test(start_paused = true)]
async fn they_bring_back_what_calls_found_down() {
    let (world, checker) = (World::default(), Checker::default());
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = Arc::clone(&events);
    let observer =
        observer_fn(move |event: &Event<'_>| hears.lock().unwrap().push(event.to_string()));
    let layer = with(checker.checks(&world)).observer(observer).build().unwrap();
    let mut client = client(layer, &world);
    get(&mut client).await.unwrap();
    pass(SECOND).await;
    world.set("us", Host::Resets);
    get(&mut client).await.unwrap();
    world.set("us", Host::Replies(200));
    assert_eq!(world.take_called(), ["us", "us", "eu"]);
    pass(11 * SECOND).await;
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["us"]);
    assert_eq!(
        *events.lock().unwrap(),
        [
            "upstream: region us-west-2 out for 3600.0s: connection broken",
            "upstream: region us-west-2 failed (connection broken), trying another region",
            "upstream: region us-west-2 healthy",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn their_good_word_does_not_end_what_a_server_asked_for() {
    let (world, checker) = (World::default(), Checker::default());
    let layer = FailoverLayer::builder(regions()).health_checks(checker.checks(&world));
    let mut client = client(layer.build().unwrap(), &world);
    world.set("us", Host::AsksFor(503, "60"));
    get(&mut client).await.unwrap();
    world.set("us", Host::Replies(200));
    world.take_called();
    for _ in 0..59 {
        get(&mut client).await.unwrap();
        pass(SECOND).await;
    }
    assert!(checker.times("us").len() > 4);
    assert!(world.take_called().iter().all(|host| host == "eu"));
    pass(2 * SECOND).await;
    get(&mut client).await.unwrap();
    assert_eq!(world.take_called(), ["us"]);
}

#[tokio::test(start_paused = true)]
async fn their_good_word_counts_less_where_calls_find_otherwise() {
    let (world, checker) = (World::default(), Checker::default());
    let well = World::default();
    let layer = FailoverLayer::builder(regions()).health_checks(checker.checks(&well));
    let mut client = client(layer.build().unwrap(), &world);
    world.set("us", Host::Refuses);
    for _ in 0..600 {
        get(&mut client).await.unwrap();
        pass(SECOND).await;
    }
    let lost = world.take_called().iter().filter(|host| *host == "us").count();
    // And not 60: one for each check that found it well.
    assert!((2..=8).contains(&lost), "{lost}");
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_added_is_checked_and_one_that_is_removed_is_not() {
    let (world, checker) = (World::default(), Checker::default());
    let layer = with(checker.checks(&world)).build().unwrap();
    let handle = layer.handle();
    let mut client = client(layer, &world);
    get(&mut client).await.unwrap();
    pass(SECOND).await;
    handle.add(Region::new("sa-east-1", "https://sa/v1")).unwrap();
    handle.remove("eu-west-1").unwrap();
    get(&mut client).await.unwrap();
    checker.take_seen();
    pass(30 * SECOND).await;
    let seen = checker.take_seen();
    assert!(
        seen.iter().any(|host| host == "sa") && seen.iter().all(|host| host != "eu"),
        "{seen:?}"
    );
    handle.add(Region::new("eu-west-1", "https://eu/v1")).unwrap();
    get(&mut client).await.unwrap();
    pass(11 * SECOND).await;
    assert!(checker.take_seen().iter().any(|host| host == "eu"));
}

#[test]
fn a_path_that_is_none_is_refused_when_the_layer_is_built() {
    let checks = Checker::default().checks(&World::default());
    let refused = with(checks.path("a path")).build().unwrap_err().to_string();
    assert!(refused.contains("path"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn their_latency_decides_among_equal_priorities() {
    let (world, checker) = (World::default(), Checker::default());
    let regions = ["us", "eu", "ap"].map(|host| Region::new(host, format!("https://{host}/v1")));
    let layer = FailoverLayer::builder(Regions::new(regions).unwrap())
        .health_checks(checker.checks(&world))
        .seed(1)
        .build()
        .unwrap();
    let handle = layer.handle();
    let mut client = client(layer, &world);
    for (host, millis) in [("us", 300), ("eu", 20), ("ap", 100)] {
        world.set(host, Host::Takes(Duration::from_millis(millis)));
    }
    get(&mut client).await.unwrap();
    world.take_called();
    pass(SECOND).await;
    let status = handle.status();
    let latencies = status.iter().map(|region| region.latency.unwrap().as_millis());
    assert_eq!(latencies.collect::<Vec<_>>(), [300, 20, 100]);

    // Calls take longer than checks: theirs doesn't count, or they would wander.
    world.set("eu", Host::Takes(Duration::from_millis(250)));
    for _ in 0..30 {
        get(&mut client).await.unwrap();
    }
    // Of two drawn by random the better one: the slowest never, the fastest mostly.
    let called = world.take_called();
    assert!(called.iter().all(|host| host != "us"));
    let fastest = called.iter().filter(|host| *host == "eu").count();
    assert!((16..30).contains(&fastest), "{fastest}");
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_is_bounded_by_its_timeout() {
    let (world, checker) = (World::default(), Checker::default());
    let layer = with(checker.checks(&world).timeout(2 * SECOND)).build().unwrap();
    let handle = layer.handle();
    let mut client = client(layer, &world);
    get(&mut client).await.unwrap();
    world.set("us", Host::Hangs);
    pass(12 * SECOND).await;
    assert_eq!(get(&mut client).await.unwrap(), 200);
    assert_eq!(world.take_called(), ["us", "eu"]);
    // By random the next one may be in flight, but no two are.
    assert!(checker.left().1 <= 1);
    // The others' checks have gone on, and so have its own.
    pass(60 * SECOND).await;
    for host in ["us", "eu", "ap"] {
        assert!(checker.times(host).len() >= 7, "{host}");
    }
    world.set("us", Host::Replies(200));
    pass(12 * SECOND).await;
    assert_eq!(healthy(&handle.status()), [true; 3]);
}

#[tokio::test(start_paused = true)]
async fn one_that_panics_touches_nothing_else() {
    let (world, checker) = (World::default(), Checker::default());
    let layer = with(checker.checks(&world)).build().unwrap();
    let handle = layer.handle();
    let mut client = client(layer, &world);
    get(&mut client).await.unwrap();
    pass(SECOND).await;
    world.set("us", Host::Panics);
    pass(30 * SECOND).await;
    assert_eq!(get(&mut client).await.unwrap(), 200);
    assert_eq!(world.take_called(), ["us", "eu"]);
    assert_eq!(healthy(&handle.status()), [false, true, true]);
    assert!(checker.times("us").len() >= 3);
    world.set("us", Host::Replies(200));
    pass(12 * SECOND).await;
    assert_eq!(healthy(&handle.status()), [true; 3]);
}

#[tokio::test(start_paused = true)]
async fn they_end_when_all_is_dropped() {
    for does in [Host::Replies(200), Host::Refuses, Host::Hangs, Host::Panics] {
        let (world, checker) = (World::default(), Checker::default());
        let layer = with(checker.checks(&world)).build().unwrap();
        let handle = layer.handle();
        let mut client = client(layer, &world);
        get(&mut client).await.unwrap();
        for host in ["us", "eu", "ap"] {
            world.set(host, does);
        }
        // In the middle of a check, which hangs.
        pass(12 * SECOND).await;
        drop(client);
        let before = checker.take_seen().len();
        pass(12 * SECOND).await;
        assert!(before >= 3 && checker.take_seen().len() >= 3, "a handle keeps them going");

        drop(handle);
        tokio::task::yield_now().await;
        assert_eq!(checker.left(), (0, 0));
        pass(60 * SECOND).await;
        assert!(checker.take_seen().is_empty());
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_never_called_leaves_nothing() {
    let (world, checker) = (World::default(), Checker::default());
    drop(client(with(checker.checks(&world)).build().unwrap(), &world));
    assert_eq!(checker.left(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn their_interval_is_jittered_by_a_tenth_at_most() {
    let (world, checker) = (World::default(), Checker::default());
    let layer = with(checker.checks(&world)).build().unwrap();
    // The interval is from start to start, however long a check takes.
    world.set("us", Host::Takes(4 * SECOND));
    let mut client = client(layer, &world);
    get(&mut client).await.unwrap();
    pass(1000 * SECOND).await;
    for host in ["us", "eu"] {
        let times = checker.times(host);
        let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.len() >= 90);
        // Timers are good to a millisecond.
        let within = |gap: &Duration| (9.0..=11.002).contains(&gap.as_secs_f64());
        assert!(gaps.iter().all(within), "{gaps:?}");
        assert!(gaps.iter().any(|gap| *gap < 10 * SECOND));
        assert!(gaps.iter().any(|gap| *gap > 10 * SECOND));
    }
    assert_ne!(checker.times("us"), checker.times("ap"));
}

#[tokio::test(start_paused = true)]
async fn they_do_not_go_through_the_layered_client() {
    let (world, checker) = (World::default(), Checker::default());
    let breaker = CircuitBreakerLayer::builder().consecutive_failures(1).by_authority().build();
    let breaker = breaker.unwrap();
    let circuits = breaker.handle();
    let layer = ServiceBuilder::new()
        .layer(with(checker.checks(&world)).build().unwrap())
        .layer(RateLimitLayer::new(Quota::per_minute(2)))
        .layer(breaker)
        .into_inner();
    let mut client = client(layer, &world);
    get(&mut client).await.unwrap();
    world.set("eu", Host::Refuses);
    let start = Instant::now();
    pass(30 * SECOND).await;
    assert!(checker.take_seen().len() >= 6);
    assert_eq!(world.take_called(), ["us"]);
    assert!(circuits.all().iter().all(|circuit| circuit.last_failure.is_none()));
    // The calls use up the limit of two; the checks take none of it.
    get(&mut client).await.unwrap();
    assert!(start.elapsed() < 31 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn extremes_neither_panic_nor_spin() {
    for time in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        for other in [Duration::ZERO, Duration::MAX] {
            let (world, checker) = (World::default(), Checker::default());
            let checks = checker.checks(&world).interval(time).timeout(other);
            let mut client = client(with(checks).build().unwrap(), &world);
            world.set("us", Host::Takes(SECOND));
            get(&mut client).await.unwrap();
            pass(SECOND).await;
            assert!((1..=250).contains(&checker.times("eu").len()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_closure_is_a_check_too() {
    let (world, checked) = (World::default(), World::default());
    let checks = HealthChecks::check_fn({
        let checked = checked.clone();
        move |region| {
            let (world, host) = (checked.clone(), region.uri().host().unwrap().to_owned());
            async move { world.does(&host).await.map(|_| ()) }
        }
    });
    let layer = with(checks).build().unwrap();
    let handle = layer.handle();
    let mut client = client(layer, &world);
    checked.set("us", Host::Refuses);
    checked.set("eu", Host::Takes(SECOND));
    get(&mut client).await.unwrap();
    pass(2 * SECOND).await;
    assert_eq!(healthy(&handle.status()), [false, true, true]);
    assert_eq!(handle.status()[1].latency, Some(SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_grpc_server_is_well_if_it_says_that_it_is_serving() {
    for (reply, well) in [
        (&[0, 0, 0, 0, 2, 8, 1][..], true),
        (&[0, 0, 0, 0, 2, 8, 2], false),
        (&[0, 0, 0, 0, 2, 8, 1, 0], false),
        (&[0, 0, 0, 0, 2, 8], false),
        (&[], false),
    ] {
        let client_of_checks = service_fn(move |check: Request<Bytes>| {
            assert_eq!(check.uri().path(), "/v1/grpc.health.v1.Health/Check");
            assert_eq!((check.method().as_str(), &check.body()[..]), ("POST", &[0; 5][..]));
            // In pieces, as it may come.
            let frames = reply
                .chunks(3)
                .map(|piece| Ok::<_, BoxError>(http_body::Frame::data(Bytes::from_static(piece))));
            let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
            async { Ok::<_, BoxError>(Response::new(body)) }
        });
        let layer = with(HealthChecks::grpc(client_of_checks)).build().unwrap();
        let handle = layer.handle();
        let mut client = client(layer, &World::default());
        get(&mut client).await.unwrap();
        pass(SECOND).await;
        assert_eq!(healthy(&handle.status()), [well; 3], "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_panics_before_it_checks_touches_nothing_else() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let checks = HealthChecks::check_fn(move |region| {
        counted.fetch_add(1, Ordering::SeqCst);
        assert_ne!(region.name(), "us-west-2", "a bug in a check");
        async { Ok::<_, BoxError>(()) }
    });
    let layer = with(checks).build().unwrap();
    let handle = layer.handle();
    let mut client = client(layer, &World::default());
    for _ in 0..10 {
        get(&mut client).await.unwrap();
        tokio::task::yield_now().await;
    }
    // Once per region and interval, and not with every call.
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    assert_eq!(healthy(&handle.status()), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_region_receives_one_that_is_found_well() {
    let (world, checked) = (World::default(), Checker::default());
    let found = World::default();
    let layer = with(checked.checks(&found)).when_all_out(WhenAllOut::Wait).build().unwrap();
    let mut client = client(layer, &world);
    for host in ["us", "eu", "ap"] {
        world.set(host, Host::Refuses);
        found.set(host, Host::Refuses);
    }
    get(&mut client).await.unwrap_err();
    pass(SECOND).await;
    let start = Instant::now();
    let call = tokio::spawn(async move { get(&mut client).await });
    pass(60 * SECOND).await;
    assert!(!call.is_finished());
    world.set("eu", Host::Replies(200));
    found.set("eu", Host::Replies(200));
    assert_eq!(call.await.unwrap().unwrap(), 200);
    assert!(start.elapsed() <= 72 * SECOND, "{:?}", start.elapsed());
}
