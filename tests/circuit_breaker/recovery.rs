//! How long it stays open, and how it comes back.

use super::*;

/// Opens and lets probes fail; for how long it was open each time.
async fn openings(builder: CircuitBreakerBuilder, times: usize) -> Vec<Duration> {
    let (client, handle) = build(builder);
    let mut openings = Vec::new();
    fails(&client, 3).await;
    while openings.len() < times {
        let status = handle.status();
        openings.push(status.until.unwrap() - status.since);
        advance(status.until.unwrap() - status.at).await;
        fails(&client, 1).await;
    }
    openings
}

#[tokio::test(start_paused = true)]
async fn open_duration_doubles_up_to_max() {
    let growing = OpenDuration::doubling(10 * SECOND).max(60 * SECOND).jitter(0.0);
    let seen = openings(builder().open_for(growing), 5).await;
    assert_eq!(seen, [10, 20, 40, 60, 60].map(|seconds| seconds * SECOND));
    // A plain duration doesn't grow, and has no jitter.
    assert_eq!(openings(builder(), 4).await, [10 * SECOND; 4]);
}

#[tokio::test(start_paused = true)]
async fn jitter_only_lengthens_and_repeats_by_seed() {
    let jittery =
        |seed| builder().open_for(OpenDuration::fixed(10 * SECOND).jitter(0.2)).seed(seed);
    let first = openings(jittery(1), 20).await;
    assert!(first.iter().all(|time| (10 * SECOND..=12 * SECOND).contains(time)), "{first:?}");
    assert!(first.iter().any(|time| *time != first[0]));
    assert_eq!(openings(jittery(1), 20).await, first);
    assert_ne!(openings(jittery(2), 20).await, first);
}

#[tokio::test(start_paused = true)]
async fn jitter_differs_between_circuits() {
    let open_for = OpenDuration::fixed(10 * SECOND).jitter(0.5);
    let layer = builder().open_for(open_for).seed(1).key_fn(|head| head.header("key"));
    let layer = layer.build().unwrap();
    let client = layer.layer(service_fn(reply));
    for key in ["a", "b"] {
        for _ in 0..3 {
            client.clone().oneshot(to("/", Some(("key", key)), 500)).await.unwrap();
        }
    }
    let until = |key| layer.handle().status_of(&KeyRef::text(key)).unwrap().until;
    assert_ne!(until("a"), until("b"));
}

#[tokio::test(start_paused = true)]
async fn hint_exceeds_open_duration_and_gets_jitter() {
    let layer = builder().open_for(OpenDuration::doubling(SECOND).jitter(0.5)).seed(1);
    let (client, _) = build(layer);
    fails(&client, 2).await;
    ask(&client, After(503, 60)).await.unwrap();
    let wait = rejected(&client).await.unwrap();
    assert!((60 * SECOND..=90 * SECOND).contains(&wait), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn health_takes_the_growth_back() {
    let growing = OpenDuration::doubling(10 * SECOND).jitter(0.0);
    let (client, handle) = build(builder().open_for(growing));
    let open = async || {
        fails(&client, 3).await;
        rejected(&client).await.unwrap()
    };
    let recover = async |wait| {
        advance(wait).await;
        passes(&client, 200).await;
        assert_eq!(handle.status().state, CircuitState::Closed);
    };
    for seconds in [10, 20, 40] {
        assert_eq!(open().await, seconds * SECOND);
        recover(seconds * SECOND).await;
    }
    advance(80 * SECOND).await;
    assert_eq!(open().await, 20 * SECOND);
    recover(20 * SECOND).await;
    advance(3_600 * SECOND).await;
    assert_eq!(open().await, 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_successes_closes_it() {
    let (client, handle) = build(builder().half_open_probes(10).half_open_rate(0.8));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    for status in [500, 200, 200, 500, 200, 200, 200, 200, 200] {
        passes(&client, status).await;
        assert_eq!(handle.status().state, CircuitState::HalfOpen);
    }
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn half_open_rate_unreachable_reopens() {
    let (client, handle) = build(builder().half_open_probes(10).half_open_rate(0.8));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    fails(&client, 2).await;
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
    fails(&client, 1).await;
    assert_eq!(rejected(&client).await, Some(10 * SECOND));
    assert_eq!(handle.status().reason, Some(OpenReason::Probe));
}

#[tokio::test(start_paused = true)]
async fn ramp_up_admits_growing_share_of_calls() {
    let (client, handle) = build(builder().ramp(100 * SECOND));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::RampUp);
    for share in [10, 25, 50, 90_usize] {
        let since = handle.status().since;
        let elapsed = tokio::time::Instant::now() - since;
        advance(u32::try_from(share).unwrap() * SECOND - elapsed).await;
        let mut passed = 0;
        for _ in 0..1_000 {
            match ask(&client, Status(200)).await {
                Ok(_) => passed += 1,
                Err(error) => {
                    let open = cause_ref::<CircuitOpen>(&*error).unwrap();
                    assert_eq!(open.state(), CircuitState::RampUp);
                    assert_eq!(open.retry_after(), None);
                }
            }
        }
        assert!((share * 10 - 1..=share * 10 + 1).contains(&passed), "{passed} at {share}");
    }
    advance(10 * SECOND).await;
    for _ in 0..100 {
        passes(&client, 200).await;
    }
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn ramp_up_failures_reopen_circuit() {
    let (client, handle) = build(builder().ramp(100 * SECOND).no_half_open());
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    fails(&client, 1).await;
    assert_eq!(handle.status().state, CircuitState::RampUp);
    advance(99 * SECOND).await;
    let mut failed = 1;
    while handle.status().state == CircuitState::RampUp {
        failed += usize::from(ask(&client, Status(500)).await.is_ok());
    }
    assert_eq!((failed, handle.status().state), (3, CircuitState::Open));
}

#[tokio::test(start_paused = true)]
async fn failures_of_a_ramp_are_evicted_at_its_end() {
    let rate = FailureRate::over_calls(3).at(1.0);
    let policies = [
        builder(),
        CircuitBreakerLayer::builder().leaky_failures(3).open_for(10 * SECOND),
        CircuitBreakerLayer::builder().failure_rate(rate).open_for(10 * SECOND),
    ];
    for policy in policies {
        let (client, handle) = build(policy.ramp(20 * SECOND));
        fails(&client, 3).await;
        advance(10 * SECOND).await;
        passes(&client, 200).await;
        advance(19 * SECOND).await;
        ask(&client, After(503, 60)).await.unwrap();
        while ask(&client, Status(500)).await.is_err() {}
        let before = handle.status();
        assert_eq!(before.state, CircuitState::RampUp);
        advance(SECOND).await;
        passes(&client, 404).await;
        assert_eq!(handle.status().state, CircuitState::Closed);
        assert_eq!(handle.status().failure_count, before.failure_count);
        fails(&client, 1).await;
        assert_eq!(rejected(&client).await, Some(59 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_drops_failures_of_a_ramp() {
    let (client, handle) = build(builder().ramp(20 * SECOND).no_half_open());
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    fails(&client, 1).await;
    assert_eq!(handle.status().failure_count, 1);
    handle.reset();
    fails(&client, 2).await;
    assert_eq!(handle.status().failure_count, 2);
}
