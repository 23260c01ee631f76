//! What is refused, and what works at the ends of the numbers.

use super::*;

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
        new().half_open_probes(1).half_open_successes(2),
        new().half_open_probes(u32::MAX - 1).half_open_successes(u32::MAX),
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
async fn state_machine_extreme_values_do_not_panic() {
    let new = CircuitBreakerLayer::builder;
    let most = u32::MAX;
    let layers = [
        new().consecutive_failures(1).open_for(Duration::MAX),
        new().consecutive_failures(1).open_for(Duration::ZERO),
        new().consecutive_failures(1).open_for(Duration::ZERO).no_half_open(),
        new().consecutive_failures(1).hint_cap(Duration::MAX).probe_lease(Duration::MAX),
        new().consecutive_failures(1).probe_lease(Duration::from_nanos(1)),
        new().consecutive_failures(524_287).leaky_failures(524_287),
        new().leaky_failures(1).half_open_probes(most).half_open_successes(most),
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
async fn calls_without_key_share_one_circuit() {
    let layer = builder().by_authority().max_keys(0).build().unwrap();
    let client = layer.layer(service_fn(reply));
    for host in ["a", "b", "c"] {
        client.clone().oneshot(to(&format!("http://{host}/"), None, 500)).await.unwrap();
    }
    client.clone().oneshot(to("http://d/", None, 200)).await.unwrap_err();
}

#[test]
fn is_built_and_replies_outside_a_runtime() {
    let layer = CircuitBreakerLayer::new();
    let mut client = layer.layer(service_fn(reply));
    for _ in 0..5 {
        let ready = client.ready().now_or_never().unwrap().unwrap();
        ready.call(Request::new(Status(500))).now_or_never().unwrap().unwrap();
    }
    let error = client.call(Request::new(Hangs)).now_or_never().unwrap().unwrap_err();
    let open = cause_ref::<CircuitOpen>(&*error).unwrap();
    assert_eq!(
        open.to_string(),
        format!(
            "circuit upstream is open: consecutive failures (status 500); retry in {:.1?}",
            open.retry_after().unwrap()
        )
    );
}
