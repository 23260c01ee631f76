//! The circuit breaker as a layer, by what can be seen from outside.

#![cfg(feature = "circuit-breaker")]

use std::future::{Future, pending};
use std::io;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_test::mock;
use tower_upstream::circuit_breaker::{
    CircuitBreakerBuilder, CircuitBreakerHandle, CircuitEventKind, CircuitOpen, CircuitState,
    Count, FailureRate,
};
use tower_upstream::classify::{Cause, Class, Verdict};
use tower_upstream::event::{Event, Observer, observer_fn};
use tower_upstream::key::KeyRef;
use tower_upstream::{BoxError, CircuitBreakerLayer, cause_ref};

const SECOND: Duration = Duration::from_secs(1);

/// What the upstream does with a request: its body says so.
#[derive(Debug)]
enum Answer {
    Status(u16),
    /// A status with a `Retry-After` of so many seconds.
    After(u16, u32),
    Refused,
    /// The status that is sent here.
    Later(oneshot::Receiver<u16>),
    Hangs,
}

use Answer::{After, Hangs, Later, Refused, Status};

async fn answer(request: Request<Answer>) -> Result<Response<()>, BoxError> {
    let (status, after) = match request.into_body() {
        Status(status) => (status, None),
        After(status, seconds) => (status, Some(seconds)),
        Refused => return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
        Later(status) => (status.await?, None),
        Hangs => pending().await,
    };
    let response = Response::builder().status(status);
    let response = match after {
        Some(seconds) => response.header("retry-after", seconds),
        None => response,
    };
    Ok(response.body(())?)
}

trait Upstream:
    Service<Request<Answer>, Response = Response<()>, Error = BoxError, Future: Send> + Clone + Send
{
}

impl<S> Upstream for S where
    S: Service<Request<Answer>, Response = Response<()>, Error = BoxError, Future: Send>
        + Clone
        + Send
{
}

async fn ask(client: &impl Upstream, answer: Answer) -> Result<StatusCode, BoxError> {
    Ok(client.clone().oneshot(Request::new(answer)).await?.status())
}

/// Calls, and asserts that the upstream was asked.
async fn passes(client: &impl Upstream, status: u16) {
    assert_eq!(ask(client, Status(status)).await.unwrap(), status);
}

/// Calls, and asserts that the circuit answered; when to come back.
async fn rejected(client: &impl Upstream) -> Option<Duration> {
    let error = ask(client, Status(200)).await.expect_err("the circuit should be open");
    cause_ref::<CircuitOpen>(&*error).expect("a rejection").retry_after()
}

async fn fails(client: &impl Upstream, times: usize) {
    for _ in 0..times {
        passes(client, 500).await;
    }
}

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder().consecutive_failures(3).open_for(10 * SECOND)
}

fn build(builder: CircuitBreakerBuilder) -> (impl Upstream, CircuitBreakerHandle) {
    let layer = builder.build().unwrap();
    (layer.layer(service_fn(answer)), layer.handle())
}

fn some(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// A call whose status is told later: polled once, so that it is sent.
fn send_later(
    client: &impl Upstream,
) -> (oneshot::Sender<u16>, task::Spawn<impl Future<Output = Result<StatusCode, BoxError>>>) {
    let (status, later) = oneshot::channel();
    let client = client.clone();
    let mut call = task::spawn(async move { ask(&client, Later(later)).await });
    assert_pending!(call.poll());
    (status, call)
}

// When it opens.

#[tokio::test(start_paused = true)]
async fn opens_at_the_nth_failure_in_a_row() {
    let (client, handle) = build(builder());
    fails(&client, 2).await;
    assert_eq!(handle.status().failure_count, 2);
    passes(&client, 200).await;
    assert_eq!(handle.status().failure_count, 0);
    fails(&client, 2).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
    fails(&client, 1).await;
    let status = handle.status();
    assert_eq!(status.state, CircuitState::Open);
    assert_eq!(status.failure_count, 0);
    assert_eq!(status.cause, Cause::Status(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(rejected(&client).await, Some(10 * SECOND));
    assert_eq!((status.calls, status.successes), (6, 1));
}

#[tokio::test(start_paused = true)]
async fn errors_are_failures_and_pass_through_unchanged() {
    let (client, handle) = build(builder());
    for _ in 0..3 {
        let error = ask(&client, Refused).await.unwrap_err();
        let io = error.downcast_ref::<io::Error>().expect("the client's own error");
        assert_eq!(io.kind(), io::ErrorKind::ConnectionRefused);
    }
    assert_eq!(handle.status().cause, Cause::Connect);
    rejected(&client).await;
}

#[tokio::test(start_paused = true)]
async fn the_leaky_count_goes_up_and_down() {
    let layer = CircuitBreakerLayer::builder().leaky_failures(10).no_half_open();
    let (client, handle) = build(layer.open_for(60 * SECOND));
    for _ in 0..8 {
        fails(&client, 2).await;
        passes(&client, 200).await;
    }
    fails(&client, 1).await;
    assert_eq!(handle.status().failure_count, 9);
    passes(&client, 404).await;
    assert_eq!(handle.status().failure_count, 9);
    fails(&client, 1).await;
    assert_eq!(rejected(&client).await, Some(60 * SECOND));

    // By time alone it starts again from zero, closed, for all calls at once.
    advance(60 * SECOND).await;
    let (_, _first) = send_later(&client);
    let (_, _second) = send_later(&client);
    let status = handle.status();
    assert_eq!((status.state, status.failure_count), (CircuitState::Closed, 0));
    fails(&client, 9).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_leaky_count_never_goes_below_zero() {
    let (client, _) = build(CircuitBreakerLayer::builder().leaky_failures(3));
    for _ in 0..100 {
        passes(&client, 200).await;
    }
    fails(&client, 3).await;
    rejected(&client).await;
}

#[tokio::test(start_paused = true)]
async fn a_rate_over_calls_looks_at_the_last_calls_only() {
    let rate = FailureRate::over_calls(10).at(0.5);
    let (client, handle) = build(CircuitBreakerLayer::builder().failure_rate(rate));
    for _ in 0..1_000 {
        passes(&client, 200).await;
    }
    fails(&client, 4).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
    fails(&client, 1).await;
    rejected(&client).await;
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_reached_exactly_where_it_was_said() {
    // 0.07 * 100.0 is a little more than 7.
    let rate = FailureRate::over_calls(100).at(0.07);
    let (client, handle) = build(CircuitBreakerLayer::builder().failure_rate(rate));
    for _ in 0..93 {
        passes(&client, 200).await;
    }
    fails(&client, 6).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
    fails(&client, 1).await;
    rejected(&client).await;
}

#[tokio::test(start_paused = true)]
async fn a_rate_over_time_forgets_what_is_past() {
    let rate = FailureRate::over_time(60 * SECOND).at(0.5).min_calls(4);
    let (client, handle) = build(CircuitBreakerLayer::builder().failure_rate(rate));
    fails(&client, 3).await;
    advance(61 * SECOND).await;
    fails(&client, 3).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
    for _ in 0..1_000 {
        passes(&client, 200).await;
    }
    advance(61 * SECOND).await;
    fails(&client, 3).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
    fails(&client, 1).await;
    rejected(&client).await;
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_of_the_upstream_is_neutral() {
    let rate = FailureRate::over_calls(4).at(1.0);
    let (client, handle) = build(builder().leaky_failures(3).failure_rate(rate));
    fails(&client, 2).await;
    for status in [429, 401, 403, 404, 400, 409, 425, 501].repeat(10) {
        passes(&client, status).await;
    }
    let status = handle.status();
    assert_eq!((status.state, status.failure_count), (CircuitState::Closed, 2));
    assert_eq!((status.calls, status.successes), (82, 0));
    // A call that its caller drops is neutral as well.
    drop(send_later(&client));
    assert_eq!(handle.status().failure_count, 2);
    fails(&client, 1).await;
    rejected(&client).await;
}

#[tokio::test(start_paused = true)]
async fn count_fn_says_what_counts() {
    let layer = builder().count_fn(|verdict| match verdict.class() {
        Class::Throttled => Count::Failure,
        _ => Count::by_default(verdict),
    });
    let (client, _) = build(layer);
    for _ in 0..3 {
        passes(&client, 429).await;
    }
    rejected(&client).await;
}

#[tokio::test(start_paused = true)]
async fn classify_fn_judges() {
    let layer = builder().classify_fn(|seen| match seen.status() {
        Some(StatusCode::OK) => Verdict::transient(),
        _ => seen.verdict(),
    });
    let client = layer.build().unwrap().layer(service_fn(answer));
    for _ in 0..3 {
        passes(&client, 200).await;
    }
    rejected(&client).await;
}

// While it is open.

#[tokio::test(start_paused = true)]
async fn an_open_circuit_answers_without_polling_the_inner_service() {
    let (inner, mut upstream) = mock::pair::<Request<()>, Response<()>>();
    upstream.allow(0);
    let layer = CircuitBreakerLayer::builder().consecutive_failures(1).build().unwrap();
    let mut client = mock::Spawn::new(layer.layer(inner));

    // Closed, it is ready when the inner service is.
    assert_pending!(client.poll_ready::<Request<()>>());
    upstream.allow(1);
    assert_ready_ok!(client.poll_ready::<Request<()>>());
    let mut call = task::spawn(client.call(Request::new(())));
    let (_, send) = assert_ready!(task::spawn(upstream.next_request()).poll()).unwrap();
    send.send_error("broken");
    assert_ready!(call.poll()).unwrap_err();

    // The inner service is never ready again.
    assert_ready_ok!(client.poll_ready::<Request<()>>());
    let mut call = task::spawn(client.call(Request::new(())));
    let error = assert_ready!(call.poll()).unwrap_err();
    assert!(cause_ref::<CircuitOpen>(&*error).is_some());
}

#[tokio::test(start_paused = true)]
async fn stays_open_for_at_least_as_long_as_the_server_asked() {
    let (client, handle) = build(builder().hint_cap(100 * SECOND));
    fails(&client, 2).await;
    ask(&client, After(503, 60)).await.unwrap();
    assert_eq!(rejected(&client).await, Some(60 * SECOND));
    // A probe that fails may ask as well, up to the cap.
    advance(60 * SECOND).await;
    ask(&client, After(503, 3_000)).await.unwrap();
    assert_eq!(rejected(&client).await, Some(100 * SECOND));
    advance(100 * SECOND).await;
    // A hint below `open_for` doesn't shorten it.
    ask(&client, After(503, 1)).await.unwrap();
    assert_eq!(rejected(&client).await, Some(10 * SECOND));
    advance(9 * SECOND).await;
    assert_eq!(rejected(&client).await, Some(SECOND));
    advance(SECOND).await;
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_cap_of_zero_ignores_hints() {
    let (client, _) = build(builder().hint_cap(Duration::ZERO));
    fails(&client, 2).await;
    ask(&client, After(503, 60)).await.unwrap();
    assert_eq!(rejected(&client).await, Some(10 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn results_of_calls_begun_before_it_opened_change_nothing() {
    let (client, handle) = build(builder().half_open(some(2), some(2)));
    let (late_success, mut first) = send_later(&client);
    let (late_failure, mut second) = send_later(&client);
    let (third_failure, mut third) = send_later(&client);
    let (last_failure, mut fourth) = send_later(&client);
    fails(&client, 3).await;
    let opened = handle.status();

    // Open: neither closes it nor keeps it open for longer.
    advance(SECOND).await;
    late_success.send(200).unwrap();
    assert_ready_ok!(first.poll());
    late_failure.send(500).unwrap();
    assert_ready_ok!(second.poll());
    assert_eq!(handle.status().state, CircuitState::Open);
    assert_eq!(handle.status().until, opened.until);

    // Half-open: isn't taken for a probe's.
    advance(9 * SECOND).await;
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
    third_failure.send(500).unwrap();
    assert_ready_ok!(third.poll());
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);

    // Closed again: doesn't count towards the next opening.
    fails(&client, 2).await;
    last_failure.send(500).unwrap();
    assert_ready_ok!(fourth.poll());
    assert_eq!(handle.status().state, CircuitState::Closed);
    assert_eq!(handle.status().failure_count, 2);
}

// Half-open.

#[tokio::test(start_paused = true)]
async fn half_open_lets_so_many_probes_through_at_once() {
    let (client, handle) = build(builder().half_open(some(3), some(2)));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    let mut probes: Vec<_> = (0..3).map(|_| send_later(&client)).collect();
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
    // When a probe ends isn't known.
    assert_eq!(rejected(&client).await, None);
    // A success keeps its place: two are enough, and three were let through.
    let (status, mut probe) = probes.remove(0);
    status.send(200).unwrap();
    assert_ready_ok!(probe.poll());
    assert_eq!(rejected(&client).await, None);
    let (status, mut probe) = probes.remove(0);
    status.send(204).unwrap();
    assert_ready_ok!(probe.poll());
    assert_eq!(handle.status().state, CircuitState::Closed);
    passes(&client, 200).await;
}

#[tokio::test(start_paused = true)]
async fn one_failed_probe_opens_it_again() {
    let (client, handle) = build(builder().half_open(some(3), some(3)));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    passes(&client, 200).await;
    let (status, mut probe) = send_later(&client);
    fails(&client, 1).await;
    assert_eq!(rejected(&client).await, Some(10 * SECOND));
    // The other probe is late now.
    advance(10 * SECOND).await;
    passes(&client, 200).await;
    status.send(500).unwrap();
    assert_ready_ok!(probe.poll());
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_blames_the_caller_proves_the_upstream_alive() {
    for status in [400, 401, 404, 429, 501] {
        let (client, handle) = build(builder());
        fails(&client, 3).await;
        advance(10 * SECOND).await;
        passes(&client, status).await;
        assert_eq!(handle.status().state, CircuitState::Closed, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_says_nothing_gives_its_place_back() {
    let (client, handle) = build(builder());
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    for _ in 0..100 {
        // Dropped.
        let probe = send_later(&client);
        assert_eq!(rejected(&client).await, None);
        drop(probe);
        // Neutral.
        passes(&client, 409).await;
        passes(&client, 425).await;
        assert_eq!(handle.status().state, CircuitState::HalfOpen);
    }
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_request_at_fault_proves_the_upstream_alive() {
    let (client, handle) = build(builder());
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    passes(&client, 404).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn probes_that_hang_make_room_when_their_lease_ends() {
    let (client, handle) = build(builder().half_open(some(2), some(2)).probe_lease(30 * SECOND));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    let (hung, mut first) = send_later(&client);
    advance(20 * SECOND).await;
    let _second = send_later(&client);
    advance(29 * SECOND).await;
    assert_eq!(rejected(&client).await, None);
    advance(SECOND).await;
    // A new round, in which the hung ones count no more.
    passes(&client, 200).await;
    hung.send(500).unwrap();
    assert_ready_ok!(first.poll());
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_panics_leaks_no_probe() {
    let layer = builder().count_fn(|verdict| {
        assert_ne!(verdict.class(), Class::Rejected, "a bug of the user's");
        Count::by_default(verdict)
    });
    let (client, handle) = build(layer);
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    let call = std::panic::AssertUnwindSafe(ask(&client, Status(404)));
    assert!(call.catch_unwind().await.is_err());
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

/// Counts what is in flight, and how much was at most.
#[derive(Clone, Default)]
struct InFlight(Arc<(AtomicUsize, AtomicUsize)>);

impl InFlight {
    fn enter(&self) -> Self {
        let (now, most) = &*self.0;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        self.clone()
    }

    fn leave(&self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn never_more_probes_than_allowed_from_many_threads() {
    struct Leaves(InFlight);

    impl Drop for Leaves {
        fn drop(&mut self) {
            self.0.leave();
        }
    }

    let in_flight = InFlight::default();
    let counted = in_flight.clone();
    let upstream = service_fn(move |request: Request<u16>| {
        let in_flight = Leaves(counted.enter());
        async move {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            drop(in_flight);
            Ok::<_, BoxError>(Response::builder().status(request.into_body()).body(())?)
        }
    });
    let layer = CircuitBreakerLayer::builder()
        .consecutive_failures(1)
        .open_for(Duration::ZERO)
        .half_open(some(3), some(3))
        .count_fn(|verdict| match verdict.class() {
            // Never closes.
            Class::Success => Count::Neutral,
            _ => Count::by_default(verdict),
        })
        .build()
        .unwrap();
    let client = layer.layer(upstream);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        client.clone().oneshot(Request::new(500)).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16_u32 {
            let client = client.clone();
            tasks.spawn(async move {
                for step in 0..500 {
                    let mut client = client.clone();
                    let ready = client.ready().await.unwrap();
                    let mut call = Box::pin(ready.call(Request::new(200)));
                    // Some are dropped half-way.
                    if (number + step) % 7 == 0 {
                        _ = call.as_mut().now_or_never();
                    } else {
                        _ = call.await;
                    }
                }
            });
        }
        tasks.join_all().await;
    });
    let (now, most) = &*in_flight.0;
    assert_eq!(now.load(Ordering::SeqCst), 0);
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    // Closed again, it is as if it had never been open.
    layer.handle().reset();
    let (inner, mut upstream) = mock::pair::<Request<Answer>, Response<()>>();
    upstream.allow(0);
    let mut closed = mock::Spawn::new(layer.layer(inner));
    assert_pending!(closed.poll_ready::<Request<Answer>>());
}

// Readiness.

/// Counts its clones and asserts that it was readied before each call.
struct Strict {
    ready: bool,
    clones: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::SeqCst);
        Self { ready: false, clones: Arc::clone(&self.clones) }
    }
}

impl Service<Request<Answer>> for Strict {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<()>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Answer>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        Box::pin(answer(request))
    }
}

#[tokio::test(start_paused = true)]
async fn the_readied_service_is_called_in_place() {
    let clones = Arc::new(AtomicUsize::new(0));
    let inner = Strict { ready: false, clones: Arc::clone(&clones) };
    let mut client = builder().build().unwrap().layer(inner);
    let before = clones.load(Ordering::SeqCst);
    for _ in 0..10 {
        client.ready().await.unwrap().call(Request::new(Status(200))).await.unwrap();
    }
    assert_eq!(clones.load(Ordering::SeqCst), before);
    // On the other paths too, nothing is called that isn't ready.
    for _ in 0..3 {
        for _ in 0..3 {
            client.ready().await.unwrap().call(Request::new(Status(500))).await.unwrap();
        }
        client.ready().await.unwrap().call(Request::new(Status(200))).await.unwrap_err();
        advance(10 * SECOND).await;
        client.ready().await.unwrap().call(Request::new(Status(200))).await.unwrap();
    }
    client.call(Request::new(Status(200))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_lets_go_of_the_readiness_it_held() {
    let layer = builder().build().unwrap();
    let inner = ConcurrencyLimit::new(service_fn(answer), 1);
    let mut readied = layer.layer(inner.clone());
    readied.ready().await.unwrap();
    // The circuit opens meanwhile, by another service of the layer.
    fails(&layer.layer(service_fn(answer)), 3).await;
    let rejected = readied.ready().await.unwrap().call(Request::new(Status(200)));
    let mut inner = mock::Spawn::new(inner);
    assert_ready_ok!(inner.poll_ready::<Request<Answer>>());
    assert!(rejected.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_leaves_no_place_in_the_inner_queue() {
    let layer = builder().build().unwrap();
    let inner = ConcurrencyLimit::new(service_fn(answer), 1);
    let mut busy = inner.clone();
    busy.ready().await.unwrap();
    // Asked, and not ready: it stands in the semaphore's queue.
    let mut waiting = mock::Spawn::new(layer.layer(inner.clone()));
    assert_pending!(waiting.poll_ready::<Request<Answer>>());
    fails(&layer.layer(service_fn(answer)), 3).await;
    assert_ready_ok!(waiting.poll_ready::<Request<Answer>>());
    assert!(waiting.call(Request::new(Status(200))).await.is_err());
    // The place that gets free must not go to a handle that doesn't ask.
    drop(busy);
    let mut other = mock::Spawn::new(inner);
    assert_ready_ok!(other.poll_ready::<Request<Answer>>());
}

#[tokio::test(start_paused = true)]
async fn an_unused_readiness_costs_no_probe() {
    let (client, handle) = build(builder());
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    for _ in 0..10 {
        let mut unused = client.clone();
        unused.ready().await.unwrap();
    }
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_fails_to_get_ready_is_a_failed_call() {
    #[derive(Clone)]
    struct Broken;

    impl Service<Request<Answer>> for Broken {
        type Response = Response<()>;
        type Error = io::Error;
        type Future = std::future::Pending<Result<Response<()>, io::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn call(&mut self, _: Request<Answer>) -> Self::Future {
            unreachable!("it is never ready")
        }
    }

    let layer = builder().build().unwrap();
    let mut client = layer.layer(Broken);
    for _ in 0..3 {
        let call = client.ready().await.expect("the error belongs to the call");
        let error = call.call(Request::new(Status(200))).await.unwrap_err();
        assert_eq!(error.downcast::<io::Error>().unwrap().kind(), io::ErrorKind::BrokenPipe);
    }
    assert_eq!(layer.handle().status().calls, 3);
    let error = client.ready().await.unwrap().call(Request::new(Status(200))).await.unwrap_err();
    assert!(error.is::<CircuitOpen>());
    // A probe readies a service of its own, and its failure to do so counts too.
    advance(10 * SECOND).await;
    let error = client.ready().await.unwrap().call(Request::new(Status(200))).await.unwrap_err();
    assert!(error.is::<io::Error>());
    assert_eq!(layer.handle().status().state, CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_probe_dropped_while_it_waits_for_readiness_gives_its_place_back() {
    let (inner, mut upstream) = mock::pair::<Request<()>, Response<()>>();
    upstream.allow(0);
    let layer = CircuitBreakerLayer::builder().consecutive_failures(1).build().unwrap();
    let failing = layer.layer(service_fn(answer));
    fails(&failing, 1).await;
    advance(30 * SECOND).await;
    let mut client = layer.layer(inner);
    {
        let call = pin!(client.ready().await.unwrap().call(Request::new(())));
        let mut call = task::spawn(call);
        assert_pending!(call.poll());
        assert_eq!(rejected(&failing).await, None);
    }
    passes(&failing, 200).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_readiness_is_not_sent_into_a_circuit_that_opened_since() {
    let (inner, mut upstream) = mock::pair::<Request<()>, Response<()>>();
    upstream.allow(0);
    let layer = builder().key_fn(|head| head.header("key")).build().unwrap();
    let failing = layer.layer(service_fn(answer));
    let fail = async |key: &str| {
        for _ in 0..3 {
            let request = Request::builder().header("key", key).body(Status(500)).unwrap();
            failing.clone().oneshot(request).await.unwrap();
        }
    };
    // While one circuit is open, a call of another waits in its future.
    fail("a").await;
    let mut client = layer.layer(inner);
    let request = Request::builder().header("key", "b").body(()).unwrap();
    let mut call = task::spawn(client.ready().await.unwrap().call(request));
    assert_pending!(call.poll());
    fail("b").await;
    upstream.allow(1);
    assert!(call.is_woken());
    let error = assert_ready!(call.poll()).unwrap_err();
    assert_eq!(cause_ref::<CircuitOpen>(&*error).unwrap().circuit(), "upstream/b");
    // It was never sent, and isn't counted.
    assert_pending!(task::spawn(upstream.next_request()).poll());
    assert_eq!(layer.handle().status_of(&KeyRef::text("b")).unwrap().calls, 3);
}

// Keys and sharing.

fn to(uri: &str, header: Option<(&str, &str)>, status: u16) -> Request<Answer> {
    let mut request = Request::builder().uri(uri);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    request.body(Status(status)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn hosts_have_circuits_of_their_own() {
    let layer = builder().by_authority().build().unwrap();
    let client = layer.layer(service_fn(answer));
    for _ in 0..3 {
        client.clone().oneshot(to("http://user:pw@a.test/x", None, 500)).await.unwrap();
    }
    let error = client.clone().oneshot(to("http://a.test/y", None, 200)).await.unwrap_err();
    assert_eq!(error.downcast_ref::<CircuitOpen>().unwrap().circuit(), "upstream/a.test");
    client.clone().oneshot(to("http://b.test/", None, 200)).await.unwrap();
    client.clone().oneshot(to("http://a.test:81/", None, 200)).await.unwrap();
    client.clone().oneshot(to("/", Some(("host", "b.test")), 200)).await.unwrap();
    client.clone().oneshot(to("/", Some(("host", "a.test")), 200)).await.unwrap_err();
    let all = layer.handle().all();
    let names: Vec<_> = all.iter().map(|circuit| &*circuit.name).collect();
    assert_eq!(names[0], "upstream");
    assert_eq!(names.len(), 4);
    let open = layer.handle().status_of(&KeyRef::Authority("a.test")).unwrap();
    assert_eq!(open.state, CircuitState::Open);
    assert!(layer.handle().status_of(&KeyRef::Authority("c.test")).is_none());
}

#[tokio::test(start_paused = true)]
async fn credentials_have_circuits_of_their_own_and_are_never_shown() {
    const SECRET: &str = "Bearer sk-very-secret";
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let layer = builder()
        .by_credential()
        .observer(observer_fn(move |event: &Event<'_>| {
            log.lock().unwrap().push(format!("{event} {event:?}"));
        }))
        .build()
        .unwrap();
    let client = layer.layer(service_fn(answer));
    for header in ["authorization", "x-api-key", "api-key", "x-goog-api-key"] {
        let secret = format!("{SECRET}-{header}");
        let request = |status| to("http://a.test/", Some((header, &secret)), status);
        for _ in 0..3 {
            client.clone().oneshot(request(500)).await.unwrap();
        }
        let mut client = client.clone();
        let future = client.ready().await.unwrap().call(request(200));
        seen.lock().unwrap().push(format!("{future:?}"));
        let error = future.await.unwrap_err();
        seen.lock().unwrap().push(format!("{error} {error:?}"));
    }
    client.clone().oneshot(to("http://a.test/", None, 200)).await.unwrap();
    let handle = layer.handle();
    assert_eq!(handle.all().len(), 5);
    let mut seen = seen.lock().unwrap().clone();
    seen.push(format!("{client:?} {layer:?} {handle:?} {:?}", handle.all()));
    seen.push(format!("{:?}", KeyRef::secret(SECRET.as_bytes())));
    let seen = seen.join(" ");
    assert!(seen.contains("opened"));
    assert!(!seen.contains("secret") && !seen.contains("Bearer") && !seen.contains("sk-"));
}

#[tokio::test(start_paused = true)]
async fn keys_are_bounded_and_those_that_matter_stay() {
    let layer = builder().key_fn(|head| head.header("key")).max_keys(10).build().unwrap();
    let client = layer.layer(service_fn(answer));
    let call =
        async |key: &str, status| client.clone().oneshot(to("/", Some(("key", key)), status)).await;
    for _ in 0..3 {
        call("failing", 500).await.unwrap();
    }
    for number in 0..1_000 {
        call(&number.to_string(), 200).await.unwrap();
        assert!(layer.handle().all().len() <= 11);
    }
    call("failing", 200).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn keys_that_failed_long_ago_make_room() {
    let layer = builder().key_fn(|head| head.header("key")).max_keys(10).build().unwrap();
    let client = layer.layer(service_fn(answer));
    let call =
        async |key: &str, status| client.clone().oneshot(to("/", Some(("key", key)), status)).await;
    for number in 0..5 {
        for _ in 0..3 {
            call(&format!("opened {number}"), 500).await.unwrap();
        }
        call(&format!("failed once {number}"), 500).await.unwrap();
    }
    // Full of circuits that matter: a new key shares the common one.
    call("new", 200).await.unwrap();
    assert!(layer.handle().status_of(&KeyRef::text("new")).is_none());
    advance(3_600 * SECOND).await;
    call("new", 200).await.unwrap();
    assert!(layer.handle().status_of(&KeyRef::text("new")).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_that_nobody_calls_leaves_the_others_their_backpressure() {
    let (inner, mut upstream) = mock::pair::<Request<Answer>, Response<()>>();
    upstream.allow(0);
    let layer = builder().key_fn(|head| head.header("key")).max_keys(1).build().unwrap();
    let failing = layer.layer(service_fn(answer));
    for _ in 0..3 {
        failing.clone().oneshot(to("/", Some(("key", "gone")), 500)).await.unwrap();
    }
    let mut client = mock::Spawn::new(layer.layer(inner));
    assert_ready_ok!(client.poll_ready::<Request<Answer>>());
    // Nobody calls the open circuit any more: it must not count for ever.
    advance(3_600 * SECOND).await;
    assert_pending!(client.poll_ready::<Request<Answer>>());
    // It is open all the same, and its next call a probe.
    let gone = KeyRef::text("gone");
    assert_eq!(layer.handle().status_of(&gone).unwrap().state, CircuitState::Open);
    let request = |status| to("/", Some(("key", "gone")), status);
    failing.clone().oneshot(request(500)).await.unwrap();
    assert_ready_ok!(client.poll_ready::<Request<Answer>>());
    // One that is forgotten counts no more either.
    advance(3_600 * SECOND).await;
    failing.clone().oneshot(to("/", Some(("key", "new")), 200)).await.unwrap();
    assert!(layer.handle().status_of(&gone).is_none());
    assert_pending!(client.poll_ready::<Request<Answer>>());
}

#[tokio::test(start_paused = true)]
async fn a_circuit_whose_probe_hangs_is_not_taken_for_one_that_nobody_calls() {
    let (inner, mut upstream) = mock::pair::<Request<Answer>, Response<()>>();
    upstream.allow(0);
    let layer = builder().probe_lease(3_600 * SECOND).build().unwrap();
    let failing = layer.layer(service_fn(answer));
    fails(&failing, 3).await;
    let mut client = mock::Spawn::new(layer.layer(inner));
    let mut probes = Vec::new();
    for _ in 0..300 {
        advance(60 * SECOND).await;
        assert_ready_ok!(client.poll_ready::<Request<Answer>>());
        let mut call = task::spawn(client.call(Request::new(Hangs)));
        if call.poll().is_pending() {
            probes.push(call);
        }
    }
    assert_eq!(probes.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn services_of_one_layer_and_their_clones_share_their_circuits() {
    let layer = builder().build().unwrap();
    let first = layer.layer(service_fn(answer));
    let second = layer.clone().layer(service_fn(answer));
    let third = second.clone();
    fails(&first, 1).await;
    fails(&second, 1).await;
    fails(&third, 1).await;
    rejected(&first).await;
    rejected(&second).await;
    rejected(&third).await;
    assert_eq!(layer.handle().status().state, CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_reset_closes_it_and_forgets() {
    let (client, handle) = build(builder());
    fails(&client, 2).await;
    handle.reset();
    fails(&client, 2).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
    fails(&client, 1).await;
    rejected(&client).await;
    handle.reset();
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

// Events.

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<CircuitEventKind>>>);

impl Observer for Log {
    fn observe(&self, event: &Event<'_>) {
        let Event::CircuitBreaker(event) = event else {
            return;
        };
        assert_eq!(event.circuit, "eu");
        self.0.lock().unwrap().push(event.kind);
    }
}

#[tokio::test(start_paused = true)]
async fn events_come_in_order() {
    let log = Log::default();
    let (client, handle) = build(builder().name("eu").observer(log.clone()));
    fails(&client, 3).await;
    rejected(&client).await;
    advance(10 * SECOND).await;
    ask(&client, After(503, 20)).await.unwrap();
    advance(20 * SECOND).await;
    let probe = send_later(&client);
    rejected(&client).await;
    drop(probe);
    passes(&client, 200).await;
    handle.reset();
    fails(&client, 3).await;
    handle.reset();

    let failed = Cause::Status(StatusCode::INTERNAL_SERVER_ERROR);
    let busy = Cause::Status(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        *log.0.lock().unwrap(),
        [
            CircuitEventKind::Opened { cause: failed, open_for: 10 * SECOND },
            CircuitEventKind::Rejected { retry_after: Some(10 * SECOND) },
            CircuitEventKind::HalfOpened,
            CircuitEventKind::Opened { cause: busy, open_for: 20 * SECOND },
            CircuitEventKind::HalfOpened,
            CircuitEventKind::Rejected { retry_after: None },
            CircuitEventKind::Closed,
            CircuitEventKind::Opened { cause: failed, open_for: 10 * SECOND },
            CircuitEventKind::Closed,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_observer_may_look_and_even_call() {
    type Call = Box<dyn Fn() + Send + Sync>;
    let call = Arc::new(OnceLock::<Call>::new());
    let heard = Arc::new(AtomicUsize::new(0));
    let layer = {
        let (call, heard) = (Arc::clone(&call), Arc::clone(&heard));
        let observer = observer_fn(move |_: &Event<'_>| {
            if heard.fetch_add(1, Ordering::SeqCst) < 100 {
                call.get().unwrap()();
            }
        });
        builder().observer(observer).build().unwrap()
    };
    let client = layer.layer(service_fn(answer));
    let (handle, reentrant) = (layer.handle(), Mutex::new(client.clone()));
    _ = call.set(Box::new(move || {
        _ = handle.status();
        _ = handle.all();
        let client = reentrant.lock().unwrap().clone();
        _ = ask(&client, Status(200)).now_or_never();
    }));
    fails(&client, 3).await;
    rejected(&client).await;
    advance(10 * SECOND).await;
    fails(&client, 1).await;
    advance(10 * SECOND).await;
    passes(&client, 200).await;
    layer.handle().reset();
    assert!(heard.load(Ordering::SeqCst) > 4);
}

#[test]
fn totals_add_up_over_threads() {
    let layer = CircuitBreakerLayer::builder().consecutive_failures(100_000).build().unwrap();
    let client = Mutex::new(layer.layer(service_fn(answer)));
    std::thread::scope(|scope| {
        for thread in 0..8_u16 {
            let mut client = client.lock().unwrap().clone();
            scope.spawn(move || {
                for step in 0..10_000 {
                    let status = [200, 500, 404, 200][(step + usize::from(thread)) % 4];
                    let ready = client.ready().now_or_never().unwrap().unwrap();
                    let call = ready.call(Request::new(Status(status)));
                    call.now_or_never().unwrap().unwrap();
                }
            });
        }
    });
    let status = layer.handle().status();
    assert_eq!((status.calls, status.successes), (80_000, 40_000));
    assert!((status.success_rate() - 0.5).abs() < 1e-9);
    assert!(status.last_failure.is_some());
}

// Configuration.

#[test]
fn what_cannot_work_is_refused_when_built() {
    let over_calls = FailureRate::over_calls;
    let over_time = FailureRate::over_time;
    let new = CircuitBreakerLayer::builder;
    let rate = |rate| new().failure_rate(rate);
    let refused = [
        new().consecutive_failures(0),
        new().consecutive_failures(524_288),
        new().consecutive_failures(u32::MAX),
        new().leaky_failures(0),
        new().leaky_failures(u32::MAX),
        new().half_open(some(1), some(2)),
        new().half_open(some(u32::MAX - 1), some(u32::MAX)),
        new().probe_lease(Duration::ZERO),
        rate(over_calls(0)),
        rate(over_calls(u32::MAX)),
        rate(over_calls(10).min_calls(11)),
        rate(over_calls(10).min_calls(0)),
        rate(over_calls(10).at(0.0)),
        rate(over_calls(10).at(-1.0)),
        rate(over_calls(10).at(1.1)),
        rate(over_calls(10).at(f64::NAN)),
        rate(over_calls(10).at(f64::INFINITY)),
        rate(over_time(Duration::ZERO)),
        rate(over_time(Duration::from_millis(63))),
        rate(over_time(SECOND).min_calls(0)),
    ];
    for (index, builder) in refused.into_iter().enumerate() {
        let error = builder.build().map(|_| index).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_panics_at_the_ends_of_the_numbers() {
    let new = CircuitBreakerLayer::builder;
    let most = some(u32::MAX);
    let layers = [
        new().consecutive_failures(1).open_for(Duration::MAX),
        new().consecutive_failures(1).open_for(Duration::ZERO),
        new().consecutive_failures(1).open_for(Duration::ZERO).no_half_open(),
        new().consecutive_failures(1).hint_cap(Duration::MAX).probe_lease(Duration::MAX),
        new().consecutive_failures(1).probe_lease(Duration::from_nanos(1)),
        new().consecutive_failures(524_287).leaky_failures(524_287),
        new().leaky_failures(1).half_open(most, most),
        new().failure_rate(FailureRate::over_calls(1).at(f64::MIN_POSITIVE)),
        new().failure_rate(FailureRate::over_calls(1 << 20).min_calls(1)),
        new().failure_rate(FailureRate::over_time(Duration::MAX).min_calls(u32::MAX)),
        new().failure_rate(FailureRate::over_time(Duration::from_millis(64)).min_calls(1)),
        new().max_keys(0),
        new().max_keys(usize::MAX),
    ];
    for layer in layers {
        let (client, handle) = build(layer);
        for _ in 0..3 {
            for status in [500, 503, 200, 404, 500] {
                _ = ask(&client, After(status, u32::MAX)).await;
                _ = ask(&client, Status(status)).await;
            }
            _ = handle.status().success_rate();
            advance(3_600 * 24 * 365 * SECOND).await;
        }
        handle.reset();
        passes(&client, 200).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_keys_of_their_own_all_calls_share_one_circuit() {
    let layer = builder().by_authority().max_keys(0).build().unwrap();
    let client = layer.layer(service_fn(answer));
    for host in ["a", "b", "c"] {
        client.clone().oneshot(to(&format!("http://{host}/"), None, 500)).await.unwrap();
    }
    client.clone().oneshot(to("http://d/", None, 200)).await.unwrap_err();
}

#[test]
fn is_built_and_answers_outside_a_runtime() {
    let layer = CircuitBreakerLayer::new();
    let mut client = layer.layer(service_fn(answer));
    for _ in 0..5 {
        let ready = client.ready().now_or_never().unwrap().unwrap();
        ready.call(Request::new(Status(500))).now_or_never().unwrap().unwrap();
    }
    let error = client.call(Request::new(Hangs)).now_or_never().unwrap().unwrap_err();
    let open = cause_ref::<CircuitOpen>(&*error).unwrap();
    assert!(open.to_string().starts_with("circuit upstream is open after: status 500; try again"));
}

#[test]
fn layers_services_and_futures_can_be_sent() {
    fn check<T: Send>(_: &T) {}
    fn check_sync<T: Send + Sync>(_: &T) {}
    let layer = CircuitBreakerLayer::new();
    check_sync(&layer);
    check_sync(&layer.handle());
    let mut client = layer.layer(service_fn(answer));
    check_sync(&client);
    check(&client.call(Request::new(Hangs)));
}
