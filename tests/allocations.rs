//! What a call that succeeds costs in allocations: nothing, but for the copy of
//! the request that a retry keeps.
//!
//! A binary of its own, for the allocator that counts.
#![cfg(all(
    feature = "alert",
    feature = "peek",
    feature = "retry",
    feature = "circuit-breaker",
    feature = "rate-limit"
))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::util::ServiceFn;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::alert::{AlertLayer, Alerts, Rule, Slo};
use tower_upstream::circuit_breaker::FailureRate;
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::hint::Limits;
use tower_upstream::key::key_fn;
use tower_upstream::{CircuitBreakerLayer, PeekLayer, Quota, RateLimitLayer, RetryLayer};

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may allocate when its locals are gone.
    _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations `f` makes on this thread.
fn allocations(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

const CALLS: usize = 1_000;

type Request = http::Request<()>;

/// A client that is always ready and costs nothing.
fn client() -> ServiceFn<fn(Request) -> Reply> {
    service_fn(|_| Reply { asked: false })
}

/// A reply that takes a moment, so that the layers' futures are polled twice.
struct Reply {
    asked: bool,
}

impl Future for Reply {
    type Output = Result<http::Response<()>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if mem::replace(&mut self.asked, true) {
            return Poll::Ready(Ok(http::Response::new(())));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A request without headers: it is made, and copied, without an allocation.
fn plain() -> Request {
    http::Request::new(())
}

/// A request to a host, with a credential.
fn full() -> Request {
    let request = http::Request::get("http://upstream.test/path?query");
    request.header("authorization", "Bearer secret").body(()).expect("a valid request")
}

/// What [`CALLS`] calls allocate, once as many have warmed everything up.
async fn cost<S>(mut client: S, request: impl Fn() -> Request) -> usize
where
    S: Service<Request, Response = http::Response<()>, Error = BoxError>,
{
    let mut rounds = [0; 2];
    for round in &mut rounds {
        let requests: Vec<_> = (0..CALLS).map(|_| request()).collect();
        let before = ALLOCATIONS.get();
        for request in requests {
            let client = client.ready().await.expect("ready");
            let reply = client.call(request).await;
            assert_eq!(black_box(reply).expect("a reply").status(), 200);
        }
        *round = ALLOCATIONS.get() - before;
    }
    rounds[1]
}

/// What copies of requests allocate, those of the requests' own making apart.
fn cost_of_copies(request: impl Fn() -> Request) -> usize {
    let requests: Vec<_> = (0..CALLS).map(|_| request()).collect();
    allocations(|| requests.iter().for_each(|request| drop(black_box(request.clone()))))
}

#[test]
fn the_allocator_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
    assert_eq!(cost_of_copies(plain), 0);
    assert!(cost_of_copies(full) > 0);
}

#[tokio::test(start_paused = true)]
async fn alert() {
    let second = Duration::from_secs(1);
    let measures = Alerts::builder()
        .slo(Slo::availability(0.995))
        .slo(Slo::latency(0.5, second))
        .rule(Rule::calls_hanging(second));
    for builder in [Alerts::builder(), measures] {
        let alerts = builder.build().expect("a valid configuration");
        assert_eq!(cost(AlertLayer::new(&alerts).layer(client()), full).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn circuit_breaker() {
    let builders = || CircuitBreakerLayer::builder().name("upstream");
    let rate = FailureRate::over_calls(100);
    let minute = FailureRate::over_time(Duration::from_secs(60));
    for builder in [
        builders(),
        builders().leaky_failures(5),
        builders().failure_rate(rate),
        builders().failure_rate(minute).consecutive_failures(5),
        builders().half_open_probes(2).half_open_successes(2),
        builders().observer(observer_fn(|_: &Event<'_>| {})),
    ] {
        let layer = builder.build().expect("a valid configuration");
        assert_eq!(cost(layer.layer(client()), plain).await, 0);
        assert_eq!(cost(layer.layer(client()), full).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn circuit_breaker_by_key() {
    let builder = CircuitBreakerLayer::builder;
    let by_authority = builder().by_authority().build().expect("a valid configuration");
    let by_credential = builder().by_credential().build().expect("a valid configuration");
    let by_header = builder().key(key_fn(|head| head.header("authorization")));
    let by_header = by_header.build().expect("a valid configuration");
    for request in [plain, full] {
        assert_eq!(cost(by_authority.layer(client()), request).await, 0);
        assert_eq!(cost(by_credential.layer(client()), request).await, 0);
        assert_eq!(cost(by_header.layer(client()), request).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_breaker_that_watches_credentials_costs_one_a_call() {
    let layer = CircuitBreakerLayer::new();
    let refuses = service_fn(|_: Request| async {
        Ok::<_, Infallible>(http::Response::builder().status(401).body(()).expect("a response"))
    });
    layer.layer(refuses).oneshot(full()).await.expect("a reply");
    assert_eq!(cost(layer.layer(client()), full).await, CALLS);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_circuit_breaker_rejects_costs_one() {
    let layer = CircuitBreakerLayer::new();
    layer.handle().force_open();
    let mut client = layer.layer(client());
    for request in [plain, full] {
        let request = request();
        let client = client.ready().await.expect("ready");
        let rejected = allocations(|| drop(black_box(client.call(request))));
        assert_eq!(rejected, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_one_of_many_open_circuits_rejects_costs_one() {
    let builder = CircuitBreakerLayer::builder().consecutive_failures(1);
    let layer = builder.by_authority().build().expect("a valid configuration");
    let fails = service_fn(|_: Request| async {
        Ok::<_, Infallible>(http::Response::builder().status(503).body(()).expect("a response"))
    });
    let mut client = layer.layer(fails);
    let to = |host| http::Request::get(format!("http://{host}.test/")).body(()).expect("valid");
    for host in 0..40 {
        client.ready().await.expect("ready").call(to(host)).await.expect("a reply");
    }
    for round in 0..2 {
        for host in 0..40 {
            let (request, client) = (to(host), client.ready().await.expect("ready"));
            let rejected = allocations(|| drop(black_box(client.call(request))));
            assert!(round == 0 || rejected == 1, "{rejected} allocations at host {host}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rate_limit() {
    let ample = Quota::per_second(1_000_000);
    for quota in [ample.clone(), ample.burst(1_000_000), Quota::per_second(10_000)] {
        let builder = || RateLimitLayer::builder(quota.clone());
        let one = builder().build().unwrap();
        let no_wait = builder().no_wait().build().unwrap();
        let by_authority = builder().by_authority().build().unwrap();
        let by_credential = builder().by_credential().build().unwrap();
        let by_cost = builder().cost_fn(|_: &Request| 2).build().unwrap();
        for request in [plain, full] {
            assert_eq!(cost(one.layer(client()), request).await, 0);
            assert_eq!(cost(no_wait.layer(client()), request).await, 0);
            assert_eq!(cost(by_authority.layer(client()), request).await, 0);
            assert_eq!(cost(by_credential.layer(client()), request).await, 0);
            assert_eq!(cost(by_cost.layer(client()), request).await, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retry_costs_a_copy_of_the_request() {
    let plain_retry = RetryLayer::new();
    let bounded = RetryLayer::builder().deadline(Duration::from_secs(9));
    let timed = bounded.clone().attempt_timeout(Duration::from_secs(1)).seed(1);
    let (bounded, timed) = (bounded.build().unwrap(), timed.build().unwrap());
    for layer in [plain_retry, bounded, timed] {
        for request in [plain, full] {
            let cost = cost(layer.layer(client()), request).await;
            assert_eq!(cost, cost_of_copies(request), "over {CALLS} calls");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn peek() {
    let texts = || client().map_response(|response| response.map(|()| String::new()));
    let all = PeekLayer::builder().also_successes().grpc_unary().build().unwrap();
    for layer in [PeekLayer::new(), all] {
        let client = layer.layer(texts()).map_response(|response| response.map(drop));
        assert_eq!(cost(client, full).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_without_a_second_attempt_costs_nothing() {
    let layer = RetryLayer::builder().max_attempts(1).build().unwrap();
    assert_eq!(cost(layer.layer(client()), full).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_whole_stack_costs_what_its_retry_does() {
    let alerts = Alerts::builder().build().expect("a valid configuration");
    for request in [plain, full] {
        let stack = ServiceBuilder::new()
            .layer(AlertLayer::new(&alerts))
            .layer(RetryLayer::builder().deadline(Duration::from_secs(9)).build().unwrap())
            .layer(
                RateLimitLayer::builder(Quota::per_second(100_000))
                    .by_credential()
                    .build()
                    .unwrap(),
            )
            .layer(CircuitBreakerLayer::builder().by_authority().build().expect("valid"));
        assert_eq!(cost(stack.service(client()), request).await, cost_of_copies(request));
    }
}

#[test]
fn limits_are_read_in_place() {
    let pairs = [
        ("date", "Fri, 15 May 2026 12:00:00 GMT"),
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-reset-requests", "6m0s"),
        ("anthropic-ratelimit-tokens-reset", "2026-05-15T12:00:09Z"),
        ("anthropic-ratelimit-unified-5h-reset", "1778850000"),
        ("x-ratelimit-reset-tokens", "Fri, 15 May 2026 12:00:09 GMT"),
        ("ratelimit", "\"day\";r=0;t=30"),
        ("ratelimit-policy", "\"day\";q=100;w=60"),
    ];
    let mut headers = http::HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    let mut count = 0;
    let cost = allocations(|| count = Limits::from_headers(&headers).iter().count());
    assert_eq!((count, cost), (5, 0));
}
