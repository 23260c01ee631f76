//! What the one who holds the pager can see and do.

use tokio::sync::broadcast::error::TryRecvError;

use super::*;

#[tokio::test(start_paused = true)]
async fn forced_open_rejects_until_reset() {
    let (client, handle) = build(builder());
    handle.force_open();
    for _ in 0..10 {
        advance(3_600 * SECOND).await;
        let error = ask(&client, Status(200)).await.unwrap_err();
        let open = cause_ref::<CircuitOpen>(&*error).unwrap();
        assert_eq!((open.state(), open.reason()), (CircuitState::ForcedOpen, OpenReason::Forced));
        assert_eq!((open.retry_after(), open.cause()), (None, Cause::Unknown));
        assert!(error.to_string().starts_with("circuit upstream is forced-open: held open"));
    }
    handle.reset();
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn forced_closed_admits_all_and_counts_nothing() {
    let rate = FailureRate::over_calls(3).at(0.1);
    let (client, handle) = build(builder().leaky_failures(3).failure_rate(rate));
    fails(&client, 3).await;
    handle.force_closed();
    fails(&client, 100).await;
    assert_eq!(handle.status().state, CircuitState::ForcedClosed);
    assert_eq!(handle.status().failure_count, 0);
    handle.reset();
    fails(&client, 2).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
    fails(&client, 1).await;
    rejected(&client).await;
}

#[tokio::test(start_paused = true)]
async fn latch_forced_closed_latches_nothing() {
    let (client, handle) = build(builder());
    let refused = || to("/", Some(("authorization", "key")), 401);
    for _ in 0..3 {
        client.clone().oneshot(refused()).await.unwrap();
    }
    client.clone().oneshot(refused()).await.unwrap_err();
    handle.force_closed();
    for _ in 0..10 {
        client.clone().oneshot(refused()).await.unwrap();
    }
    let other = to("/", Some(("authorization", "other")), 401);
    client.clone().oneshot(other).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn late_results_after_force_change_nothing() {
    let (client, handle) = build(builder());
    let (first, mut call) = send_later(&client);
    fails(&client, 2).await;
    handle.force_closed();
    handle.reset();
    fails(&client, 2).await;
    first.send(500).unwrap();
    assert_ready_ok!(call.poll());
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn one_key_is_held_and_the_others_are_not() {
    let layer = builder().key_fn(|head| head.header("key")).max_keys(3).build().unwrap();
    let (client, handle) = (layer.layer(service_fn(reply)), layer.handle());
    let call = async |key: &str, status| {
        client.clone().oneshot(to("/", Some(("key", key)), status)).await.is_ok()
    };
    // Also before its first call.
    assert!(handle.force_open_of(&KeyRef::text("a")));
    assert!(!call("a", 200).await && call("b", 200).await);
    assert!(handle.force_closed_of(&KeyRef::text("c")));
    for _ in 0..10 {
        assert!(call("c", 500).await);
    }
    assert!(handle.reset_of(&KeyRef::text("a")) && !handle.reset_of(&KeyRef::text("z")));
    assert!(call("a", 200).await);
    // Without room, a key isn't held in the place of all that share its circuit.
    assert!(handle.force_open_of(&KeyRef::text("b")));
    assert!(handle.force_open_of(&KeyRef::text("a")));
    advance(3_600 * SECOND).await;
    assert!(!handle.force_open_of(&KeyRef::text("new")));
    assert!(call("new", 200).await);
    // Those that are held aren't forgotten, however long nobody calls.
    assert!(!call("a", 200).await && !call("b", 200).await);
    // The common one has no key, and can be held as well.
    assert!(handle.force_open_of(&KeyRef::Shared));
    assert!(!call("new", 200).await);
}

#[tokio::test(start_paused = true)]
async fn new_keys_are_held_as_all_others_are() {
    let layer = builder().key_fn(|head| head.header("key")).build().unwrap();
    let (client, handle) = (layer.layer(service_fn(reply)), layer.handle());
    let call =
        async |key: &str| client.clone().oneshot(to("/", Some(("key", key)), 500)).await.is_ok();
    handle.force_open();
    assert!(!call("new").await);
    handle.force_closed();
    for _ in 0..10 {
        assert!(call("new").await && call("newer").await);
    }
    handle.reset();
    for _ in 0..3 {
        assert!(call("newest").await);
    }
    assert!(!call("newest").await);
}

#[test]
fn force_all_concurrently_leaves_one_state() {
    let handle = builder().by_authority().build().unwrap().handle();
    for number in 0..50 {
        assert!(handle.force_closed_of(&KeyRef::Number(number)));
    }
    for _ in 0..2_000 {
        std::thread::scope(|scope| {
            scope.spawn(|| handle.force_open());
            scope.spawn(|| handle.force_closed());
        });
        let mut states = handle.all().into_iter().map(|status| status.state);
        let first = states.next().unwrap();
        assert!(states.all(|state| state == first));
    }
}

#[tokio::test(start_paused = true)]
async fn force_from_observer_does_not_deadlock() {
    let own = Arc::new(OnceLock::<CircuitBreakerHandle>::new());
    let handle = Arc::clone(&own);
    let layer = builder().observer(observer_fn(move |event: &Event<'_>| {
        let Event::CircuitChanged(event) = event else { return };
        if matches!(event.to, CircuitState::Open | CircuitState::ForcedOpen) {
            handle.get().unwrap().force_closed();
        }
    }));
    let (_client, handle) = build(layer);
    assert!(own.set(handle.clone()).is_ok());
    handle.force_open();
    assert_eq!(handle.status().state, CircuitState::ForcedClosed);
}

#[tokio::test(start_paused = true)]
async fn subscriber_reset_by_observer_keeps_order() {
    let own = Arc::new(OnceLock::<CircuitBreakerHandle>::new());
    let handle = Arc::clone(&own);
    let (client, handle) = build(builder().observer(observer_fn(move |event: &Event<'_>| {
        let Event::CircuitChanged(event) = event else { return };
        if matches!(event.to, CircuitState::Open | CircuitState::ForcedOpen) {
            handle.get().unwrap().reset();
        }
    })));
    assert!(own.set(handle.clone()).is_ok());
    let mut changes = handle.subscribe();
    fails(&client, 3).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
    let observed = [changes.try_recv().unwrap().to, changes.try_recv().unwrap().to];
    assert_eq!(observed, [CircuitState::Open, CircuitState::Closed]);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_reports_and_never_rejects() {
    let log = events::Log::default();
    let layer = builder()
        .name("eu")
        .observer(log.clone())
        .half_open_probes(2)
        .half_open_successes(2)
        .dry_run();
    let (client, handle) = build(layer);
    fails(&client, 3).await;
    assert_eq!(handle.status().state, CircuitState::Open);
    // What would have been turned away neither closes it nor keeps it open.
    passes(&client, 200).await;
    passes(&client, 500).await;
    advance(10 * SECOND).await;
    let (first, mut one) = send_later(&client);
    let (second, mut two) = send_later(&client);
    passes(&client, 500).await;
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
    first.send(200).unwrap();
    assert_ready_ok!(one.poll());
    second.send(200).unwrap();
    assert_ready_ok!(two.poll());
    assert_eq!(handle.status().state, CircuitState::Closed);
    assert_eq!(
        log.texts(),
        [
            "circuit eu opened: consecutive failures (status 500), retry in 10.0s",
            "circuit eu would reject a call (dry run)",
            "circuit eu would reject a call (dry run)",
            "circuit eu half-open: probing",
            "circuit eu would reject a call (dry run)",
            "circuit eu closed",
        ]
    );
    handle.force_open();
    passes(&client, 200).await;
}

#[tokio::test(start_paused = true)]
async fn dry_run_would_be_rejections_are_not_results() {
    let (client, handle) = build(builder().dry_run());
    fails(&client, 3).await;
    let before = handle.status();
    advance(SECOND).await;
    fails(&client, 5).await;
    passes(&client, 200).await;
    drop(send_later(&client));
    let status = handle.status();
    assert_eq!((status.calls, status.last_failure), (3, before.last_failure));
    // Nor does the other circuit count what one would have turned away.
    let (client, handle) = build(builder().dry_run());
    let send = |status| client.clone().oneshot(to("/", Some(("authorization", "key")), status));
    for _ in 0..3 {
        send(401).await.unwrap();
    }
    let latched = || handle.latched().remove(0);
    let before = (handle.status().calls, latched().calls);
    for status in [401, 500, 500, 500] {
        send(status).await.unwrap();
    }
    assert_eq!((handle.status().calls, latched().calls), before);
    assert_eq!(handle.status().state, CircuitState::Closed);
    handle.reset();
    handle.force_open();
    for _ in 0..5 {
        send(401).await.unwrap();
    }
    assert!(handle.latched().is_empty());
    assert_eq!(handle.status().calls, before.0);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_latches_nothing() {
    let (client, handle) = build(builder().dry_run());
    for _ in 0..10 {
        client.clone().oneshot(to("/", Some(("authorization", "key")), 401)).await.unwrap();
    }
    assert_eq!(handle.latched().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_keeps_the_inner_backpressure() {
    let (inner, mut upstream) = mock::pair::<Request<Reply>, Response<()>>();
    upstream.allow(0);
    let layer = builder().dry_run().build().unwrap();
    fails(&layer.layer(service_fn(reply)), 3).await;
    let mut waiting = mock::Spawn::new(layer.layer(inner));
    assert_pending!(waiting.poll_ready::<Request<Reply>>());
}

#[tokio::test(start_paused = true)]
async fn subscriber_receives_transitions_in_order() {
    let (client, handle) = build(builder().ramp(20 * SECOND));
    let mut transitions = handle.subscribe();
    fails(&client, 3).await;
    rejected(&client).await;
    advance(10 * SECOND).await;
    passes(&client, 200).await;
    advance(20 * SECOND).await;
    passes(&client, 200).await;
    handle.force_open();
    handle.reset();
    let states = [
        CircuitState::Closed,
        CircuitState::Open,
        CircuitState::HalfOpen,
        CircuitState::RampUp,
        CircuitState::Closed,
        CircuitState::ForcedOpen,
        CircuitState::Closed,
    ];
    let open_for = [10 * SECOND, Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::MAX];
    for (index, pair) in states.windows(2).enumerate() {
        let observed: CircuitTransition = transitions.try_recv().unwrap();
        assert_eq!(
            (&*observed.circuit, observed.from, observed.to),
            ("upstream", pair[0], pair[1])
        );
        assert_eq!(observed.generation, u32::try_from(index + 1).unwrap());
        let reason = if index < 4 { OpenReason::Consecutive } else { OpenReason::Forced };
        assert_eq!(observed.reason, Some(reason));
        assert_eq!(observed.open_for, open_for.get(index).copied().unwrap_or_default());
    }
    assert_eq!(transitions.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(handle.status().generation, 6);
}

#[tokio::test(start_paused = true)]
async fn subscriber_lagging_learns_missed_count() {
    let (_client, handle) = build(builder());
    let mut transitions = handle.subscribe();
    for _ in 0..100 {
        handle.force_open();
        handle.reset();
    }
    assert_eq!(transitions.try_recv(), Err(TryRecvError::Lagged(200 - 64)));
    assert_eq!(transitions.try_recv().unwrap().generation, 200 - 64 + 1);
}

#[tokio::test(start_paused = true)]
async fn status_shows_since_until_and_reason() {
    let (client, handle) = build(builder().ramp(20 * SECOND));
    let start = tokio::time::Instant::now();
    let status = handle.status();
    assert_eq!((status.since, status.until, status.reason), (start, None, None));
    advance(SECOND).await;
    fails(&client, 3).await;
    advance(SECOND).await;
    let status = handle.status();
    assert_eq!((status.at, status.since), (start + 2 * SECOND, start + SECOND));
    assert_eq!(status.until, Some(start + 11 * SECOND));
    assert_eq!(status.reason, Some(OpenReason::Consecutive));
    advance(10 * SECOND).await;
    passes(&client, 200).await;
    let status = handle.status();
    assert_eq!(status.state, CircuitState::RampUp);
    assert_eq!(status.until, Some(start + 32 * SECOND));
    // One that is over still says what was the matter.
    handle.reset();
    let status = handle.status();
    assert_eq!(
        (status.state, status.reason),
        (CircuitState::Closed, Some(OpenReason::Consecutive))
    );
}

#[cfg(feature = "serde")]
#[tokio::test(start_paused = true)]
async fn snapshots_are_data_without_a_credential() {
    let layer =
        builder().by_credential().half_open_probes(2).half_open_successes(2).build().unwrap();
    let client = layer.layer(service_fn(reply));
    let call =
        |status| client.clone().oneshot(to("/", Some(("authorization", "sk-secret")), status));
    call(200).await.unwrap();
    for _ in 0..3 {
        call(500).await.unwrap();
    }
    advance(SECOND).await;
    let data = |statuses| serde_json::to_value(statuses).unwrap();
    let all = data(layer.handle().all());
    let name = all[1]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("upstream/#"));
    assert_eq!(
        all[1],
        serde_json::json!({
            "name": name,
            "state": "open",
            "generation": 1,
            "since-ms": 1_000,
            "retry-after-ms": 9_000,
            "reason": "consecutive",
            "cause": "status 500",
            "calls": 4,
            "successes": 1,
            "success-rate": 0.25,
            "failure-count": 0,
            "last-failure-ms": 1_000,
        })
    );
    assert_eq!(all[0]["reason"], serde_json::Value::Null);
    advance(9 * SECOND).await;
    call(200).await.unwrap();
    assert_eq!(data(layer.handle().all())[1]["state"], "half-open");
    call(200).await.unwrap();
    for _ in 0..3 {
        call(401).await.unwrap();
    }
    let latched = data(layer.handle().latched());
    assert_eq!(latched[0]["reason"], "credential-rejected");
    let shown = format!("{all} {latched} {:?}", layer.handle());
    assert!(!shown.contains("secret") && !shown.contains("sk-"));
}

#[cfg(feature = "serde")]
#[test]
fn a_cause_that_is_unknown_is_no_null() {
    let (_client, handle) = build(builder());
    let data = serde_json::to_value(handle.status()).unwrap();
    assert_eq!(data["cause"], serde_json::Value::Null);
    // What is held open was seen to do nothing either.
    handle.force_open();
    let data = serde_json::to_value(handle.status()).unwrap();
    assert_eq!((&data["reason"], &data["cause"]), (&"forced".into(), &serde_json::Value::Null));
}

#[cfg(feature = "serde")]
#[tokio::test(start_paused = true)]
async fn transitions_are_data() {
    let (client, handle) = build(builder());
    let mut transitions = handle.subscribe();
    fails(&client, 3).await;
    handle.force_open();
    let mut next = || serde_json::to_value(transitions.try_recv().unwrap()).unwrap();
    assert_eq!(
        next(),
        serde_json::json!({
            "circuit": "upstream",
            "from": "closed",
            "to": "open",
            "generation": 1,
            "reason": "consecutive",
            "open-for-ms": 10_000,
        })
    );
    assert_eq!(next()["open-for-ms"], serde_json::Value::Null);
}
