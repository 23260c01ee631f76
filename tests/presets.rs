//! The presets, checked against tables worked out by hand from the policies that they follow.

#![cfg(all(feature = "retry", feature = "circuit-breaker", feature = "rate-limit"))]

#[path = "../examples/scenario/circuit_breaker_consecutive.rs"]
mod circuit_breaker_consecutive;
#[path = "../examples/scenario/circuit_breaker_leaky.rs"]
mod circuit_breaker_leaky;
#[path = "../examples/scenario/rate_limit_standard_tier.rs"]
mod rate_limit_standard_tier;
#[path = "../examples/scenario/retry_brief.rs"]
mod retry_brief;
#[path = "../examples/scenario/retry_patient.rs"]
mod retry_patient;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_upstream::circuit_breaker::{CircuitOpen, CircuitState};
use tower_upstream::retry::CredentialRejected;
use tower_upstream::{BoxError, CircuitBreakerLayer, cause_ref};

/// One reply of the upstream.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Status(u16),
    /// A status with a `Retry-After`.
    Hint(u16, &'static str),
    /// A 429 whose limit is exhausted for this many seconds.
    Spent(&'static str),
    Refused,
    Reset,
    /// Never replies.
    Hangs,
}

use Reply::{Hangs, Hint, Refused, Reset, Spent, Status};

/// An upstream that replies by a script, and notes when it was asked.
#[derive(Clone, Default)]
struct Upstream {
    script: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Upstream {
    fn new(script: &[Reply]) -> Self {
        let script = script.iter().copied().collect();
        Self { script: Arc::new(Mutex::new(script)), asked: Arc::default() }
    }

    async fn reply(self) -> Result<Response<()>, BoxError> {
        self.asked.lock().unwrap().push(Instant::now());
        let reply = self.script.lock().unwrap().pop_front().unwrap_or(Status(200));
        match reply {
            Status(status) => Ok(Response::builder().status(status).body(())?),
            Hint(status, after) => {
                Ok(Response::builder().status(status).header("retry-after", after).body(())?)
            }
            Spent(reset) => Ok(Response::builder()
                .status(429)
                .header("x-ratelimit-remaining", "0")
                .header("x-ratelimit-reset", reset)
                .body(())?),
            Refused => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
            Reset => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            Hangs => std::future::pending().await,
        }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// The seconds between one attempt and the next.
    fn gaps(&self) -> Vec<f64> {
        let asked = self.asked.lock().unwrap();
        asked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
    }
}

fn post() -> Request<()> {
    Request::post("https://api.example/v1/chat/completions").body(()).unwrap()
}

async fn call<L>(layer: &L, upstream: &Upstream) -> Result<u16, BoxError>
where
    L: Layer<Client>,
    L::Service: Service<Request<()>, Response = Response<()>, Error = BoxError>,
{
    let upstream = upstream.clone();
    let client: Client =
        tower::util::BoxCloneSyncService::new(service_fn(move |_| upstream.clone().reply()));
    Ok(layer.layer(client).oneshot(post()).await?.status().as_u16())
}

type Client = tower::util::BoxCloneSyncService<Request<()>, Response<()>, BoxError>;

#[track_caller]
fn assert_gaps(upstream: &Upstream, expected: &[(f64, f64)]) {
    let gaps = upstream.gaps();
    assert_eq!(gaps.len(), expected.len(), "{gaps:?}");
    for (gap, (least, most)) in gaps.iter().zip(expected) {
        // tokio's timers are a millisecond coarse.
        assert!(*gap >= *least && *gap <= *most + 0.002, "{gaps:?}, not {expected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_a_doubles_its_waits_and_adds_up_to_a_second() {
    for failure in
        [Status(500), Status(501), Status(502), Hint(503, "40"), Status(529), Refused, Reset]
    {
        let upstream = Upstream::new(&[failure; 5]);
        _ = call(&retry_patient::retry().build().unwrap(), &upstream).await;
        assert_gaps(&upstream, &[(1.0, 2.0), (2.0, 3.0), (4.0, 5.0), (8.0, 9.0)]);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_a_gives_an_attempt_thirty_seconds() {
    let upstream = Upstream::new(&[Hangs, Hangs, Status(200)]);
    assert_eq!(call(&retry_patient::retry().build().unwrap(), &upstream).await.unwrap(), 200);
    assert_gaps(&upstream, &[(31.0, 32.0), (32.0, 33.0)]);
}

#[tokio::test(start_paused = true)]
async fn retry_a_waits_what_a_429_says_however_long() {
    let script = [Hint(429, "7"), Hint(429, "3600"), Status(429), Hint(429, "0.5"), Status(200)];
    let upstream = Upstream::new(&script);
    assert_eq!(call(&retry_patient::retry().build().unwrap(), &upstream).await.unwrap(), 200);
    assert_gaps(&upstream, &[(7.0, 7.0), (3600.0, 3600.0), (4.0, 5.0), (0.5, 0.5)]);
}

/// The provider's `X-RateLimit-Reset` is no `Retry-After`.
#[tokio::test(start_paused = true)]
async fn retry_a_waits_its_delay_where_a_429_only_reports_its_limit() {
    let upstream = Upstream::new(&[Spent("50"), Status(200)]);
    assert_eq!(call(&retry_patient::retry().build().unwrap(), &upstream).await.unwrap(), 200);
    assert_gaps(&upstream, &[(1.0, 2.0)]);
}

#[tokio::test(start_paused = true)]
async fn retry_a_never_waits_over_a_minute_without_a_hint() {
    // 1 s · 2^6 would be 64 s.
    let waits = tower_upstream::retry::Backoff::exponential(Duration::from_secs(1))
        .max(Duration::from_secs(60))
        .jitter(tower_upstream::retry::Jitter::Additive(Duration::from_secs(1)));
    assert_eq!(waits.waits(7).nth(6), Some(Duration::from_secs(60)));
    let fifth = waits.waits(7).nth(5).unwrap();
    assert!(fifth >= Duration::from_secs(32) && fifth <= Duration::from_secs(33));
}

#[tokio::test(start_paused = true)]
async fn retry_a_ends_a_401_at_once_and_says_why() {
    let upstream = Upstream::new(&[Status(401)]);
    let error = call(&retry_patient::retry().build().unwrap(), &upstream).await.unwrap_err();
    assert!(cause_ref::<CredentialRejected>(&*error).is_some());
    assert!(error.to_string().contains("invalid or suspended"), "{error}");
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn retry_a_returns_every_other_4xx_as_it_is() {
    for status in (400..500).filter(|status| ![401, 429].contains(status)) {
        let upstream = Upstream::new(&[Status(status)]);
        assert_eq!(
            call(&retry_patient::retry().build().unwrap(), &upstream).await.unwrap(),
            status
        );
        assert_eq!(upstream.asked(), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_b_waits_two_seconds_twice() {
    for failure in [Hint(429, "30"), Refused, Reset] {
        let upstream = Upstream::new(&[failure; 3]);
        _ = call(&retry_brief::retry().build().unwrap(), &upstream).await;
        assert_gaps(&upstream, &[(2.0, 2.0), (2.0, 2.0)]);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_b_returns_everything_else() {
    for status in [400, 401, 404, 408, 409, 500, 501, 502, 503, 529] {
        let upstream = Upstream::new(&[Status(status)]);
        assert_eq!(call(&retry_brief::retry().build().unwrap(), &upstream).await.unwrap(), status);
        assert_eq!(upstream.asked(), 1, "{status}");
    }
}

fn state(breaker: &CircuitBreakerLayer<impl Sized, impl Sized, impl Sized>) -> CircuitState {
    // The one that was made last: circuits are kept by host.
    breaker.handle().all().pop().unwrap().state
}

async fn advance(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn breaker_a_counts_what_was_raised() {
    let failures =
        [Status(401), Status(429), Status(500), Status(501), Status(503), Refused, Reset];
    for failure in failures {
        let breaker = circuit_breaker_consecutive::circuit_breaker().build().unwrap();
        let upstream = Upstream::new(&[failure; 5]);
        for _ in 0..5 {
            assert_eq!(state_or_closed(&breaker), CircuitState::Closed, "{failure:?}");
            _ = call(&breaker, &upstream).await;
        }
        assert_eq!(state(&breaker), CircuitState::Open, "{failure:?}");
    }
    for success in [200, 302, 400, 403, 404, 408, 409, 422, 425] {
        let breaker = circuit_breaker_consecutive::circuit_breaker().build().unwrap();
        let script = [Status(500), Status(500), Status(500), Status(500), Status(success)];
        let upstream = Upstream::new(&[script, script].concat());
        for _ in 0..10 {
            _ = call(&breaker, &upstream).await;
        }
        assert_eq!(state(&breaker), CircuitState::Closed, "{success}");
    }
}

fn state_or_closed(
    breaker: &CircuitBreakerLayer<impl Sized, impl Sized, impl Sized>,
) -> CircuitState {
    breaker.handle().all().last().map_or(CircuitState::Closed, |status| status.state)
}

#[tokio::test(start_paused = true)]
async fn breaker_a_probes_after_thirty_seconds() {
    let breaker = circuit_breaker_consecutive::circuit_breaker().build().unwrap();
    let script = [&[Status(500); 5][..], &[Status(200), Status(200)]].concat();
    let upstream = Upstream::new(&script);
    for _ in 0..5 {
        _ = call(&breaker, &upstream).await;
    }
    advance(29).await;
    let error = call(&breaker, &upstream).await.unwrap_err();
    let open = cause_ref::<CircuitOpen>(&*error).unwrap();
    assert_eq!(open.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(upstream.asked(), 5);
    advance(1).await;
    call(&breaker, &upstream).await.unwrap();
    assert_eq!(state(&breaker), CircuitState::HalfOpen);
    call(&breaker, &upstream).await.unwrap();
    assert_eq!(state(&breaker), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn breaker_a_opens_again_at_one_failed_probe() {
    let breaker =
        circuit_breaker_consecutive::circuit_breaker().consecutive_failures(3).build().unwrap();
    let upstream = Upstream::new(&[Reset, Reset, Reset, Status(200), Refused]);
    for _ in 0..3 {
        _ = call(&breaker, &upstream).await;
    }
    advance(30).await;
    call(&breaker, &upstream).await.unwrap();
    _ = call(&breaker, &upstream).await;
    assert_eq!(state(&breaker), CircuitState::Open);
    advance(29).await;
    assert!(call(&breaker, &upstream).await.is_err());
    assert_eq!(upstream.asked(), 5);
}

#[tokio::test(start_paused = true)]
async fn breaker_a_lets_three_calls_through_half_open() {
    let breaker = circuit_breaker_consecutive::circuit_breaker().build().unwrap();
    let upstream = Upstream::new(&[&[Reset; 5][..], &[Hangs; 3]].concat());
    for _ in 0..5 {
        _ = call(&breaker, &upstream).await;
    }
    advance(30).await;
    let mut probes: Vec<_> =
        (0..3).map(|_| tokio_test::task::spawn(call(&breaker, &upstream))).collect();
    for probe in &mut probes {
        assert!(probe.poll().is_pending());
    }
    assert!(cause_ref::<CircuitOpen>(&*call(&breaker, &upstream).await.unwrap_err()).is_some());
    // The hand-written breaker was now stuck for ever.
    drop(probes);
    call(&breaker, &upstream).await.unwrap();
    call(&breaker, &upstream).await.unwrap();
    assert_eq!(state(&breaker), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn breaker_a_keeps_the_status_that_a_monitor_prints() {
    let breaker = circuit_breaker_consecutive::circuit_breaker().name("us-west-2").build().unwrap();
    let upstream = Upstream::new(&[&[Status(200)][..], &[Status(500); 4]].concat());
    let status = || breaker.handle().all().pop().unwrap();
    assert_eq!((status().calls, status().success_rate()), (0, 0.0));
    for _ in 0..5 {
        _ = call(&breaker, &upstream).await;
    }
    let failed_at = Instant::now();
    assert_eq!((status().calls, status().success_rate()), (5, 0.2));
    assert_eq!((status().failure_count, status().last_failure), (4, Some(failed_at)));
    assert_eq!(&*status().name, "us-west-2/api.example");
    let upstream = Upstream::new(&[Refused]);
    advance(1).await;
    _ = call(&breaker, &upstream).await;
    assert_eq!((status().state, status().failure_count), (CircuitState::Open, 0));
    _ = call(&breaker, &upstream).await;
    // The rejected call isn't counted.
    assert_eq!((status().calls, upstream.asked()), (6, 1));
}

#[tokio::test(start_paused = true)]
async fn breaker_b_leaks() {
    let breaker = circuit_breaker_leaky::circuit_breaker().build().unwrap();
    // Ten up, one down for each 200, nothing for other statuses.
    let script = [
        &[Refused; 5][..],
        &[Status(200); 2],
        &[Status(500), Status(201), Status(404), Status(401)],
        &[Status(429), Reset, Status(429), Reset, Status(429), Reset],
    ]
    .concat();
    let upstream = Upstream::new(&script);
    for _ in 0..script.len() {
        assert_eq!(breaker.handle().status().state, CircuitState::Closed);
        _ = call(&breaker, &upstream).await;
    }
    assert_eq!(breaker.handle().status().failure_count, 9);
    let upstream = Upstream::new(&[Reset]);
    _ = call(&breaker, &upstream).await;
    assert_eq!(breaker.handle().status().state, CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn breaker_b_starts_again_from_zero_after_a_minute() {
    let breaker = circuit_breaker_leaky::circuit_breaker().build().unwrap();
    let upstream = Upstream::new(&[Refused; 10]);
    for _ in 0..10 {
        _ = call(&breaker, &upstream).await;
    }
    advance(59).await;
    assert!(call(&breaker, &upstream).await.is_err());
    assert_eq!(upstream.asked(), 10);
    advance(1).await;
    assert_eq!(call(&breaker, &upstream).await.unwrap(), 200);
    let status = breaker.handle().status();
    assert_eq!((status.state, status.failure_count), (CircuitState::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn breaker_b_never_counts_below_zero() {
    let breaker = circuit_breaker_leaky::circuit_breaker().build().unwrap();
    let upstream = Upstream::new(&[&[Status(200); 20][..], &[Refused; 10]].concat());
    for _ in 0..30 {
        _ = call(&breaker, &upstream).await;
    }
    assert_eq!(breaker.handle().status().state, CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn the_standard_tier_passes_sixty_a_minute_for_each_key() {
    let limit = rate_limit_standard_tier::rate_limit().build().unwrap();
    let sent: Arc<Mutex<Vec<(String, Instant)>>> = Arc::default();
    let client = {
        let sent = Arc::clone(&sent);
        limit.layer(service_fn(move |request: Request<()>| {
            let key = request.headers()["authorization"].to_str().unwrap().to_owned();
            sent.lock().unwrap().push((key, Instant::now()));
            async { Ok::<_, Infallible>(Response::new(())) }
        }))
    };
    let calls = (0..200).map(|number| {
        let key = if number % 2 == 0 { "Bearer one" } else { "Bearer two" };
        let request = Request::get("/").header("authorization", key).body(()).unwrap();
        client.clone().oneshot(request)
    });
    let start = Instant::now();
    for reply in futures_util::future::join_all(calls).await {
        reply.unwrap();
    }
    // A minute, and the hundredth by which the window is kept longer here.
    assert!(
        start.elapsed() >= Duration::from_secs(60) && start.elapsed() < Duration::from_secs(61)
    );
    for key in ["Bearer one", "Bearer two"] {
        let sent = sent.lock().unwrap();
        let at_once = sent.iter().filter(|(sent, at)| sent == key && *at == start).count();
        assert_eq!(at_once, 60);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_upstream_opens_breaker_a_below_retry_a() {
    let breaker = circuit_breaker_consecutive::circuit_breaker().build().unwrap();
    let layer = tower::ServiceBuilder::new()
        .layer(retry_patient::retry().build().unwrap())
        .layer(breaker.clone())
        .into_inner();
    let upstream = Upstream::new(&[Hangs; 5]);
    _ = call(&layer, &upstream).await;
    // The retry dropped each attempt after 30 s, and the breaker counts it as a timeout.
    assert_eq!(state(&breaker), CircuitState::Open);
    assert_eq!(upstream.asked(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_call_cut_off_by_its_deadline_counts_as_a_timeout_below() {
    let breaker = CircuitBreakerLayer::builder().consecutive_failures(3).build().unwrap();
    let layer = tower::ServiceBuilder::new()
        .layer(
            tower_upstream::RetryLayer::builder()
                .deadline(Duration::from_secs(10))
                .build()
                .unwrap(),
        )
        .layer(breaker.clone())
        .into_inner();
    let upstream = Upstream::new(&[Hangs; 3]);
    for _ in 0..3 {
        assert!(call(&layer, &upstream).await.is_err());
    }
    assert_eq!(breaker.handle().status().state, CircuitState::Open);
    // The same if attempts have as much time as the call, so that they never time out.
    let breaker = CircuitBreakerLayer::builder().consecutive_failures(2).build().unwrap();
    let time = Duration::from_secs(10);
    let layer = tower::ServiceBuilder::new()
        .layer(
            tower_upstream::RetryLayer::builder()
                .deadline(time)
                .attempt_timeout(time)
                .build()
                .unwrap(),
        )
        .layer(breaker.clone())
        .into_inner();
    assert!(call(&layer, &Upstream::new(&[Hangs])).await.is_err());
    assert_eq!(breaker.handle().status().failure_count, 1);
    // An attempt that its caller drops says nothing, nor does one that had little time left.
    let breaker = CircuitBreakerLayer::builder().consecutive_failures(2).build().unwrap();
    let retry = tower_upstream::RetryLayer::builder().deadline(Duration::from_secs(10));
    let backoff = tower_upstream::retry::Backoff::constant(Duration::from_secs(9));
    let layer = tower::ServiceBuilder::new()
        .layer(retry.backoff(backoff).retry_non_idempotent().build().unwrap())
        .layer(breaker.clone())
        .into_inner();
    assert!(call(&layer, &Upstream::new(&[Status(500), Hangs])).await.is_err());
    assert_eq!(breaker.handle().status().failure_count, 1);
    let breaker = CircuitBreakerLayer::builder().consecutive_failures(1).build().unwrap();
    let upstream = Upstream::new(&[Hangs]);
    drop(tokio_test::task::spawn(call(&breaker, &upstream)).poll());
    assert_eq!(breaker.handle().status().failure_count, 0);
}
