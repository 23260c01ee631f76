//! The rate limiter as a layer, by its observable behaviour.

#![cfg(feature = "rate-limit")]

use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt};
use tower_test::mock;
use tower_upstream::event::{Event, Observer, observer_fn};
use tower_upstream::key::KeyRef;
use tower_upstream::rate_limit::{
    CostAboveQuota, RateLimitBuilder, RateLimitHandle, RateLimited, RateLimitedReason,
};
use tower_upstream::{BoxError, Quota, RateLimitLayer, cause_ref};

const SECOND: Duration = Duration::from_secs(1);

/// How the upstream responds to a request. It is the request's body.
#[derive(Debug)]
enum Reply {
    Status(u16),
    /// A status with a `Retry-After` of this number of seconds.
    After(u16, u32),
    Refused,
    /// The connection is refused if `true` is sent here; otherwise a 200.
    RefusedLater(oneshot::Receiver<bool>),
    /// A 429 with a `Retry-After` of the number of seconds that is sent here.
    ThrottledLater(oneshot::Receiver<u32>),
    Hangs,
}

use Reply::{After, Hangs, Refused, RefusedLater, Status, ThrottledLater};

/// An upstream that records the calls that reach it, and their times.
#[derive(Clone, Debug, Default)]
struct Upstream(Arc<Mutex<Vec<(u32, Instant)>>>);

impl Upstream {
    /// Returns the numbers of the calls that reached it, in order.
    fn numbers(&self) -> Vec<u32> {
        self.0.lock().unwrap().iter().map(|(number, _)| *number).collect()
    }

    /// Returns when calls reached it, in seconds since `start`.
    fn seconds_from(&self, start: Instant) -> Vec<u64> {
        self.0.lock().unwrap().iter().map(|(_, at)| (*at - start).as_secs()).collect()
    }
}

impl Service<Request<Reply>> for Upstream {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Reply>) -> Self::Future {
        let number = header(&request, "number").unwrap_or(0);
        self.0.lock().unwrap().push((number, Instant::now()));
        Box::pin(reply(request.into_body()))
    }
}

async fn reply(reply: Reply) -> Result<Response<()>, BoxError> {
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    let (status, after) = match reply {
        Status(status) => (status, None),
        After(status, seconds) => (status, Some(seconds)),
        Refused => return Err(refused.into()),
        RefusedLater(later) => {
            if later.await? {
                return Err(refused.into());
            }
            (200, None)
        }
        ThrottledLater(seconds) => (429, Some(seconds.await?)),
        Hangs => pending().await,
    };
    let response = Response::builder().status(status);
    let response = match after {
        Some(seconds) => response.header("retry-after", seconds),
        None => response,
    };
    Ok(response.body(())?)
}

fn header<B>(request: &Request<B>, name: &str) -> Option<u32> {
    request.headers().get(name)?.to_str().ok()?.parse().ok()
}

fn numbered(number: u32, reply: Reply) -> Request<Reply> {
    Request::builder().header("number", number).body(reply).unwrap()
}

fn costing(cost: u32, reply: Reply) -> Request<Reply> {
    Request::builder().header("cost", cost).body(reply).unwrap()
}

fn by_header(request: &Request<Reply>) -> u32 {
    header(request, "cost").unwrap_or(1)
}

trait Client:
    Service<Request<Reply>, Response = Response<()>, Error = BoxError, Future: Send> + Clone + Send
{
}

impl<S> Client for S where
    S: Service<Request<Reply>, Response = Response<()>, Error = BoxError, Future: Send>
        + Clone
        + Send
{
}

type Called = task::Spawn<Pin<Box<dyn Future<Output = Result<Response<()>, BoxError>> + Send>>>;

/// Calls without polling.
fn call(client: &(impl Client + 'static), request: Request<Reply>) -> Called {
    let mut client = client.clone();
    let ready = client.ready().now_or_never().expect("always ready").unwrap();
    task::spawn(Box::pin(ready.call(request)))
}

/// Calls, and polls once.
fn send(client: &(impl Client + 'static), request: Request<Reply>) -> Called {
    let mut called = call(client, request);
    _ = called.poll();
    called
}

/// Calls, and asserts that the call is sent at once.
fn passes(client: &(impl Client + 'static), reply: Reply) {
    assert_ready!(call(client, Request::new(reply)).poll()).ok();
}

/// Calls, and asserts that the call is rejected at once.
fn rejected(
    client: &(impl Client + 'static),
    request: Request<Reply>,
) -> (RateLimitedReason, Duration) {
    rejection(&mut call(client, request))
}

fn rejection(called: &mut Called) -> (RateLimitedReason, Duration) {
    let error = assert_ready_err!(called.poll());
    let limited = cause_ref::<RateLimited>(&*error).expect("a rejection");
    (limited.reason(), limited.retry_after())
}

/// Returns a quota of at most `limit` in any ten seconds, without a margin.
fn ten_seconds(limit: u32) -> Quota {
    Quota::new(limit, 10 * SECOND).margin(Duration::ZERO)
}

fn builder(quota: Quota) -> RateLimitBuilder {
    RateLimitLayer::builder(quota).max_wait(1_000 * SECOND)
}

fn build(builder: RateLimitBuilder) -> (impl Client, Upstream, RateLimitHandle) {
    let (layer, upstream) = (builder.build().unwrap(), Upstream::default());
    (layer.layer(upstream.clone()), upstream, layer.handle())
}

// Quotas.

#[tokio::test(start_paused = true)]
async fn strict_quota_sends_its_limit_in_any_window() {
    let (client, upstream, handle) = build(builder(ten_seconds(2)));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..7 {
        let mut called = call(&client, numbered(number, Status(200)));
        tasks.spawn(async move { (&mut *called).await.map(drop) });
    }
    tokio::task::yield_now().await;
    assert_eq!((handle.status().remaining, handle.status().waiting), (0, 5));
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(upstream.seconds_from(start), [0, 0, 10, 10, 20, 20, 30]);
    assert_eq!(upstream.numbers(), [0, 1, 2, 3, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn strict_quota_window_slides_with_each_call() {
    let (client, upstream, _) = build(builder(ten_seconds(3)));
    let start = Instant::now();
    for _ in 0..3 {
        passes(&client, Status(200));
        advance(3 * SECOND).await;
    }
    let mut tasks = JoinSet::new();
    for number in 0..6 {
        let mut called = call(&client, numbered(number, Status(200)));
        tasks.spawn(async move { (&mut *called).await.map(drop) });
    }
    tasks.join_all().await;
    assert_eq!(upstream.seconds_from(start), [0, 3, 6, 10, 13, 16, 20, 23, 26]);
}

#[tokio::test(start_paused = true)]
async fn strict_quota_default_margin_is_one_percent() {
    let (client, _, _) = build(builder(Quota::per_minute(1)).no_wait());
    passes(&client, Status(200));
    advance(60 * SECOND).await;
    assert_eq!(rejected(&client, Request::new(Hangs)).1, Duration::from_millis(600));
    advance(Duration::from_millis(600)).await;
    passes(&client, Status(200));
}

#[tokio::test(start_paused = true)]
async fn paced_quota_sends_its_burst_then_its_rate() {
    let (client, upstream, handle) = build(builder(Quota::per_minute(60).burst(3)));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..6 {
        let mut called = call(&client, numbered(number, Status(200)));
        tasks.spawn(async move { (&mut *called).await.map(drop) });
    }
    tasks.join_all().await;
    assert_eq!(upstream.seconds_from(start), [0, 0, 0, 1, 2, 3]);
    assert_eq!(handle.status().remaining, 0);
    advance(SECOND).await;
    assert_eq!(handle.status().remaining, 1);
    advance(1_000 * SECOND).await;
    assert_eq!(handle.status().remaining, 3);
}

#[tokio::test(start_paused = true)]
async fn zero_quota_rejects_calls_at_once() {
    for quota in [Quota::per_second(0), Quota::per_second(5).burst(0)] {
        let (client, upstream, handle) = build(builder(quota).max_wait(Duration::MAX));
        let error = assert_ready_err!(call(&client, Request::new(Status(200))).poll());
        assert_eq!(cause_ref::<CostAboveQuota>(&*error).unwrap().capacity(), 0);
        assert!(upstream.numbers().is_empty());
        assert_eq!(handle.status().remaining, 0);
    }
}

// Costs.

#[tokio::test(start_paused = true)]
async fn cost_above_quota_is_rejected_at_once() {
    for quota in [ten_seconds(5), Quota::per_second(1).burst(5)] {
        let layer = builder(quota).cost_fn(by_header).build().unwrap();
        let client = layer.layer(Upstream::default());
        for cost in [6, u32::MAX] {
            let error = assert_ready_err!(call(&client, costing(cost, Status(200))).poll());
            let above = cause_ref::<CostAboveQuota>(&*error).unwrap();
            assert_eq!((above.cost(), above.capacity()), (cost, 5));
        }
        assert_eq!(layer.handle().status().remaining, 5);
        assert_ready_ok!(call(&client, costing(5, Status(200))).poll());
    }
}

#[tokio::test(start_paused = true)]
async fn zero_cost_passes_spent_quota_and_queue() {
    for quota in [ten_seconds(1), Quota::per_second(1).burst(1), Quota::per_second(0)] {
        let layer = builder(quota).cost_fn(by_header).build().unwrap();
        let client = layer.layer(Upstream::default());
        assert_ready_ok!(call(&client, costing(0, Status(200))).poll());
        let _first = send(&client, costing(1, Status(200)));
        let waiting = send(&client, costing(1, Status(200)));
        assert_ready_ok!(call(&client, costing(0, Status(200))).poll());
        drop(waiting);
    }
}

#[tokio::test(start_paused = true)]
async fn queue_expensive_call_keeps_fifo_order() {
    let layer = builder(ten_seconds(10)).cost_fn(by_header).build().unwrap();
    let (upstream, start) = (Upstream::default(), Instant::now());
    let client = layer.layer(upstream.clone());
    let mut tasks = JoinSet::new();
    for (number, cost) in [6, 3, 7, 1, 10].into_iter().enumerate() {
        let request = Request::builder().header("cost", cost).header("number", number);
        let mut called = call(&client, request.body(Status(200)).unwrap());
        tasks.spawn(async move { (&mut *called).await.map(drop) });
        tokio::task::yield_now().await;
        advance(SECOND).await;
    }
    tasks.join_all().await;
    assert_eq!(upstream.numbers(), [0, 1, 2, 3, 4]);
    assert_eq!(upstream.seconds_from(start), [0, 1, 10, 11, 21]);
}

// The queue.

#[tokio::test(start_paused = true)]
async fn queue_thousand_calls_keep_fifo_order() {
    for quota in [ten_seconds(7), Quota::per_second(100).burst(3)] {
        let (client, upstream, _) = build(builder(quota).max_wait(Duration::MAX));
        let mut tasks = JoinSet::new();
        for number in 0..1_000 {
            let mut called = call(&client, numbered(number, Status(200)));
            tasks.spawn(async move { (&mut *called).await.map(drop) });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        assert_eq!(upstream.numbers(), (0..1_000).collect::<Vec<_>>());
    }
}

/// A future that counts its polls.
struct Counted<F>(F, Arc<AtomicUsize>);

impl<F: Future + Unpin> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.poll_unpin(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn queue_admission_wakes_one_call_twice_at_most() {
    const WAITERS: usize = 10_000;
    for quota in [ten_seconds(3), Quota::per_second(10).burst(2)] {
        let (client, _, _) = build(builder(quota).max_wait(Duration::MAX));
        let polls = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for number in 0..WAITERS {
            let number = u32::try_from(number).unwrap();
            let mut client = client.clone();
            let ready = client.ready().await.unwrap();
            let called = Box::pin(ready.call(numbered(number, Status(200))));
            tasks.spawn(Counted(called, Arc::clone(&polls)));
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        // Once to join the queue, once to become the head, once by the timer.
        let polls = polls.load(Ordering::Relaxed);
        assert!(polls <= 3 * WAITERS, "{polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn queue_dropped_calls_neither_block_nor_reorder() {
    // At each position, in each state: never polled, waiting, and as the head.
    for leaves in 0..10 {
        for polled in [false, true] {
            let (client, upstream, handle) = build(builder(ten_seconds(1)));
            passes(&client, Status(200));
            let mut line: Vec<_> = (1..=10)
                .map(|number| {
                    let mut called = call(&client, numbered(number, Status(200)));
                    if polled || leaves + 1 != number {
                        assert_pending!(called.poll());
                    }
                    Some(called)
                })
                .collect();
            advance(5 * SECOND).await;
            line[leaves as usize] = None;
            assert_eq!(handle.status().waiting, 9);
            for _ in 0..20 {
                advance(5 * SECOND).await;
                // Polled from the back: the order of polls doesn't matter.
                for called in line.iter_mut().rev() {
                    if called.as_ref().is_some_and(Called::is_woken) {
                        _ = called.as_mut().unwrap().poll();
                    }
                }
                for called in line.iter_mut().rev() {
                    if called.as_ref().is_some_and(Called::is_woken) {
                        _ = called.as_mut().unwrap().poll();
                    }
                }
            }
            let served = (1..=10).filter(|number| *number != leaves + 1);
            assert_eq!(upstream.numbers()[1..], served.collect::<Vec<_>>());
            assert_eq!(handle.status().waiting, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn queue_dropped_head_notifies_the_next_call() {
    let (client, upstream, _) = build(builder(ten_seconds(1)));
    passes(&client, Status(200));
    let mut first = send(&client, numbered(1, Status(200)));
    let second = send(&client, numbered(2, Status(200)));
    let mut third = send(&client, numbered(3, Status(200)));
    advance(10 * SECOND).await;
    assert_ready_ok!(first.poll());
    // The second call is notified, and is dropped before it is polled.
    assert!(second.is_woken());
    drop(second);
    assert!(third.is_woken());
    assert_pending!(third.poll());
    advance(10 * SECOND).await;
    assert!(third.is_woken());
    assert_ready_ok!(third.poll());
    assert_eq!(upstream.numbers(), [0, 1, 3]);
}

#[tokio::test(start_paused = true)]
async fn queue_unpolled_call_blocks_no_other_before_its_turn() {
    let (client, upstream, handle) = build(builder(ten_seconds(1)));
    passes(&client, Status(200));
    let unpolled = call(&client, numbered(1, Status(200)));
    let mut polled = send(&client, numbered(2, Status(200)));
    advance(10 * SECOND).await;
    assert_ready_ok!(polled.poll());
    assert_eq!(upstream.numbers(), [0, 2]);
    assert_eq!(handle.status().waiting, 1);
    drop(unpolled);
    assert_eq!(handle.status().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn queue_new_call_does_not_overtake() {
    let (client, upstream, _) = build(builder(ten_seconds(1)));
    passes(&client, Status(200));
    let mut first = send(&client, numbered(1, Status(200)));
    advance(10 * SECOND).await;
    let mut newcomer = send(&client, numbered(2, Status(200)));
    assert_ready_ok!(first.poll());
    assert_pending!(newcomer.poll());
    assert_eq!(upstream.numbers(), [0, 1]);
}

// Rejections.

#[tokio::test(start_paused = true)]
async fn queue_too_long_wait_is_rejected_on_arrival() {
    for quota in [ten_seconds(2), Quota::per_second(1).burst(2)] {
        let (client, _, _) = build(builder(quota).max_wait(20 * SECOND));
        let mut line = Vec::new();
        for _ in 0..2 {
            passes(&client, Status(200));
        }
        let refused = loop {
            let mut called = call(&client, Request::new(Status(200)));
            match called.poll() {
                Poll::Pending => line.push(called),
                Poll::Ready(result) => break result.unwrap_err(),
            }
        };
        let limited = cause_ref::<RateLimited>(&*refused).unwrap();
        assert_eq!(limited.reason(), RateLimitedReason::MaxWait);
        assert!(limited.retry_after() > 20 * SECOND);
        assert!(limited.retry_after() <= 30 * SECOND);
        // All other calls are admitted within that time.
        let mut tasks = JoinSet::new();
        for mut called in line {
            tasks.spawn(async move { (&mut *called).await.map(drop) });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_wait_rejects_calls_above_the_quota() {
    let (client, _, handle) = build(builder(ten_seconds(1)).no_wait());
    passes(&client, Status(200));
    for _ in 0..3 {
        assert_eq!(
            rejected(&client, Request::new(Hangs)),
            (RateLimitedReason::MaxWait, 10 * SECOND)
        );
    }
    assert_eq!(handle.status().waiting, 0);
    advance(10 * SECOND).await;
    passes(&client, Status(200));
}

#[tokio::test(start_paused = true)]
async fn queue_full_rejects_calls() {
    let (client, _, handle) = build(builder(ten_seconds(1)).max_waiting(2));
    passes(&client, Status(200));
    let mut first = send(&client, Request::new(Status(200)));
    let second = send(&client, Request::new(Status(200)));
    let (reason, after) = rejected(&client, Request::new(Hangs));
    assert_eq!((reason, after), (RateLimitedReason::QueueFull, 30 * SECOND));
    drop(second);
    let mut third = send(&client, Request::new(Status(200)));
    assert_eq!(handle.status().waiting, 2);
    advance(10 * SECOND).await;
    assert_ready_ok!(first.poll());
    assert_pending!(third.poll());
}

#[tokio::test(start_paused = true)]
async fn queue_prediction_includes_gate_and_waiting_calls() {
    for quota in [ten_seconds(1), Quota::new(1, 10 * SECOND).burst(1)] {
        let (client, _, _) = build(builder(quota).max_wait(75 * SECOND));
        advance(1_000 * SECOND).await;
        passes(&client, After(429, 60));
        // After the pause, one call each ten seconds.
        let mut first = send(&client, Request::new(Status(200)));
        let mut second = send(&client, Request::new(Status(200)));
        let (reason, after) = rejected(&client, Request::new(Hangs));
        assert_eq!((reason, after), (RateLimitedReason::MaxWait, 80 * SECOND));
        advance(60 * SECOND).await;
        assert_ready_ok!(first.poll());
        assert_pending!(second.poll());
        advance(10 * SECOND).await;
        assert_ready_ok!(second.poll());
    }
}

// Pauses.

#[tokio::test(start_paused = true)]
async fn throttled_with_hint_closes_gate_for_all_calls() {
    let (client, upstream, handle) = build(builder(ten_seconds(100)).max_wait(30 * SECOND));
    passes(&client, After(429, 20));
    assert_eq!(handle.status().paused_until, Some(Instant::now() + 20 * SECOND));
    let mut waiting = send(&client.clone(), numbered(1, Status(200)));
    assert_pending!(waiting.poll());
    advance(19 * SECOND).await;
    assert!(!waiting.is_woken());
    advance(SECOND).await;
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
    assert_eq!(upstream.numbers(), [0, 1]);
    assert_eq!(handle.status().paused_until, None);
    // Other calls pass during the ramp-up, which takes at most five seconds.
    let mut waiting = send(&client, Request::new(Status(200)));
    assert_pending!(waiting.poll());
    advance(5 * SECOND).await;
    assert_ready_ok!(waiting.poll());
    // A shorter hint doesn't open the gate.
    passes(&client, After(429, 25));
    let mut waiting = send(&client, Request::new(Status(200)));
    advance(25 * SECOND).await;
    assert_ready_ok!(waiting.poll());
}

#[tokio::test(start_paused = true)]
async fn throttle_gate_beyond_max_wait_rejects_waiting_calls() {
    let (client, upstream, handle) = build(builder(ten_seconds(2)).max_wait(30 * SECOND));
    let (throttle, later) = oneshot::channel();
    let mut throttled = send(&client, Request::new(ThrottledLater(later)));
    passes(&client, Status(200));
    let mut line: Vec<_> = (0..3).map(|_| send(&client, Request::new(Status(200)))).collect();
    advance(SECOND).await;
    // The pause would end after 41 s, which exceeds every wait limit.
    throttle.send(40).unwrap();
    assert_ready_ok!(throttled.poll());
    for called in &mut line {
        assert!(called.is_woken());
        assert_eq!(rejection(called), (RateLimitedReason::MaxWait, 40 * SECOND));
    }
    assert_eq!(handle.status().waiting, 0);
    assert_eq!(rejected(&client, Request::new(Hangs)).0, RateLimitedReason::MaxWait);
    assert_eq!(upstream.numbers().len(), 2);
    advance(40 * SECOND).await;
    passes(&client, Status(200));
}

#[tokio::test(start_paused = true)]
async fn max_pause_caps_pauses_and_zero_ignores_them() {
    let (client, _, handle) = build(builder(ten_seconds(100)).max_pause(5 * SECOND));
    passes(&client, After(429, 3_000));
    assert_eq!(handle.status().paused_until, Some(Instant::now() + 5 * SECOND));

    let events = Log::default();
    let ignoring = builder(ten_seconds(100)).max_pause(Duration::ZERO).observer(events.clone());
    let (client, _, handle) = build(ignoring);
    passes(&client, After(429, 3_000));
    assert_eq!(handle.status().paused_until, None);
    assert!(events.0.lock().unwrap().is_empty());
    passes(&client, Status(200));
}

#[tokio::test(start_paused = true)]
async fn handle_resume_ends_a_pause() {
    let (client, _, handle) = build(builder(ten_seconds(100)).max_wait(Duration::MAX));
    passes(&client, After(429, 3_000));
    let mut waiting = call(&client, numbered(1, Status(200)));
    assert!(waiting.poll().is_pending());
    handle.resume();
    assert!(waiting.is_woken());
    assert!(waiting.poll().is_ready());
    assert_eq!(handle.status().paused_until, None);
}

#[tokio::test(start_paused = true)]
async fn throttled_without_hint_leaves_gate_open() {
    let (client, _, handle) = build(builder(ten_seconds(100)));
    passes(&client, Status(429));
    passes(&client, After(503, 30));
    assert_eq!(handle.status().paused_until, None);
    passes(&client, Status(200));
}

// Refunds.

#[tokio::test(start_paused = true)]
async fn refund_of_refused_connection_wakes_the_head() {
    for quota in [ten_seconds(1), Quota::new(1, 10 * SECOND).burst(1)] {
        let (client, upstream, handle) = build(builder(quota));
        let (refuse, later) = oneshot::channel();
        let mut refused = send(&client, Request::new(RefusedLater(later)));
        let mut first = send(&client, numbered(1, Status(200)));
        let mut second = send(&client, numbered(2, Status(200)));
        assert_pending!(first.poll());
        refuse.send(true).unwrap();
        assert_ready_err!(refused.poll());
        assert!(first.is_woken());
        assert_ready_ok!(first.poll());
        assert_pending!(second.poll());
        assert_eq!(upstream.numbers(), [0, 1]);
        assert_eq!(handle.status().waiting, 1);
    }
}

#[cfg(feature = "circuit-breaker")]
#[tokio::test(start_paused = true)]
async fn refund_of_open_circuit_drains_the_queue() {
    use tower_upstream::CircuitBreakerLayer;
    use tower_upstream::circuit_breaker::CircuitOpen;

    for quota in [ten_seconds(3), ten_seconds(40_000), Quota::new(3, 10 * SECOND).burst(3)] {
        let breaker = CircuitBreakerLayer::builder().consecutive_failures(1).build().unwrap();
        let limit = builder(quota).cost_fn(by_header).build().unwrap();
        let full = limit.handle().status().remaining;
        let client = limit.layer(breaker.layer(Upstream::default()));
        let (end, later) = oneshot::channel::<bool>();
        let mut failing = send(&client, costing(full - 1, RefusedLater(later)));
        let mut line: Vec<_> = (0..100).map(|_| send(&client, costing(2, Status(200)))).collect();
        assert_eq!(limit.handle().status().waiting, 100);
        // The failed call may have been processed, so its units stay spent.
        drop(end);
        assert_ready_err!(failing.poll());
        advance(10 * SECOND).await;
        for called in &mut line {
            assert!(called.is_woken());
            let error = assert_ready_err!(called.poll());
            assert!(cause_ref::<CircuitOpen>(&*error).is_some());
        }
        assert_eq!(limit.handle().status().remaining, full);
    }
}

#[tokio::test(start_paused = true)]
async fn refund_restores_every_unit_of_any_quota() {
    for quota in [ten_seconds(5), ten_seconds(16_384), ten_seconds(16_385), ten_seconds(40_000)] {
        let layer = builder(quota).no_wait().build().unwrap();
        let client = layer.layer(Upstream::default());
        let full = layer.handle().status().remaining;
        // One after the other, and several at once that end in another order.
        for _ in 0..3 {
            for _ in 0..10 {
                passes(&client, Refused);
            }
            let mut called: Vec<_> = (0..5)
                .map(|_| {
                    let (refuse, end) = oneshot::channel();
                    (refuse, send(&client, Request::new(RefusedLater(end))))
                })
                .collect();
            for at in [2, 0, 1, 1, 0] {
                let (refuse, mut refused) = called.remove(at);
                refuse.send(true).unwrap();
                assert_ready_err!(refused.poll());
                advance(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(layer.handle().status().remaining, full);
        passes(&client, Status(200));
        advance(10 * SECOND).await;
        assert_eq!(layer.handle().status().remaining, full);
    }
}

#[tokio::test(start_paused = true)]
async fn refund_late_of_paced_quota_adds_no_burst() {
    let layer = builder(Quota::per_second(1).burst(10)).no_wait().build().unwrap();
    let client = layer.layer(Upstream::default());
    let (refuse, end) = oneshot::channel();
    let mut refused = send(&client, Request::new(RefusedLater(end)));
    // The units have long been replenished when the connection is refused.
    advance(5 * SECOND).await;
    for _ in 0..10 {
        passes(&client, Status(200));
    }
    refuse.send(true).unwrap();
    assert_ready_err!(refused.poll());
    assert_eq!(rejected(&client, Request::new(Hangs)).1, SECOND);
}

#[tokio::test(start_paused = true)]
async fn refund_of_dropped_call_only_before_it_is_sent() {
    let (inner, mut upstream) = mock::pair::<Request<()>, Response<()>>();
    upstream.allow(1);
    let limit = builder(ten_seconds(1)).build().unwrap();
    let mut client = limit.layer(inner);
    client.ready().await.unwrap();
    let mut call = || task::spawn(Box::pin(client.call(Request::new(()))));
    let mut first = call();
    assert_pending!(first.poll());
    assert_ready!(task::spawn(upstream.next_request()).poll()).unwrap();
    // A call that was sent: dropping it refunds nothing.
    drop(first);
    assert_eq!(limit.handle().status().remaining, 0);
    // A call that waits for the quota, then for the inner service: it isn't sent.
    let mut second = call();
    assert_pending!(second.poll());
    advance(10 * SECOND).await;
    assert_pending!(second.poll());
    assert_eq!((limit.handle().status().remaining, limit.handle().status().waiting), (0, 0));
    drop(second);
    assert_eq!(limit.handle().status().remaining, 1);
}

#[tokio::test(start_paused = true)]
async fn refund_after_wait_if_inner_service_fails() {
    let (inner, mut upstream) = mock::pair::<Request<()>, Response<()>>();
    upstream.allow(1);
    let limit = builder(ten_seconds(1)).build().unwrap();
    let mut client = limit.layer(inner);
    client.ready().await.unwrap();
    let _sent = task::spawn(Box::pin(client.call(Request::new(()))));
    let mut waiting = task::spawn(Box::pin(client.call(Request::new(()))));
    assert_pending!(waiting.poll());
    advance(10 * SECOND).await;
    upstream.send_error("can't get ready");
    assert_ready_err!(waiting.poll());
    assert_eq!(limit.handle().status().remaining, 1);
}

// Readiness.

#[tokio::test(start_paused = true)]
async fn waiting_call_holds_no_inner_readiness() {
    let inner = ConcurrencyLimit::new(Upstream::default(), 1);
    let limit = builder(ten_seconds(1)).build().unwrap();
    let mut client = limit.layer(inner.clone());
    client.ready().await.unwrap().call(Request::new(Status(200))).await.unwrap();
    let mut waiting =
        task::spawn(Box::pin(client.ready().await.unwrap().call(Request::new(Hangs))));
    assert_pending!(waiting.poll());
    let mut other = mock::Spawn::new(inner);
    assert_ready_ok!(other.poll_ready::<Request<Reply>>());
    // An admitted call waits for the inner service.
    advance(10 * SECOND).await;
    assert_pending!(waiting.poll());
    drop(other);
    assert!(waiting.is_woken());
    assert_pending!(waiting.poll());
    assert_eq!(limit.handle().status().remaining, 0);
}

/// A service that is ready when its flag is set, and records when it is called.
#[derive(Clone)]
struct Gated {
    gate: Arc<Gate>,
    upstream: Upstream,
}

#[derive(Default)]
struct Gate {
    shut: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Gate {
    fn shut(&self, shut: bool) {
        self.shut.store(shut, Ordering::SeqCst);
        self.wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    }
}

impl Service<Request<Reply>> for Gated {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = <Upstream as Service<Request<Reply>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.gate.shut.load(Ordering::SeqCst) {
            self.gate.wakers.lock().unwrap().push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Reply>) -> Self::Future {
        self.upstream.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn quota_counts_calls_when_they_are_sent() {
    for quota in [ten_seconds(2), Quota::new(2, 10 * SECOND).burst(2)] {
        let gated = Gated { gate: Arc::default(), upstream: Upstream::default() };
        let (gate, upstream) = (Arc::clone(&gated.gate), gated.upstream.clone());
        let client = builder(quota).build().unwrap().layer(gated);
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for number in 0..10 {
            let mut called = call(&client, numbered(number, Status(200)));
            tasks.spawn(async move { (&mut *called).await.map(drop) });
        }
        tokio::task::yield_now().await;
        // The inner service is busy for a while. Calls that are admitted meanwhile are not
        // sent, and must not be sent all at once afterwards.
        gate.shut(true);
        for _ in 0..35 {
            advance(SECOND).await;
        }
        assert_eq!(upstream.numbers(), [0, 1]);
        gate.shut(false);
        tasks.join_all().await;
        let sent = upstream.seconds_from(start);
        assert_eq!(sent.len(), 10);
        for window in sent.windows(3) {
            assert!(window[2] - window[0] >= 5, "{sent:?}");
        }
        for window in sent.windows(4) {
            assert!(window[3] - window[0] >= 10, "{sent:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn admitted_call_is_not_sent_through_closed_gate() {
    for max_wait in [30, 100] {
        let gated = Gated { gate: Arc::default(), upstream: Upstream::default() };
        let (gate, upstream) = (Arc::clone(&gated.gate), gated.upstream.clone());
        let inner = ConcurrencyLimit::new(gated, 2);
        let layer = builder(ten_seconds(1)).max_wait(max_wait * SECOND).build().unwrap();
        let client = layer.layer(inner.clone());
        let (throttle, later) = oneshot::channel();
        let mut first = send(&client, numbered(0, ThrottledLater(later)));
        let mut second = send(&client, numbered(1, Status(200)));
        gate.shut(true);
        advance(10 * SECOND).await;
        // The call is admitted, and waits for the inner service.
        assert_pending!(second.poll());
        assert_eq!(layer.handle().status().waiting, 0);
        throttle.send(60).unwrap();
        assert_eq!(assert_ready_ok!(first.poll()).status(), 429);
        drop(first);
        gate.shut(false);
        let reply = second.poll();
        assert_eq!(upstream.numbers(), [0]);
        assert_eq!(layer.handle().status().remaining, 1);
        // The call holds no readiness any more.
        let mut others = [mock::Spawn::new(inner.clone()), mock::Spawn::new(inner)];
        for other in &mut others {
            assert_ready_ok!(other.poll_ready::<Request<Reply>>());
        }
        drop(others);
        if max_wait < 60 {
            let error = assert_ready_err!(reply);
            assert_eq!(cause_ref::<RateLimited>(&*error).unwrap().retry_after(), 60 * SECOND);
        } else {
            assert_pending!(reply);
            assert_eq!(layer.handle().status().waiting, 1);
            advance(60 * SECOND).await;
            assert_ready_ok!(second.poll());
            assert_eq!(upstream.numbers(), [0, 1]);
        }
    }
}

// Keys and sharing.

#[tokio::test(start_paused = true)]
async fn by_credential_separates_quotas_and_hides_secrets() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let layer = builder(ten_seconds(1))
        .by_credential()
        .no_wait()
        .observer(observer_fn(move |event: &Event<'_>| {
            log.lock().unwrap().push(format!("{event} {event:?}"));
        }))
        .build()
        .unwrap();
    let client = layer.layer(Upstream::default());
    for name in ["authorization", "x-api-key", "api-key", "x-goog-api-key"] {
        for secret in ["sk-secret-1", "sk-secret-2"] {
            let secret = format!("{secret}-{name}");
            let request = || Request::builder().header(name, &secret).body(Status(200)).unwrap();
            assert_ready_ok!(call(&client, request()).poll());
            let mut client = client.clone();
            let future = client.ready().await.unwrap().call(request());
            seen.lock().unwrap().push(format!("{future:?}"));
            let error = future.await.unwrap_err();
            seen.lock().unwrap().push(format!("{error} {error:?}"));
        }
    }
    let handle = layer.handle();
    assert_eq!(handle.all().len(), 9);
    assert_eq!(handle.status().remaining, 1);
    let mut seen = seen.lock().unwrap().clone();
    seen.push(format!("{client:?} {layer:?} {handle:?} {:?}", handle.all()));
    let seen = seen.join(" ");
    assert!(seen.contains("retry in"));
    assert!(!seen.contains("sk-") && !seen.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn by_authority_and_key_fn_separate_quotas() {
    let layer = builder(ten_seconds(1)).by_authority().no_wait().build().unwrap();
    let client = layer.layer(Upstream::default());
    let to = |uri: &str| Request::builder().uri(uri).body(Status(200)).unwrap();
    assert_ready_ok!(call(&client, to("http://a.test/x")).poll());
    rejected(&client, to("http://a.test/y"));
    assert_ready_ok!(call(&client, to("http://b.test/x")).poll());
    let status = layer.handle().status_of(&KeyRef::text("b.test")).unwrap();
    assert_eq!((&*status.name, status.remaining), ("upstream/b.test", 0));

    let layer =
        builder(ten_seconds(1)).key_fn(|head| head.header("tenant")).no_wait().build().unwrap();
    let client = layer.layer(Upstream::default());
    let of = |tenant: &str| Request::builder().header("tenant", tenant).body(Status(200)).unwrap();
    assert_ready_ok!(call(&client, of("a")).poll());
    rejected(&client, of("a"));
    assert_ready_ok!(call(&client, of("b")).poll());
    assert_ready_ok!(call(&client, Request::new(Status(200))).poll());
    rejected(&client, Request::new(Status(200)));
}

#[tokio::test(start_paused = true)]
async fn max_keys_keeps_keys_with_spent_units() {
    for quota in [ten_seconds(1), ten_seconds(40_000), Quota::per_second(1).burst(1)] {
        let layer = builder(quota)
            .key_fn(|head| head.header("key"))
            .max_keys(10)
            .no_wait()
            .cost_fn(by_header)
            .build()
            .unwrap();
        let client = layer.layer(Upstream::default());
        let cost = layer.handle().status().remaining;
        let request = |key: &str, cost: u32| {
            let request = Request::builder().header("key", key).header("cost", cost);
            request.body(Status(200)).unwrap()
        };
        assert_ready_ok!(call(&client, request("spent", cost)).poll());
        for number in 0..100 {
            // These calls are refunded, or cost nothing.
            let key = number.to_string();
            assert_ready_ok!(call(&client, request(&key, 0)).poll());
            assert!(layer.handle().all().len() <= 11);
        }
        rejected(&client, request("spent", 1));
        // Ten keys with spent units. They are evicted after their windows.
        for number in 0..20 {
            _ = call(&client, request(&number.to_string(), 1)).poll();
        }
        advance(3_600 * SECOND).await;
        assert_ready_ok!(call(&client, request("new", 1)).poll());
        assert!(layer.handle().status_of(&KeyRef::text("new")).is_some());
    }
}

// Events.

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Observer for Log {
    fn observe(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(event.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_emitted_in_order() {
    let log = Log::default();
    let limit = builder(ten_seconds(2)).max_wait(15 * SECOND).observer(log.clone());
    let client = limit.cost_fn(by_header).build().unwrap().layer(Upstream::default());
    _ = call(&client, costing(3, Hangs)).poll();
    passes(&client, Status(200));
    passes(&client, Refused);
    passes(&client, Status(200));
    let first = send(&client, Request::new(Status(200)));
    let second = send(&client, Request::new(Status(200)));
    rejected(&client, Request::new(Hangs));
    drop((first, second));
    advance(10 * SECOND).await;
    passes(&client, After(429, 7));
    assert_eq!(
        *log.0.lock().unwrap(),
        [
            "rate limit upstream: rejected a call that costs 3, at most 2 pass",
            "rate limit upstream: refunded 1",
            "rate limit upstream: a call waits about 10.0s behind 0 others",
            "rate limit upstream: a call waits about 10.0s behind 1 others",
            "rate limit upstream: rejected a call, retry in 20.0s",
            "rate limit upstream: the server requested a pause of 7.0s",
        ]
    );
}

// Configuration.

#[tokio::test(start_paused = true)]
async fn extreme_settings_do_not_panic() {
    let quotas = [
        Quota::new(0, Duration::ZERO),
        Quota::new(1, Duration::ZERO),
        Quota::new(u32::MAX, Duration::ZERO),
        Quota::new(1, Duration::MAX),
        Quota::new(u32::MAX, Duration::MAX),
        Quota::new(1, Duration::MAX).margin(Duration::MAX),
        Quota::new(5, SECOND).margin(Duration::MAX),
        Quota::new(u32::MAX, Duration::from_nanos(1)),
        Quota::per_hour(u32::MAX),
        Quota::new(0, Duration::ZERO).burst(0),
        Quota::new(1, Duration::ZERO).burst(1),
        Quota::new(1, Duration::ZERO).burst(u32::MAX),
        Quota::new(1, Duration::MAX).burst(u32::MAX),
        Quota::new(u32::MAX, Duration::MAX).burst(u32::MAX),
        Quota::new(u32::MAX, Duration::from_nanos(1)).burst(u32::MAX),
        Quota::new(0, SECOND).burst(u32::MAX),
    ];
    for quota in quotas {
        for most in [0, 1, usize::MAX] {
            for time in [Duration::ZERO, SECOND, Duration::MAX] {
                let limit = builder(quota.clone())
                    .max_wait(time)
                    .max_pause(time)
                    .max_waiting(most)
                    .max_keys(most)
                    .by_authority()
                    .cost_fn(by_header)
                    .build()
                    .unwrap();
                let client = limit.layer(Upstream::default());
                let mut calls = Vec::new();
                for cost in [1, 0, u32::MAX, u32::MAX, 2, 1, 1, u32::MAX] {
                    calls.push(send(&client, costing(cost, Refused)));
                    calls.push(send(&client, costing(cost, After(429, u32::MAX))));
                    calls.push(send(&client, costing(cost, Hangs)));
                    advance(SECOND).await;
                }
                for called in &mut calls {
                    if called.is_woken() {
                        _ = called.poll();
                    }
                }
                _ = limit.handle().all();
            }
        }
    }
}

#[test]
fn layer_builds_and_rejects_outside_a_runtime() {
    let layer = RateLimitLayer::builder(Quota::per_minute(1)).no_wait().build().unwrap();
    let client = layer.layer(Upstream::default());
    passes(&client, Status(200));
    let (reason, after) = rejected(&client, Request::new(Hangs));
    assert_eq!(reason, RateLimitedReason::MaxWait);
    assert!(after > 50 * SECOND);
    let error = assert_ready_err!(call(&client, Request::new(Hangs)).poll());
    assert!(
        error.to_string().starts_with("rate limit upstream: the wait would exceed the longest")
    );
    // A call that would wait can be created and dropped.
    let layer = RateLimitLayer::new(Quota::per_minute(1));
    let client = layer.layer(Upstream::default());
    passes(&client, Status(200));
    drop(call(&client, Request::new(Status(200))));
    assert_eq!(layer.handle().status().waiting, 0);
}

#[test]
fn units_on_many_threads_are_conserved() {
    let layer = RateLimitLayer::builder(Quota::per_hour(1_000)).no_wait().build().unwrap();
    let upstream = Upstream::default();
    let client = Mutex::new(layer.layer(upstream.clone()));
    let sent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (client, sent) = (client.lock().unwrap().clone(), &sent);
            scope.spawn(move || {
                for step in 0..500 {
                    let refused = (step + thread) % 3 == 0;
                    let reply = if refused { Refused } else { Status(200) };
                    if let Poll::Ready(Ok(_)) = call(&client, Request::new(reply)).poll() {
                        sent.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let sent = u32::try_from(sent.load(Ordering::SeqCst)).unwrap();
    assert_eq!(layer.handle().status().remaining, 1_000 - sent);
    assert_eq!(sent, 1_000);
}
