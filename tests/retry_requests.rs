//! The overrides of a request, and the headers that the layer adds, on a paused clock.

#![cfg(all(feature = "retry", feature = "failover"))]

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::failover::{Region, Regions};
use tower_upstream::retry::RetryBuilder;
use tower_upstream::retry::{Backoff, DeadlineExceeded, Override, RetryBudget};
use tower_upstream::{BoxError, FailoverLayer, RetryLayer, cause_ref};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Returns a retry with a constant wait of 1 s and no budget.
fn plain() -> RetryBuilder {
    RetryLayer::builder().backoff(Backoff::constant(secs(1))).no_budget()
}

/// Returns the values of this header in all attempts, to an upstream that always responds 500.
async fn seen<L>(layer: L, name: &str, request: Request<()>) -> Vec<Option<String>>
where
    L: Layer<Upstream>,
    L::Service: tower::Service<Request<()>, Response = Response<()>, Error = BoxError>,
{
    let upstream = Upstream::default();
    _ = layer.layer(upstream.clone()).oneshot(request).await;
    let requests = upstream.requests.lock().unwrap();
    let value = |request: &Request<()>| {
        request.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    requests.iter().map(value).collect()
}

/// An upstream that responds 500 at once, and keeps the requests.
#[derive(Clone, Default)]
struct Upstream {
    requests: Arc<Mutex<Vec<Request<()>>>>,
}

impl tower::Service<Request<()>> for Upstream {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        self.requests.lock().unwrap().push(request);
        std::future::ready(Ok(Response::builder().status(500).body(()).unwrap()))
    }
}

async fn attempts<L>(layer: L, overrides: Override) -> usize
where
    L: Layer<Upstream>,
    L::Service: tower::Service<Request<()>, Response = Response<()>, Error = BoxError>,
{
    let mut request = Request::new(());
    request.extensions_mut().insert(overrides);
    seen(layer, "any", request).await.len()
}

// Overrides.

#[tokio::test(start_paused = true)]
async fn override_max_attempts_of_one_request() {
    assert_eq!(attempts(plain().build().unwrap(), Override::new()).await, 3);
    assert_eq!(attempts(plain().build().unwrap(), Override::new().no_retry()).await, 1);
    assert_eq!(attempts(plain().build().unwrap(), Override::new().max_attempts(0)).await, 1);
    assert_eq!(attempts(plain().build().unwrap(), Override::new().max_attempts(2)).await, 2);
    assert_eq!(attempts(plain().build().unwrap(), Override::new().max_attempts(5)).await, 5);
    assert_eq!(
        attempts(plain().max_attempts(1).build().unwrap(), Override::new().max_attempts(2)).await,
        2
    );
}

#[tokio::test(start_paused = true)]
async fn override_deadline_of_one_request() {
    let layer = plain().max_attempts(u32::MAX).deadline(secs(3)).build().unwrap();
    let start = Instant::now();
    // Waits of 1 s, which must end before the deadline.
    assert_eq!(attempts(layer.clone(), Override::new()).await, 3);
    assert_eq!(attempts(layer.clone(), Override::new().deadline(secs(2))).await, 2);
    assert_eq!(attempts(layer.clone(), Override::new().deadline(secs(6))).await, 6);
    assert_eq!(start.elapsed(), secs(2 + 1 + 5));
    // The deadline of a layer above still applies.
    let nested =
        ServiceBuilder::new().layer(plain().deadline(secs(1)).build().unwrap()).layer(layer);
    assert_eq!(attempts(nested, Override::new().deadline(secs(6))).await, 3);
}

#[tokio::test(start_paused = true)]
async fn override_deadline_drops_attempt_in_flight() {
    let slow = service_fn(|_: Request<()>| async {
        sleep(secs(60)).await;
        Ok::<_, BoxError>(Response::new(()))
    });
    let mut request = Request::new(());
    request.extensions_mut().insert(Override::new().deadline(secs(5)));
    let start = Instant::now();
    let error = plain().build().unwrap().layer(slow).oneshot(request).await.unwrap_err();
    assert!(cause_ref::<DeadlineExceeded>(&*error).is_some());
    assert_eq!(start.elapsed(), secs(5));
}

#[tokio::test(start_paused = true)]
async fn override_extremes_neither_panic_nor_hang() {
    let reserve = RetryBudget::new().ratio(0.0).per_second(0.0).reserve(5);
    let layer =
        RetryLayer::builder().backoff(Backoff::constant(secs(1))).budget(reserve).build().unwrap();
    for overrides in [
        Override::new().deadline(Duration::ZERO).max_attempts(u32::MAX),
        Override::new().deadline(Duration::MAX).max_attempts(0),
    ] {
        assert_eq!(attempts(layer.clone(), overrides).await, 1, "{overrides:?}");
    }
    let overrides = Override::new().deadline(Duration::MAX).max_attempts(u32::MAX);
    assert_eq!(attempts(layer, overrides).await, 6, "the budget bounds the attempts");
}

#[tokio::test(start_paused = true)]
async fn override_fn_applies_to_requests_without_extensions() {
    #[derive(Clone, Copy)]
    struct Job {
        attempts: u32,
    }

    let sent = Arc::new(Mutex::new(0));
    let count = Arc::clone(&sent);
    let client = service_fn(move |_: Job| {
        *count.lock().unwrap() += 1;
        async { Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused)) }
    });
    let layer = plain()
        .replay_clone()
        .classifier(tower_upstream::classify::ErrorClassifier::new())
        .override_fn(|job: &Job| Override::new().max_attempts(job.attempts))
        .build()
        .unwrap();
    let client = layer.layer(client);
    for attempts in [1, 2, 4] {
        *sent.lock().unwrap() = 0;
        client.clone().oneshot(Job { attempts }).await.unwrap_err();
        assert_eq!(*sent.lock().unwrap(), attempts);
    }
}

// Added headers.

fn post() -> Request<()> {
    Request::post("http://upstream.test/").body(()).unwrap()
}

fn post_with(name: &str) -> Request<()> {
    Request::post("http://upstream.test/").header(name, "mine").body(()).unwrap()
}

const KEY: &str = "idempotency-key";

fn is_random_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
        && groups[2].starts_with('4')
        && groups[3].starts_with(['8', '9', 'a', 'b'])
}

#[tokio::test(start_paused = true)]
async fn idempotency_key_is_the_same_for_all_attempts() {
    assert_eq!(seen(plain().build().unwrap(), KEY, post()).await, [None]);
    let mut all = HashSet::new();
    for _ in 0..2 {
        let keys = seen(plain().idempotency_key().build().unwrap(), KEY, post()).await;
        assert_eq!(keys.len(), 3);
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        assert!(is_random_uuid(keys[0].as_ref().unwrap()), "{keys:?}");
        all.insert(keys[0].clone());
    }
    assert_eq!(all.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn idempotency_key_of_the_caller_is_kept() {
    let mine = Some("mine".to_owned());
    assert_eq!(
        seen(plain().idempotency_key().build().unwrap(), KEY, post_with(KEY)).await,
        vec![mine.clone(); 3]
    );
    let named =
        plain().idempotency_header(HeaderName::from_static("x-request-key")).build().unwrap();
    let keys = seen(named.clone(), "x-request-key", post_with("x-request-key")).await;
    assert_eq!(keys, vec![mine; 3]);
    assert_eq!(seen(named, KEY, post()).await, [None, None, None]);
}

#[tokio::test(start_paused = true)]
async fn idempotency_key_needs_a_possible_retry() {
    let layer = plain().idempotency_key().build().unwrap();
    let once = plain().idempotency_key().max_attempts(1).build().unwrap();
    assert_eq!(seen(once, KEY, post()).await, [None]);
    let mut once = post();
    once.extensions_mut().insert(Override::new().no_retry());
    assert_eq!(seen(layer, KEY, once).await, [None]);
}

#[tokio::test(start_paused = true)]
async fn idempotency_key_with_seed_is_repeatable() {
    let seeded = |seed| plain().idempotency_key().seed(seed).build().unwrap();
    let layer = || seeded(7);
    assert_eq!(seen(layer(), KEY, post()).await, seen(layer(), KEY, post()).await);
    assert_ne!(seen(layer(), KEY, post()).await, seen(seeded(8), KEY, post()).await);
}

#[tokio::test(start_paused = true)]
async fn idempotency_key_is_shared_by_regions_and_nested_layers() {
    let region = |name: &'static str| Region::new(name, format!("http://{name}.test"));
    let regions = Regions::new([region("one"), region("two"), region("three")]).unwrap();
    let stack = ServiceBuilder::new()
        .layer(plain().idempotency_key().build().unwrap())
        .layer(FailoverLayer::new(regions))
        .layer(plain().idempotency_key().build().unwrap());
    let upstream = Upstream::default();
    _ = stack.service(upstream.clone()).oneshot(post()).await;
    let requests = upstream.requests.lock().unwrap();
    let distinct = |of: fn(&Request<()>) -> String| requests.iter().map(of).collect::<HashSet<_>>();
    assert_eq!(requests.len(), 3);
    assert_eq!(distinct(|request| request.uri().host().unwrap().to_owned()).len(), 3);
    assert_eq!(distinct(|request| request.headers()[KEY].to_str().unwrap().to_owned()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn retry_count_header_counts_retries() {
    let counting = || plain().retry_count_header(HeaderName::from_static("x-retry-count"));
    let layer = counting().build().unwrap();
    let counts = ["0", "1", "2"].map(|count| Some(count.to_owned()));
    assert_eq!(seen(layer.clone(), "x-retry-count", Request::new(())).await, counts);
    // The caller's value is replaced.
    let mut request = post_with("x-retry-count");
    *request.method_mut() = http::Method::PUT;
    assert_eq!(seen(layer.clone(), "x-retry-count", request).await, counts);
    let once = counting().max_attempts(1).build().unwrap();
    assert_eq!(seen(once, "x-retry-count", post()).await, counts[..1]);
}

#[cfg(feature = "circuit-breaker")]
#[tokio::test(start_paused = true)]
async fn retry_count_header_skips_rejected_attempts() {
    let breaker = tower_upstream::CircuitBreakerLayer::builder().consecutive_failures(2).build();
    let layer = plain()
        .retry_count_header(HeaderName::from_static("x-retry-count"))
        .deadline(secs(60))
        .build()
        .unwrap();
    // The circuit opens after two failures, and rejects the third attempt.
    let layer = ServiceBuilder::new().layer(layer).layer(breaker.unwrap());
    let counts = ["0", "1", "2"].map(|count| Some(count.to_owned()));
    assert_eq!(seen(layer, "x-retry-count", Request::new(())).await, counts);
}

#[cfg(feature = "reqwest")]
#[tokio::test(start_paused = true)]
async fn reqwest_request_receives_headers() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let client = service_fn(move |request: reqwest::Request| {
        let header = |name| request.headers()[name].to_str().unwrap().to_owned();
        noted.lock().unwrap().push((header(KEY), header("x-retry-count")));
        async { Ok::<_, BoxError>(Response::builder().status(500).body(())?) }
    });
    let layer = plain().idempotency_key().seed(1);
    let layer = layer.retry_count_header(HeaderName::from_static("x-retry-count")).build().unwrap();
    let request =
        reqwest::Request::new(http::Method::POST, "http://upstream.test".parse().unwrap());
    layer.layer(client).oneshot(request).await.unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|(key, _)| *key == seen[0].0));
    assert_eq!(seen.iter().map(|(_, count)| &**count).collect::<Vec<_>>(), ["0", "1", "2"]);
}

/// `HeaderMap::insert` panics if the map is full.
#[tokio::test(start_paused = true)]
async fn full_header_map_is_sent_without_added_headers() {
    let mut request = post();
    let headers = request.headers_mut();
    for number in 0.. {
        let name = HeaderName::try_from(format!("x-{number}")).unwrap();
        if headers.try_insert(name, HeaderValue::from_static("")).is_err() {
            break;
        }
    }
    let layer = plain()
        .idempotency_key()
        .retry_count_header(HeaderName::from_static("x-retry"))
        .build()
        .unwrap();
    assert_eq!(seen(layer, "x-retry", request).await, [None], "it isn't safe to repeat");
}
