//! When it opens.

use super::*;

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
async fn errors_count_as_failures_and_pass_unchanged() {
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
async fn rate_over_calls_uses_last_calls_only() {
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
async fn window_filled_by_success_opens_nothing() {
    let over_time = FailureRate::over_time(60 * SECOND);
    for rate in [FailureRate::over_calls(10), FailureRate::over_calls(20).min_calls(10), over_time]
    {
        let (client, handle) = build(CircuitBreakerLayer::builder().failure_rate(rate.at(0.9)));
        // With one failure too few it stays closed, also by successes that come after.
        fails(&client, 8).await;
        for _ in 0..3 {
            passes(&client, 200).await;
        }
        assert_eq!(handle.status().state, CircuitState::Closed);
        handle.reset();
        fails(&client, 9).await;
        passes(&client, 200).await;
        assert_eq!(handle.status().state, CircuitState::Open);
        assert_eq!(handle.status().reason, Some(OpenReason::FailureRate));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_over_time_drops_what_is_past() {
    let rate = FailureRate::over_time(60 * SECOND).at(0.5).min_calls(4);
    let (client, handle) = build(CircuitBreakerLayer::builder().failure_rate(rate));
    fails(&client, 3).await;
    advance(61 * SECOND).await;
    fails(&client, 3).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
    advance(61 * SECOND).await;
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
async fn neutral_results_do_not_count() {
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
        Class::Throttled => CallResult::Failure,
        _ => CallResult::by_default(verdict),
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
    let client = layer.build().unwrap().layer(service_fn(reply));
    for _ in 0..3 {
        passes(&client, 200).await;
    }
    rejected(&client).await;
}
