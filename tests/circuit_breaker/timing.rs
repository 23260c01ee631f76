//! Calls that take long.

use super::*;

/// A call that takes so long, and then ends with this status.
async fn takes(client: &impl Upstream, time: Duration, status: u16) {
    let (later, mut call) = send_later(client);
    advance(time).await;
    later.send(status).unwrap();
    assert_ready_ok!(call.poll());
}

fn half_slow() -> CircuitBreakerBuilder {
    let rate = FailureRate::over_calls(10).at(0.5);
    CircuitBreakerLayer::builder().slow_call_rate(2 * SECOND, rate).open_for(10 * SECOND)
}

#[tokio::test(start_paused = true)]
async fn opens_when_too_many_calls_are_slow() {
    let (client, handle) = build(half_slow());
    for _ in 0..10 {
        takes(&client, Duration::from_millis(1_999), 200).await;
    }
    for _ in 0..4 {
        takes(&client, 2 * SECOND, 200).await;
    }
    assert_eq!(handle.status().state, CircuitState::Closed);
    takes(&client, 60 * SECOND, 200).await;
    let status = handle.status();
    assert_eq!((status.state, status.reason), (CircuitState::Open, Some(OpenReason::SlowCallRate)));
    assert_eq!(status.cause, Cause::Status(StatusCode::OK));
    let error = ask(&client, Status(200)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "circuit upstream is open: rate of slow calls too high (status 200); retry in 10.0s"
    );
}

#[tokio::test(start_paused = true)]
async fn slow_calls_and_failures_are_joined_by_or() {
    let (client, handle) = build(half_slow().consecutive_failures(3));
    // Failures that are fast aren't slow, and what is neutral isn't in the window.
    fails(&client, 2).await;
    for _ in 0..100 {
        takes(&client, 60 * SECOND, 404).await;
    }
    assert_eq!(handle.status().state, CircuitState::Closed);
    fails(&client, 1).await;
    assert_eq!(handle.status().reason, Some(OpenReason::Consecutive));
    handle.reset();
    for _ in 0..5 {
        takes(&client, SECOND, 200).await;
        takes(&client, 3 * SECOND, 200).await;
    }
    assert_eq!(handle.status().reason, Some(OpenReason::SlowCallRate));
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_rate_alone_ignores_failures() {
    let (client, handle) = build(half_slow());
    fails(&client, 100).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_has_failed() {
    let (client, handle) = build(half_slow());
    for _ in 0..10 {
        takes(&client, 2 * SECOND, 200).await;
    }
    advance(10 * SECOND).await;
    takes(&client, 2 * SECOND, 200).await;
    assert_eq!(handle.status().state, CircuitState::Open);
    assert_eq!(handle.status().reason, Some(OpenReason::Probe));
    advance(10 * SECOND).await;
    takes(&client, SECOND, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn abandoned_after_counts_dropped_call_as_timeout() {
    let drop_after = async |client: &_, time| {
        let (_status, call) = send_later(client);
        advance(time).await;
        drop(call);
    };
    let (client, handle) = build(builder().abandoned_after(5 * SECOND));
    for _ in 0..10 {
        drop_after(&client, Duration::from_millis(4_999)).await;
    }
    assert_eq!((handle.status().failure_count, handle.status().calls), (0, 10));
    for _ in 0..3 {
        drop_after(&client, 5 * SECOND).await;
    }
    let status = handle.status();
    assert_eq!((status.state, status.cause), (CircuitState::Open, Cause::Timeout));
    // So it is for a probe.
    advance(10 * SECOND).await;
    drop_after(&client, SECOND).await;
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
    drop_after(&client, 5 * SECOND).await;
    assert_eq!(handle.status().state, CircuitState::Open);
    // Without being asked for, it is neutral however long it took.
    let (client, handle) = build(builder());
    for _ in 0..10 {
        drop_after(&client, 3_600 * SECOND).await;
    }
    assert_eq!(handle.status().failure_count, 0);
}

#[tokio::test(start_paused = true)]
async fn abandoned_after_counts_outer_timeout() {
    use tower::ServiceBuilder;

    let layer = builder().abandoned_after(5 * SECOND).build().unwrap();
    let client = ServiceBuilder::new().timeout(5 * SECOND).layer(layer.clone()).service_fn(reply);
    for _ in 0..3 {
        let error = client.clone().oneshot(Request::new(Hangs)).await.unwrap_err();
        assert!(error.is::<tower::timeout::error::Elapsed>());
    }
    assert_eq!(layer.handle().status().state, CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn abandoned_unsent_call_is_neutral() {
    let (inner, mut upstream) = mock::pair::<Request<()>, Response<()>>();
    upstream.allow(0);
    let layer = builder().abandoned_after(SECOND).build().unwrap();
    let failing = layer.layer(service_fn(reply));
    fails(&failing, 3).await;
    advance(10 * SECOND).await;
    let mut client = layer.layer(inner);
    let mut call = task::spawn(client.ready().await.unwrap().call(Request::new(())));
    assert_pending!(call.poll());
    advance(5 * SECOND).await;
    drop(call);
    assert_eq!(layer.handle().status().state, CircuitState::HalfOpen);
    passes(&failing, 200).await;
}
