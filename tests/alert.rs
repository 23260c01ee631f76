//! Alerts on a paused clock, with sinks that accept, reject, hang and panic.

#![cfg(all(
    feature = "alert",
    feature = "failover",
    feature = "circuit-breaker",
    feature = "rate-limit"
))]

#[path = "alert/delivery.rs"]
mod delivery;
#[cfg(feature = "tracing")]
#[path = "alert/logged.rs"]
mod logged;
#[path = "alert/rules.rs"]
mod rules;

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use serde_json::Value;
use tokio::time::{advance, sleep};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::alert::{
    AlertKind, AlertLayer, Alerts, AlertsBuilder, PagerDuty, Severity, Slack,
};
use tower_upstream::event::{Event, Observer, observer_fn};
use tower_upstream::failover::{FailoverLayer, Region, Regions};
use tower_upstream::retry::Backoff;
use tower_upstream::{BoxError, CircuitBreakerLayer, RetryLayer};

const SECRETS: [&str; 2] = ["hook-secret", "routing-secret"];

/// A receiver of alerts.
#[derive(Clone, Default)]
struct Receiver {
    received: Arc<Mutex<Vec<Value>>>,
    /// The status of its responses; 0 is 200.
    status: Arc<AtomicU16>,
}

impl Receiver {
    fn client(
        &self,
    ) -> impl Service<Request<Bytes>, Response = Response<()>, Error = BoxError, Future: Send>
    + Clone
    + Send
    + use<> {
        let receiver = self.clone();
        service_fn(move |request: Request<Bytes>| {
            let receiver = receiver.clone();
            async move {
                let status = receiver.status.load(Ordering::Relaxed).max(200);
                if status == 200 {
                    let body = serde_json::from_slice(request.body())?;
                    receiver.received.lock().unwrap().push(body);
                }
                Ok(Response::builder().status(status).body(())?)
            }
        })
    }

    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }

    /// Returns the fallback texts of Slack's messages.
    fn texts(&self) -> Vec<String> {
        self.take().iter().map(|body| body["text"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns action and key of PagerDuty's events.
    fn actions(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let action = |body: &Value| (text(&body["event_action"]), text(&body["dedup_key"]));
        self.take().iter().map(action).collect()
    }
}

fn slack() -> Slack {
    Slack::new("https://hooks.slack.test/hook-secret")
}

fn pager() -> PagerDuty {
    PagerDuty::new("routing-secret")
}

fn slack_and_pager() -> (AlertsBuilder, Receiver, Receiver) {
    let (chat, page) = (Receiver::default(), Receiver::default());
    let builder = Alerts::builder()
        .service("checkout")
        .sink(slack(), Severity::Info, chat.client())
        .sink(pager(), Severity::Critical, page.client());
    (builder, chat, page)
}

/// An upstream that responds with this status, or times out if it is 0.
fn upstream(
    status: &Arc<AtomicU16>,
) -> impl Service<Request<()>, Response = Response<()>, Error = BoxError, Future: Send> + Clone + use<>
{
    let status = Arc::clone(status);
    service_fn(move |_: Request<()>| {
        let status = status.load(Ordering::Relaxed);
        async move {
            if status == 0 {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            Ok(Response::builder().status(status).body(())?)
        }
    })
}

fn status(status: u16) -> Arc<AtomicU16> {
    Arc::new(AtomicU16::new(status))
}

async fn call(client: impl Service<Request<()>, Response = Response<()>, Error = BoxError>) {
    _ = client.oneshot(Request::new(())).await;
}

async fn flush(alerts: &Alerts) {
    assert!(alerts.flush(Duration::from_secs(3600)).await, "{:?}", alerts.stats());
    assert_adds_up(alerts);
}

fn assert_adds_up(alerts: &Alerts) {
    let stats = alerts.stats();
    let sum = stats.sent + stats.coalesced + stats.dropped + stats.failed + stats.pending;
    assert_eq!(stats.offered, sum, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn alert_severity_decides_which_sinks_are_notified() {
    let (builder, chat, page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    let status = status(503);
    let client = AlertLayer::new(&alerts).layer_over(upstream(&status));
    call(client.clone()).await;
    flush(&alerts).await;
    assert_eq!(chat.texts(), ["ℹ️ INFO: Call failed: status 503"]);
    assert_eq!(page.actions(), []);
    status.store(401, Ordering::Relaxed);
    call(client).await;
    flush(&alerts).await;
    let expected = "🔴 CRITICAL: Credential rejected: status 401";
    assert_eq!(chat.texts(), [expected]);
    let key = "checkout/credential_rejected".to_owned();
    assert_eq!(page.actions(), [("trigger".to_owned(), key)]);
}

/// `layer(..)` without an import that clashes with tower's own.
trait LayerOver: Sized {
    fn layer_over<S>(&self, inner: S) -> <Self as tower::Layer<S>>::Service
    where
        Self: tower::Layer<S>,
    {
        tower::Layer::layer(self, inner)
    }
}

impl<L> LayerOver for L {}

#[tokio::test(start_paused = true)]
async fn alert_success_and_invalid_request_notify_no_sink() {
    let (builder, chat, _page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    for response in [200, 204, 302, 400, 404, 422, 501] {
        call(AlertLayer::new(&alerts).layer_over(upstream(&status(response)))).await;
    }
    // Nor is a call that its caller drops.
    let hangs = service_fn(|_: Request<()>| pending::<Result<Response<()>, BoxError>>());
    let dropped = AlertLayer::new(&alerts).layer_over(hangs).oneshot(Request::new(()));
    assert!(tokio::time::timeout(Duration::from_secs(1), dropped).await.is_err());
    flush(&alerts).await;
    assert_eq!((chat.take().len(), alerts.stats().offered), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn alert_timeout_after_many_retries_is_critical() {
    for (attempts, expected) in [(4, 0), (5, 1)] {
        let (builder, chat, page) = slack_and_pager();
        let alerts = builder.build().unwrap();
        let retry = RetryLayer::builder()
            .max_attempts(attempts)
            .no_budget()
            .backoff(Backoff::constant(Duration::from_secs(1)))
            .observer(alerts.observer())
            .build()
            .unwrap();
        let client = ServiceBuilder::new()
            .layer(AlertLayer::new(&alerts))
            .layer(retry)
            .service(upstream(&status(0)));
        call(client).await;
        flush(&alerts).await;
        let texts = chat.texts();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert_eq!(
            texts[0].contains("CRITICAL: Call timed out: timeout after 4 retries"),
            attempts == 5
        );
        assert_eq!(page.take().len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn alert_lasting_condition_repeats_then_resolves() {
    let (builder, chat, page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    let client = AlertLayer::new(&alerts).layer_over(upstream(&status(401)));
    // 2.5 hours.
    for _ in 0..9000 {
        call(client.clone()).await;
        advance(Duration::from_secs(1)).await;
    }
    flush(&alerts).await;
    assert_eq!(chat.take().len(), 3);
    let triggers = page.actions();
    assert_eq!(triggers.len(), 3);
    assert!(triggers.iter().all(|(action, _)| action == "trigger"));
    // The hourly repetition does not depend on an observation at that time.
    assert_eq!(alerts.stats().coalesced, 2 * 8999);
    sleep(Duration::from_secs(301)).await;
    flush(&alerts).await;
    let expected = "ℹ️ INFO: Resolved: credential no longer rejected after 2 h 34 m";
    assert_eq!(chat.texts(), [expected]);
    assert_eq!(page.actions(), [("resolve".to_owned(), triggers[0].1.clone())]);
    assert_adds_up(&alerts);
}

#[tokio::test(start_paused = true)]
async fn alert_circuit_opens_and_closes() {
    let (builder, chat, page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    let status = status(500);
    let breaker = CircuitBreakerLayer::builder().observer(alerts.observer()).build().unwrap();
    let client = breaker.layer_over(upstream(&status));
    for _ in 0..50 {
        call(client.clone()).await;
    }
    flush(&alerts).await;
    let texts = chat.texts();
    assert_eq!(texts.len(), 1);
    assert!(
        texts[0].starts_with("🟡 WARNING: Circuit opened: ") && texts[0].contains(", retry in "),
        "{texts:?}"
    );
    status.store(200, Ordering::Relaxed);
    for _ in 0..10 {
        sleep(Duration::from_secs(60)).await;
        call(client.clone()).await;
    }
    flush(&alerts).await;
    let texts = chat.texts();
    assert!(texts.len() == 1 && texts[0].contains(" closed after "), "{texts:?}");
    assert_eq!(page.take().len(), 0, "the pager wants neither");
}

/// A thread opens the circuit and is delayed before it emits the event; meanwhile it is closed manually.
#[test]
fn alert_outdated_circuit_event_does_not_fire() {
    let (builder, ..) = slack_and_pager();
    let alerts = builder.build().unwrap();
    let (opened, closed) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    let (opened, closed) = (Arc::new(opened), Arc::new(closed));
    let delayed = {
        let (opened, closed) = (Arc::clone(&opened), Arc::clone(&closed));
        observer_fn(move |event: &Event<'_>| {
            if event.to_string().contains("opened") {
                opened.wait();
                closed.wait();
            }
        })
    };
    let breaker = CircuitBreakerLayer::builder().consecutive_failures(1);
    let breaker = breaker.observer((delayed, alerts.observer())).build().unwrap();
    let (handle, client) = (breaker.handle(), breaker.layer_over(upstream(&status(500))));
    std::thread::scope(|scope| {
        scope.spawn(|| futures_util::FutureExt::now_or_never(call(client)).unwrap());
        opened.wait();
        handle.reset();
        closed.wait();
    });
    assert_eq!(alerts.firing(), []);
}

#[tokio::test(start_paused = true)]
async fn alert_flapping_circuit_is_suppressed() {
    let (builder, chat, _page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    let status = status(200);
    let opened = Arc::new(AtomicU16::new(0));
    let counter = {
        let opened = Arc::clone(&opened);
        observer_fn(move |event: &Event<'_>| {
            opened.fetch_add(event.to_string().contains("opened").into(), Ordering::Relaxed);
        })
    };
    let breaker = CircuitBreakerLayer::builder().observer((alerts.observer(), counter));
    let client = breaker.build().unwrap().layer_over(upstream(&status));
    for second in 0..20 * 60 {
        status.store(if second / 30 % 2 == 0 { 500 } else { 200 }, Ordering::Relaxed);
        call(client.clone()).await;
        sleep(Duration::from_secs(1)).await;
    }
    flush(&alerts).await;
    let messages = chat.take().len();
    assert!(opened.load(Ordering::Relaxed) > 10, "{opened:?}");
    assert!((2..=10).contains(&messages), "{messages} messages");
}

#[test]
fn stats_many_threads_add_up() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let (builder, chat, _page) = slack_and_pager();
    let alerts = builder.queue(8).max_keys(20).build().unwrap();
    runtime.block_on(async {
        let calls: Vec<_> = (0..8_u16)
            .map(|thread| {
                let alerts = alerts.clone();
                tokio::spawn(async move {
                    let status = status(500);
                    let client = AlertLayer::new(&alerts).layer_over(upstream(&status));
                    for n in 0..1000 {
                        status.store(502 + (n + thread) % 90, Ordering::Relaxed);
                        call(client.clone()).await;
                    }
                })
            })
            .collect();
        for calls in calls {
            calls.await.unwrap();
        }
        flush(&alerts).await;
    });
    let stats = alerts.stats();
    assert_eq!((stats.offered, stats.pending), (8000, 0));
    // A block for each alert, and one for the header.
    let sent: usize =
        chat.take().iter().map(|body| body["blocks"].as_array().unwrap().len() - 1).sum();
    assert_eq!(stats.sent, u64::try_from(sent).unwrap());
}

#[tokio::test(start_paused = true)]
async fn alert_rejected_call_and_its_circuit_are_one() {
    let (builder, chat, _page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    let breaker = CircuitBreakerLayer::builder().observer(alerts.observer()).build().unwrap();
    let client = ServiceBuilder::new()
        .layer(AlertLayer::new(&alerts))
        .layer(breaker)
        .service(upstream(&status(500)));
    for _ in 0..50 {
        call(client.clone()).await;
    }
    flush(&alerts).await;
    let texts = chat.texts();
    assert_eq!(texts.iter().filter(|text| text.contains("Circuit opened")).count(), 1, "{texts:?}");
}

/// Calls with a latched credential are rejected locally; the alert has the cause of the upstream's response.
#[tokio::test(start_paused = true)]
async fn alert_latched_credential_has_upstream_cause() {
    let (builder, chat, page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    let breaker = CircuitBreakerLayer::builder().observer(alerts.observer()).build().unwrap();
    let retry = RetryLayer::builder().observer(alerts.observer()).build().unwrap();
    let client = ServiceBuilder::new().layer(AlertLayer::new(&alerts)).layer(retry).layer(breaker);
    let client = client.service(upstream(&status(401)));
    let mut rejected = 0;
    for _ in 0..50 {
        let request = Request::builder().header("authorization", "Bearer sk").body(()).unwrap();
        rejected += u32::from(client.clone().oneshot(request).await.is_err());
        sleep(Duration::from_millis(100)).await;
    }
    assert!(rejected > 10);
    flush(&alerts).await;
    let expected = "🔴 CRITICAL: Credential rejected: status 401, 10 calls in 1 s";
    assert_eq!((chat.texts(), page.take().len()), (vec![expected.to_owned()], 1));
    let message = "Credential rejected: status 401, 50 calls in 5 s";
    assert_eq!(alerts.firing()[0].message, message);
}

#[tokio::test(start_paused = true)]
async fn alert_all_regions_out_mutes_regions_until_healthy() {
    let (builder, chat, page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    let regions = Regions::new([
        Region::new("us", "https://us.test").priority(1),
        Region::new("eu", "https://eu.test").priority(2),
    ]);
    let failover =
        FailoverLayer::builder(regions.unwrap()).observer(alerts.observer()).build().unwrap();
    let status = status(503);
    let client = failover.layer_over(upstream(&status));
    call(client.clone()).await;
    flush(&alerts).await;
    // The single regions are muted.
    assert_eq!(chat.texts(), ["🔴 CRITICAL: All regions out: no healthy region left"]);
    let firing: Vec<_> = alerts.firing().iter().map(|alert| alert.region.clone()).collect();
    assert_eq!(firing, [None, Some("eu".to_owned()), Some("us".to_owned())]);
    let key = "checkout/all_regions_out".to_owned();
    assert_eq!(page.actions(), [("trigger".to_owned(), key.clone())]);
    status.store(200, Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    call(client).await;
    flush(&alerts).await;
    assert_eq!(page.actions(), [("resolve".to_owned(), key)]);
    let texts = chat.texts();
    assert_eq!(texts[0], "ℹ️ INFO: Resolved: at least one region healthy after 1 m");
    assert!(texts[1].starts_with("🟡 WARNING: Region out: eu, status 503"), "{texts:?}");
    assert_eq!(texts.len(), 2, "no sink was notified of us");
}

/// No event reports that a removed region is healthy.
#[tokio::test(start_paused = true)]
async fn alert_region_removed_or_added_resolves() {
    let (builder, chat, page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    let regions = Regions::new([
        Region::new("us", "https://us.test").priority(1),
        Region::new("eu", "https://eu.test").priority(2),
    ]);
    let failover =
        FailoverLayer::builder(regions.unwrap()).observer(alerts.observer()).build().unwrap();
    let handle = failover.handle();
    call(failover.layer_over(upstream(&status(503)))).await;
    flush(&alerts).await;
    assert_eq!((chat.take().len(), page.take().len()), (1, 1));
    handle.add(Region::new("ap", "https://ap.test").priority(3)).unwrap();
    flush(&alerts).await;
    let key = "checkout/all_regions_out".to_owned();
    assert_eq!(page.actions(), [("resolve".to_owned(), key)]);
    for region in ["us", "eu"] {
        handle.remove(region).unwrap();
    }
    flush(&alerts).await;
    assert_eq!(alerts.firing(), []);
    let texts = chat.texts();
    assert!(texts.iter().any(|text| text.contains("at least one region healthy")), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn sink_hanging_delays_no_caller_and_no_other_sink() {
    let chat = Receiver::default();
    let hangs = service_fn(|_: Request<Bytes>| pending::<Result<Response<()>, BoxError>>());
    let alerts = Alerts::builder()
        .sink(pager(), Severity::Info, hangs)
        .sink(slack(), Severity::Info, chat.client())
        .group_wait(Duration::ZERO)
        .delivery_timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    let client = AlertLayer::new(&alerts).layer_over(upstream(&status(503)));
    let before = tokio::time::Instant::now();
    call(client.clone()).await;
    assert_eq!(tokio::time::Instant::now(), before, "the call took no time");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(chat.take().len(), 1);
    let stats = alerts.stats();
    assert_eq!((stats.sent, stats.pending), (1, 1));
    assert!(!alerts.flush(Duration::from_secs(5)).await);
    flush(&alerts).await;
    assert!(before.elapsed() <= Duration::from_secs(21));
    assert_eq!(alerts.stats().failed, 1);
}

#[tokio::test(start_paused = true)]
async fn sink_panic_affects_no_other_sink() {
    let chat = Receiver::default();
    let panics = service_fn(|_: Request<Bytes>| async {
        panic!("a sink panics");
        #[allow(unreachable_code)]
        Ok::<Response<()>, BoxError>(Response::new(()))
    });
    let alerts = Alerts::builder()
        .sink(pager(), Severity::Info, panics)
        .sink(slack(), Severity::Info, chat.client())
        .build()
        .unwrap();
    let status = status(503);
    for failure in [503, 500, 502] {
        status.store(failure, Ordering::Relaxed);
        call(AlertLayer::new(&alerts).layer_over(upstream(&status))).await;
    }
    flush(&alerts).await;
    assert_eq!(chat.take().len(), 1, "in one message");
    let stats = alerts.stats();
    assert_eq!((stats.sent, stats.failed), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn sink_throttled_receives_alert_later() {
    let (builder, chat, _page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    chat.status.store(429, Ordering::Relaxed);
    call(AlertLayer::new(&alerts).layer_over(upstream(&status(503)))).await;
    let later = chat.clone();
    tokio::spawn(async move {
        sleep(Duration::from_millis(200)).await;
        later.status.store(200, Ordering::Relaxed);
    });
    flush(&alerts).await;
    assert_eq!(chat.take().len(), 1);
    assert_eq!(alerts.stats().sent, 1);
}

#[tokio::test(start_paused = true)]
async fn sink_retry_after_is_obeyed() {
    let started = tokio::time::Instant::now();
    let (requested_at, requests) = (Arc::new(Mutex::new(Vec::new())), status(0));
    let busy = {
        let requested_at = Arc::clone(&requested_at);
        service_fn(move |_: Request<Bytes>| {
            requested_at.lock().unwrap().push(started.elapsed().as_secs());
            let status = if requests.fetch_add(1, Ordering::Relaxed) == 0 { 429 } else { 200 };
            async move {
                let response = Response::builder().status(status).header("retry-after", 7);
                Ok::<_, BoxError>(response.body(())?)
            }
        })
    };
    let builder = Alerts::builder().sink(slack(), Severity::Info, busy);
    let alerts = builder.group_wait(Duration::ZERO).build().unwrap();
    call(AlertLayer::new(&alerts).layer_over(upstream(&status(503)))).await;
    flush(&alerts).await;
    assert!(matches!(requested_at.lock().unwrap()[..], [0, 7 | 8]), "{requested_at:?}");
    assert_eq!(alerts.stats().sent, 1);
}

#[tokio::test(start_paused = true)]
async fn queue_full_drops_counts_and_emits() {
    let drops = Arc::new(Mutex::new(0));
    let observer = {
        let drops = Arc::clone(&drops);
        observer_fn(move |event: &Event<'_>| {
            *drops.lock().unwrap() += u32::from(event.to_string().contains("dropped"));
        })
    };
    let hangs = service_fn(|_: Request<Bytes>| pending::<Result<Response<()>, BoxError>>());
    let builder = Alerts::builder().sink(slack(), Severity::Info, hangs).queue(16);
    let alerts = builder.observer(observer).group_wait(Duration::ZERO).build().unwrap();
    let status = status(500);
    let client = AlertLayer::new(&alerts).layer_over(upstream(&status));
    // 90 kinds of failure.
    for failure in (500..600).filter(|status| *status != 501) {
        status.store(failure, Ordering::Relaxed);
        call(client.clone()).await;
    }
    assert_adds_up(&alerts);
    let stats = alerts.stats();
    assert_eq!((stats.offered, stats.pending), (99, 14), "two places are reserved");
    assert_eq!((stats.dropped, *drops.lock().unwrap()), (85, 85));
    // A critical alert has a reserved place.
    status.store(401, Ordering::Relaxed);
    call(client).await;
    assert_eq!(alerts.stats().pending, 15);
    assert_eq!(alerts.history().len(), 100);
}

#[test]
fn alerts_work_before_and_after_a_runtime() {
    let (builder, chat, _page) = slack_and_pager();
    let alerts = builder.group_wait(Duration::ZERO).build().unwrap();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let fail = |failure| {
        let client = AlertLayer::new(&alerts).layer_over(upstream(&status(failure)));
        futures_util::FutureExt::now_or_never(call(client)).unwrap();
    };
    fail(500);
    assert_eq!(alerts.stats().pending, 1);
    runtime().block_on(flush(&alerts));
    assert_eq!(chat.take().len(), 1);
    // Its tasks ended with it.
    fail(502);
    runtime().block_on(async {
        fail(503);
        flush(&alerts).await;
    });
    assert_eq!(chat.take().len(), 1, "both in one message");
    assert_eq!(alerts.stats().sent, 3);
}

/// An alert that was raised before there was a runtime is repeated and resolved as any other.
#[test]
fn flush_starts_scheduler_for_earlier_events() {
    let (builder, chat, _page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    let client = AlertLayer::new(&alerts).layer_over(upstream(&status(503)));
    futures_util::FutureExt::now_or_never(call(client)).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
        flush(&alerts).await;
        assert_eq!(chat.texts().len(), 1);
        sleep(Duration::from_secs(600)).await;
        let expected = "ℹ️ INFO: Resolved: no more calls failed with status 503 after 5 m";
        assert_eq!(chat.texts(), [expected]);
    });
}

/// Such as a circuit that is opened manually. In real time, because only the runtime has the paused clock.
#[tokio::test]
async fn alert_thread_without_runtime_notifies_in_time() {
    let (builder, chat, _page) = slack_and_pager();
    let alerts = builder.group_wait(Duration::from_millis(1)).build().unwrap();
    let fails_with = |failure| AlertLayer::new(&alerts).layer_over(upstream(&status(failure)));
    call(fails_with(503)).await;
    flush(&alerts).await;
    assert_eq!(chat.take().len(), 1);
    let client = fails_with(500);
    let on_thread = move || futures_util::FutureExt::now_or_never(call(client)).unwrap();
    std::thread::spawn(on_thread).join().unwrap();
    let received = async {
        while chat.take().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), received).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn observer_panic_loses_no_alert() {
    let (builder, chat, page) = slack_and_pager();
    let panics = observer_fn(|_: &Event<'_>| panic!("an observer panics"));
    let alerts = builder.observer(panics).build().unwrap();
    call(AlertLayer::new(&alerts).layer_over(upstream(&status(401)))).await;
    sleep(Duration::from_secs(600)).await;
    // It is notified of both within the scheduler, which must continue.
    let texts = chat.texts();
    assert_eq!((texts.len(), page.take().len()), (2, 2), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn tasks_end_with_last_handle() {
    let (builder, chat, _page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    let client = AlertLayer::new(&alerts).layer_over(upstream(&status(503)));
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    call(client.clone()).await;
    drop(alerts);
    sleep(Duration::from_secs(1)).await;
    assert!(metrics.num_alive_tasks() > before);
    drop(client);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(metrics.num_alive_tasks(), before);
    assert_eq!(chat.take().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn history_is_bounded() {
    let alerts = Alerts::builder().history(3).group_wait(Duration::ZERO).build().unwrap();
    let status = status(500);
    for failure in [500, 502, 503, 504, 401] {
        status.store(failure, Ordering::Relaxed);
        call(AlertLayer::new(&alerts).layer_over(upstream(&status))).await;
    }
    let history = alerts.history();
    let kinds: Vec<_> = history.iter().map(|alert| alert.kind).collect();
    assert_eq!(
        kinds,
        [AlertKind::CallFailed, AlertKind::CallFailed, AlertKind::CredentialRejected]
    );
    assert_eq!(history[2].message, "Credential rejected: status 401");
    assert_eq!(history[2].severity, Severity::Critical);
    assert_eq!(alerts.stats().offered, 0, "there is no sink");
}

#[tokio::test(start_paused = true)]
async fn alert_contains_no_error_text_and_no_secret() {
    let (builder, chat, page) = slack_and_pager();
    let debug = format!("{builder:?}");
    let alerts = builder.build().unwrap();
    let fails = service_fn(|_: Request<()>| async {
        Err::<Response<()>, BoxError>("https://api.test/?key=sk-top-secret refused it".into())
    });
    call(AlertLayer::new(&alerts).layer_over(fails)).await;
    flush(&alerts).await;
    let sent = format!("{:?} {:?} {:?}", chat.take(), page.take(), alerts.history());
    assert!(sent.contains("Call failed") && !sent.contains("sk-top-secret"), "{sent}");
    let shown = format!("{debug} {alerts:?} {:?} {:?}", AlertLayer::new(&alerts), alerts.history());
    assert!(SECRETS.iter().all(|secret| !shown.contains(secret)), "{shown}");
}

#[test]
fn builder_rejects_invalid_settings() {
    let accepts = || Receiver::default().client();
    let wrong = Slack::new("not a URL, but a secret");
    let error = Alerts::builder().sink(wrong, Severity::Info, accepts()).build().unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    assert!(Alerts::builder().queue(0).build().is_err());
    assert!(Alerts::builder().delivery_timeout(Duration::ZERO).build().is_err());
    // The start of each key, and what PagerDuty calls the source.
    assert!(Alerts::builder().service(" ").build().is_err());
    let many = (0..65)
        .fold(Alerts::builder(), |builder, _| builder.sink(slack(), Severity::Info, accepts()));
    assert!(many.build().is_err());
}

/// As of two upstreams whose alerts go to the same people.
#[tokio::test(start_paused = true)]
async fn builder_clone_shares_sinks_with_own_name() {
    let (builder, chat, page) = slack_and_pager();
    for service in ["orders", "payments"] {
        let alerts = builder.clone().service(service).build().unwrap();
        call(AlertLayer::new(&alerts).layer_over(upstream(&status(401)))).await;
        flush(&alerts).await;
        let key = format!("{service}/credential_rejected");
        assert_eq!(page.actions(), [("trigger".to_owned(), key)]);
        assert_eq!((chat.take().len(), alerts.history().len()), (1, 1));
    }
}

#[test]
fn alerts_are_an_observer_for_every_layer() {
    fn observer(_: impl Observer) {}
    let alerts = Alerts::builder().build().unwrap();
    observer(alerts.observer());
    observer((alerts.observer(), Arc::new(alerts)));
}
