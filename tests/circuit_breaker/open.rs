//! While it is open.

use super::*;

#[tokio::test(start_paused = true)]
async fn open_circuit_rejects_without_polling_inner() {
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
async fn hint_extends_open_duration() {
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
async fn a_hint_of_any_failure_but_the_last_is_evicted() {
    let (client, _) = build(builder());
    ask(&client, After(503, 120)).await.unwrap();
    ask(&client, After(503, 20)).await.unwrap();
    advance(SECOND).await;
    fails(&client, 1).await;
    assert_eq!(rejected(&client).await, Some(119 * SECOND));
    advance(119 * SECOND).await;
    passes(&client, 200).await;
    // What was asked for is over with the failures that it came with.
    for _ in 0..2 {
        ask(&client, After(503, 120)).await.unwrap();
        passes(&client, 200).await;
    }
    fails(&client, 3).await;
    assert_eq!(rejected(&client).await, Some(10 * SECOND));
    // So it is with probes.
    let (client, handle) = build(builder().half_open_probes(4).half_open_rate(0.7));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    ask(&client, After(503, 120)).await.unwrap();
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
    fails(&client, 1).await;
    assert_eq!(rejected(&client).await, Some(120 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn what_a_failure_in_the_window_asked_for_holds() {
    let rate = FailureRate::over_calls(4).at(0.5);
    let (client, _) = build(CircuitBreakerLayer::builder().failure_rate(rate));
    ask(&client, After(503, 120)).await.unwrap();
    for status in [200, 200, 200, 500] {
        passes(&client, status).await;
    }
    // It has left the window, and all was well for a while.
    for _ in 0..4 {
        passes(&client, 200).await;
    }
    ask(&client, After(503, 60)).await.unwrap();
    passes(&client, 200).await;
    fails(&client, 1).await;
    assert_eq!(rejected(&client).await, Some(60 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_cap_of_zero_ignores_hints() {
    let (client, _) = build(builder().hint_cap(Duration::ZERO));
    fails(&client, 2).await;
    ask(&client, After(503, 60)).await.unwrap();
    assert_eq!(rejected(&client).await, Some(10 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn late_results_after_opening_change_nothing() {
    let (client, handle) = build(builder().half_open_probes(2).half_open_successes(2));
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
