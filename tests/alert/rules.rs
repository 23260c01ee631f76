//! Rules that measure, and objectives, as they are observed.

use tower_upstream::alert::{Alert, Rule, Slo};

use super::*;

/// An upstream with this latency in milliseconds.
fn slow(
    millis: &Arc<AtomicU16>,
) -> impl Service<Request<()>, Response = Response<()>, Error = BoxError, Future: Send> + Clone + use<>
{
    let millis = Arc::clone(millis);
    service_fn(move |_: Request<()>| {
        let millis = millis.load(Ordering::Relaxed);
        async move {
            sleep(Duration::from_millis(millis.into())).await;
            Ok(Response::new(()))
        }
    })
}

const MINUTE: Duration = Duration::from_secs(60);

/// A call a second, for so many minutes.
async fn calls(
    minutes: u32,
    client: &(impl Service<Request<()>, Response = Response<()>, Error = BoxError> + Clone),
) {
    for _ in 0..minutes * 60 {
        call(client.clone()).await;
        sleep(Duration::from_secs(1)).await;
    }
}

fn with(rules: impl IntoIterator<Item = Rule>) -> (Alerts, Receiver) {
    let (builder, chat, _page) = slack_and_pager();
    (builder.rules(rules).build().unwrap(), chat)
}

#[tokio::test(start_paused = true)]
async fn rule_error_ratio_needs_minimum_of_calls() {
    let (alerts, chat) = with([Rule::error_ratio(0.5).over(MINUTE * 5).min_calls(100).warning()]);
    let status = status(503);
    let client = AlertLayer::new(&alerts).layer_over(upstream(&status));
    calls(1, &client).await;
    assert_eq!(chat.texts(), [""; 0], "60 calls are too few");
    calls(1, &client).await;
    let expected = "🟡 WARNING: Error ratio high: 100 % of calls failed in 5 m, limit 50 %";
    assert_eq!(chat.texts(), [expected]);
    status.store(200, Ordering::Relaxed);
    calls(5, &client).await;
    let texts = chat.texts();
    let expected = "ℹ️ INFO: Resolved: error ratio within limit after ";
    assert!(texts.len() == 1 && texts[0].starts_with(expected), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn rule_slow_median_and_tail_as_caller_sees_them() {
    let ms = Duration::from_millis;
    let tail = Rule::slow_tail(0.9, ms(200)).over(MINUTE).critical();
    let (alerts, chat) = with([Rule::slow_median(ms(50)).over(MINUTE), tail]);
    let millis = status(50);
    let client = AlertLayer::new(&alerts).layer_over(slow(&millis));
    calls(2, &client).await;
    assert_eq!(chat.texts(), [""; 0]);
    millis.store(51, Ordering::Relaxed);
    calls(2, &client).await;
    let median = "ℹ️ INFO: Calls slow: ";
    let texts = chat.texts();
    assert!(texts.len() == 1 && texts[0].starts_with(median), "{texts:?}");
    assert!(texts[0].contains(" above p50 latency of 50ms in 1 m, limit 50 %"), "{texts:?}");
    millis.store(201, Ordering::Relaxed);
    calls(1, &client).await;
    let texts = chat.texts();
    assert!(texts.len() == 1 && texts[0].starts_with("🔴 CRITICAL: Calls slow: "), "{texts:?}");
    millis.store(0, Ordering::Relaxed);
    calls(2, &client).await;
    assert_eq!(chat.texts().len(), 2, "both are resolved");
}

#[tokio::test(start_paused = true)]
async fn rule_calls_hanging_until_ended_or_dropped() {
    let (alerts, chat) = with([Rule::calls_hanging(MINUTE).warning()]);
    let hangs = service_fn(|_: Request<()>| pending::<Result<Response<()>, BoxError>>());
    let client = AlertLayer::new(&alerts).layer_over(hangs);
    let calls: Vec<_> = (0..3).map(|_| tokio::spawn(call(client.clone()))).collect();
    sleep(MINUTE).await;
    assert_eq!(chat.texts(), [""; 0]);
    sleep(MINUTE / 2).await;
    let expected = "🟡 WARNING: Calls hanging: 3 in flight for too long";
    assert_eq!(chat.texts(), [expected]);
    for call in calls {
        call.abort();
    }
    sleep(MINUTE / 2).await;
    let texts = chat.texts();
    let expected = "ℹ️ INFO: Resolved: no calls hanging after ";
    assert!(texts.len() == 1 && texts[0].starts_with(expected), "{texts:?}");
    sleep(MINUTE * 10).await;
    let _one = tokio::spawn(call(client));
    sleep(MINUTE * 2).await;
    let expected = "🟡 WARNING: Calls hanging: 1 in flight for too long";
    assert_eq!(chat.texts(), [expected]);
}

#[tokio::test(start_paused = true)]
async fn rule_retry_spend_in_a_minute() {
    // A call of the replay costs 0.008, and is sent four times.
    let (alerts, chat) = with([Rule::retry_spend(1.0, 0.008).critical()]);
    let retry = RetryLayer::builder()
        .max_attempts(4)
        .no_budget()
        .backoff(Backoff::constant(Duration::from_millis(1)))
        .observer(alerts.observer())
        .build()
        .unwrap();
    let client = ServiceBuilder::new().layer(retry).service(upstream(&status(503)));
    let client = AlertLayer::new(&alerts).layer_over(client);
    for _ in 0..41 {
        call(client.clone()).await;
    }
    sleep(MINUTE / 4).await;
    assert_eq!(chat.texts(), [""; 0], "123 retries cost 0.984");
    for _ in 0..2 {
        call(client.clone()).await;
    }
    sleep(MINUTE / 4).await;
    let expected = "🔴 CRITICAL: Retry spend high: 1.03 in 1 m, limit 1.00";
    assert_eq!(chat.texts(), [expected]);
    sleep(MINUTE).await;
    let texts = chat.texts();
    let expected = "ℹ️ INFO: Resolved: retry spend within limit after ";
    assert!(texts.len() == 1 && texts[0].starts_with(expected), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn rule_rate_limited_ignores_short_pause() {
    let (alerts, chat) = with([Rule::rate_limited().lasting(MINUTE).warning()]);
    let after = Arc::new(AtomicU16::new(30));
    let throttles = {
        let after = Arc::clone(&after);
        service_fn(move |_: Request<()>| {
            let after = after.load(Ordering::Relaxed);
            async move {
                let response = Response::builder().status(429).header("retry-after", after);
                Ok::<_, BoxError>(response.body(())?)
            }
        })
    };
    let limit = tower_upstream::RateLimitLayer::builder(tower_upstream::Quota::per_second(10));
    let client = limit.observer(alerts.observer()).build().unwrap().layer_over(throttles);
    call(client.clone()).await;
    sleep(MINUTE * 10).await;
    assert_eq!(chat.texts(), [""; 0], "half a minute is short");
    after.store(90, Ordering::Relaxed);
    call(client).await;
    sleep(MINUTE + Duration::from_secs(2)).await;
    let texts = chat.texts();
    assert!(texts.len() == 1 && texts[0].starts_with("🟡 WARNING: Rate limited: "), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn slo_budget_burn_raises_severity_and_resolves() {
    let (builder, chat, page) = slack_and_pager();
    let slo = Slo::availability(0.995).name("checkout");
    let alerts = builder.rules([]).slo(slo).build().unwrap();
    let status = status(200);
    let client = AlertLayer::new(&alerts).layer_over(upstream(&status));
    calls(60, &client).await;
    assert_eq!(chat.texts(), [""; 0]);
    let objective = &alerts.objectives()[0];
    assert_eq!((objective.calls, objective.bad, objective.budget_left), (3600, 0, 1.0));
    // Invalid requests and dropped calls do not count.
    status.store(404, Ordering::Relaxed);
    calls(10, &client).await;
    let hangs = service_fn(|_: Request<()>| pending::<Result<Response<()>, BoxError>>());
    let dropped = AlertLayer::new(&alerts).layer_over(hangs).oneshot(Request::new(()));
    assert!(tokio::time::timeout(MINUTE, dropped).await.is_err());
    assert_eq!(alerts.objectives()[0].calls, 3600);
    // All calls fail: first more than 0.5 % of three days (1 h is known), then 3 % of six hours.
    status.store(503, Ordering::Relaxed);
    calls(6, &client).await;
    let texts = chat.texts();
    let about = "Error budget burning: checkout, burn rate";
    assert!(texts[0].starts_with(&format!("🟡 WARNING: {about} 1.")), "{texts:?}");
    assert!(texts[1].starts_with(&format!("🔴 CRITICAL: {about} 6.")), "{texts:?}");
    assert_eq!(texts.len(), 2, "all rates are one alert, whose severity rises");
    let key = "checkout/budget_burn/checkout".to_owned();
    assert_eq!(page.actions(), [("trigger".to_owned(), key.clone())]);
    let objective = &alerts.objectives()[0];
    assert_eq!((objective.calls, objective.bad), (3960, 360));
    assert!(objective.budget_left < 0.0, "{objective:?}");
    status.store(200, Ordering::Relaxed);
    calls(45, &client).await;
    // No call of the last half hour failed: the rate of 6 ends, that of 1 over three days lasts.
    let actions = page.actions();
    assert_eq!(actions.last(), Some(&("resolve".to_owned(), key)), "{actions:?}");
    let severities: Vec<_> = alerts.firing().iter().map(|alert| alert.severity).collect();
    assert_eq!(severities, [Severity::Warning]);
}

#[tokio::test(start_paused = true)]
async fn region_out_mutes_its_circuit() {
    let (builder, chat, _page) = slack_and_pager();
    let alerts = builder.rules([Rule::region_out().warning(), Rule::circuit_open()]);
    let alerts = alerts.build().unwrap();
    let regions = Regions::new([
        Region::new("us", "https://us.test").priority(1),
        Region::new("eu", "https://eu.test").priority(2),
    ]);
    let failover =
        FailoverLayer::builder(regions.unwrap()).observer(alerts.observer()).build().unwrap();
    let breaker = CircuitBreakerLayer::builder().by_authority().consecutive_failures(1);
    let breaker = breaker.observer(alerts.observer()).build().unwrap();
    let us_fails = service_fn(|request: Request<()>| async move {
        let status = if request.uri().host() == Some("us.test") { 503 } else { 200 };
        Ok::<_, BoxError>(Response::builder().status(status).body(())?)
    });
    let client = ServiceBuilder::new().layer(failover).layer(breaker).service(us_fails);
    call(client).await;
    flush(&alerts).await;
    let texts = chat.texts();
    assert!(texts.len() == 1 && texts[0].contains("Region out: us, status 503"), "{texts:?}");
    let firing = alerts.firing();
    let circuit = |alert: &Arc<Alert>| alert.circuit.clone().zip(alert.region.clone());
    let (circuit, region) = firing.iter().find_map(circuit).unwrap();
    assert!(circuit.ends_with("us.test") && region == "us", "{circuit} {region}");
}

#[tokio::test(start_paused = true)]
async fn circuits_opening_together_are_one_message() {
    let (builder, chat, page) = slack_and_pager();
    let alerts = builder.rules([Rule::circuit_open().critical()]).build().unwrap();
    let breaker = CircuitBreakerLayer::builder().by_authority().consecutive_failures(1);
    let breaker = breaker.observer(alerts.observer()).build().unwrap();
    let client = breaker.layer_over(upstream(&status(500)));
    for host in ["a", "b", "c"] {
        let request = Request::get(format!("https://{host}.test")).body(()).unwrap();
        _ = client.clone().oneshot(request).await;
    }
    sleep(Duration::from_secs(5)).await;
    let texts = chat.texts();
    assert_eq!(texts.len(), 1);
    assert_eq!(texts[0].matches("Circuit opened: ").count(), 3, "{texts:?}");
    assert_eq!(page.take().len(), 3, "one incident for each");
}

/// Slack accepts one message a second.
#[tokio::test(start_paused = true)]
async fn sink_min_interval_coalesces_alerts() {
    let (builder, chat, page) = slack_and_pager();
    let alerts = builder.group_wait(Duration::ZERO).build().unwrap();
    let status = status(401);
    let client = AlertLayer::new(&alerts).layer_over(upstream(&status));
    for status_now in [500, 502, 503, 504, 401] {
        status.store(status_now, Ordering::Relaxed);
        call(client.clone()).await;
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(chat.texts().len(), 1);
    sleep(Duration::from_secs(1)).await;
    let texts = chat.texts();
    assert_eq!(texts.len(), 1, "three in one: {texts:?}");
    sleep(Duration::from_secs(1)).await;
    assert_eq!((chat.texts().len(), page.take().len()), (1, 1));
    flush(&alerts).await;
}

#[tokio::test(start_paused = true)]
async fn circuit_closed_within_group_wait_notifies_no_sink() {
    let (builder, chat, _page) = slack_and_pager();
    let alerts = builder.build().unwrap();
    let status = status(500);
    let breaker = CircuitBreakerLayer::builder()
        .consecutive_failures(1)
        .open_for(Duration::from_millis(100))
        .observer(alerts.observer());
    let client = breaker.build().unwrap().layer_over(upstream(&status));
    call(client.clone()).await;
    assert_eq!(alerts.firing().len(), 1);
    status.store(200, Ordering::Relaxed);
    for _ in 0..5 {
        sleep(Duration::from_millis(150)).await;
        call(client.clone()).await;
    }
    assert_eq!(alerts.firing(), []);
    sleep(MINUTE).await;
    flush(&alerts).await;
    assert_eq!((chat.take().len(), alerts.history()), (0, vec![]));
    assert_eq!(alerts.stats().coalesced, 1);
}

/// Reading the objectives must not delay their evaluation.
#[tokio::test(start_paused = true)]
async fn objectives_polling_does_not_delay_rules() {
    let (builder, chat, page) = slack_and_pager();
    let alerts = builder.rules([]).slo(Slo::availability(0.995)).build().unwrap();
    let client = AlertLayer::new(&alerts).layer_over(upstream(&status(503)));
    for _ in 0..3 * 60 {
        call(client.clone()).await;
        assert!(alerts.objectives()[0].calls > 0);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((chat.take().len(), page.take().len()), (1, 1));
}

/// Only the retry layer's events report calls that succeed after a retry.
#[tokio::test(start_paused = true)]
async fn rule_retry_spend_needs_no_alert_layer() {
    let (alerts, chat) = with([Rule::retry_spend(0.1, 0.008)]);
    let calls_so_far = status(0);
    let fails_first = service_fn(move |_: Request<()>| {
        let first = calls_so_far.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let status = if first { 503 } else { 200 };
        async move { Ok::<_, BoxError>(Response::builder().status(status).body(())?) }
    });
    let retry = RetryLayer::builder().no_budget().observer(alerts.observer()).build().unwrap();
    calls(1, &retry.layer_over(fails_first)).await;
    let texts = chat.texts();
    assert!(texts.len() == 1 && texts[0].contains("Retry spend high: "), "{texts:?}");
}
