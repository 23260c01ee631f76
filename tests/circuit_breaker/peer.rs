//! What the nearest Rust peer gets wrong, each by name.

use super::*;

#[tokio::test(start_paused = true)]
async fn peer_a_window_of_the_last_n_calls_never_slides() {
    let rate = FailureRate::over_calls(10).at(0.5);
    let (client, handle) = build(CircuitBreakerLayer::builder().failure_rate(rate));
    for _ in 0..1_000 {
        passes(&client, 200).await;
    }
    // There it takes 1,000.
    let mut failures = 0;
    while handle.status().state == CircuitState::Closed {
        fails(&client, 1).await;
        failures += 1;
    }
    assert_eq!(failures, 5);
}

#[tokio::test(start_paused = true)]
async fn peer_late_successes_close_an_open_circuit() {
    let (client, handle) = build(builder());
    let mut late: Vec<_> = (0..10).map(|_| send_later(&client)).collect();
    fails(&client, 3).await;
    for (status, mut call) in late.drain(..) {
        status.send(200).unwrap();
        assert_ready_ok!(call.poll());
    }
    assert_eq!(handle.status().state, CircuitState::Open);
    advance(10 * SECOND).await;
    let probe = send_later(&client);
    rejected(&client).await;
    drop(probe);
}

#[tokio::test(start_paused = true)]
async fn peer_late_failures_open_a_circuit_that_has_recovered() {
    let (client, handle) = build(builder());
    let mut late: Vec<_> = (0..10).map(|_| send_later(&client)).collect();
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    passes(&client, 200).await;
    for (status, mut call) in late.drain(..) {
        status.send(500).unwrap();
        assert_ready_ok!(call.poll());
    }
    let status = handle.status();
    assert_eq!((status.state, status.failure_count), (CircuitState::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn peer_half_open_is_stuck_for_ever() {
    // By dropped probes, and by those that hang.
    let (client, handle) =
        build(builder().half_open_probes(2).half_open_successes(2).probe_lease(30 * SECOND));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    for _ in 0..10 {
        drop(send_later(&client));
    }
    let hung = [send_later(&client), send_later(&client)];
    assert_eq!(rejected(&client).await, None);
    advance(30 * SECOND).await;
    passes(&client, 200).await;
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
    drop(hung);
    // And by a policy that can't be met: refused.
    assert!(builder().half_open_probes(2).half_open_successes(3).build().is_err());
}

#[tokio::test(start_paused = true)]
async fn peer_probe_slots_are_lost() {
    let (client, handle) = build(builder().half_open_probes(3).half_open_successes(3));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    for _ in 0..1_000 {
        let probes: Vec<_> = (0..3).map(|_| send_later(&client)).collect();
        rejected(&client).await;
        drop(probes);
    }
    for _ in 0..3 {
        passes(&client, 200).await;
    }
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[test]
fn peer_zero_and_the_largest_number_panic() {
    let new = CircuitBreakerLayer::builder;
    let over_calls = |calls| new().failure_rate(FailureRate::over_calls(calls));
    for builder in [
        new().consecutive_failures(0),
        new().consecutive_failures(u32::MAX),
        new().leaky_failures(0),
        new().leaky_failures(u32::MAX),
        over_calls(0),
        over_calls(u32::MAX),
        new().slow_call_rate(SECOND, FailureRate::over_calls(0)),
        new().half_open_probes(1).half_open_rate(0.0),
        new().half_open_probes(1).half_open_rate(1.1),
        new().half_open_probes(1).half_open_rate(f64::NAN),
        new().open_for(OpenDuration::fixed(SECOND).jitter(-0.1)),
        new().open_for(OpenDuration::fixed(SECOND).jitter(f64::NAN)),
        new().open_for(OpenDuration::fixed(SECOND).jitter(1.1)),
        new().open_for(OpenDuration::doubling(SECOND).max(Duration::ZERO)),
        new().latch(CredentialLatch::new().refusals(0)),
        new().latch(CredentialLatch::new().refusals(u32::MAX)),
        new().probe_lease(Duration::ZERO),
    ] {
        assert!(!builder.build().unwrap_err().to_string().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn peer_state_is_made_anew_at_each_layer_call() {
    let layer = builder().build().unwrap();
    for _ in 0..3 {
        fails(&layer.layer(service_fn(reply)), 1).await;
    }
    rejected(&layer.layer(service_fn(reply))).await;
}

#[tokio::test(start_paused = true)]
async fn peer_readiness_errors_are_not_counted() {
    #[derive(Clone)]
    struct Broken;

    impl Service<Request<Reply>> for Broken {
        type Response = Response<()>;
        type Error = BoxError;
        type Future = std::future::Pending<Result<Response<()>, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset).into()))
        }

        fn call(&mut self, _: Request<Reply>) -> Self::Future {
            unreachable!("it is never ready")
        }
    }

    let (layer, client) = {
        let layer = builder().build().unwrap();
        let client = layer.layer(Broken);
        (layer, client)
    };
    for _ in 0..3 {
        client.clone().oneshot(Request::new(Hangs)).await.unwrap_err();
    }
    assert_eq!(layer.handle().status().cause, Cause::Connection);
    rejected(&client).await;
}

#[tokio::test(start_paused = true)]
async fn peer_calls_that_time_out_are_not_counted() {
    use tower::ServiceBuilder;

    // Below, and above.
    let layer = builder().build().unwrap();
    let below = ServiceBuilder::new().layer(layer.clone()).timeout(SECOND).service_fn(reply);
    for _ in 0..3 {
        below.clone().oneshot(Request::new(Hangs)).await.unwrap_err();
    }
    assert_eq!(layer.handle().status().cause, Cause::Timeout);
    let layer = builder().abandoned_after(SECOND).build().unwrap();
    let above = ServiceBuilder::new().timeout(SECOND).layer(layer.clone()).service_fn(reply);
    for _ in 0..3 {
        above.clone().oneshot(Request::new(Hangs)).await.unwrap_err();
    }
    assert_eq!(layer.handle().status().cause, Cause::Timeout);
}

#[tokio::test(start_paused = true)]
async fn peer_listeners_are_called_under_the_lock() {
    // One that takes every lock there is would wait for itself for ever.
    let handle = Arc::new(OnceLock::<CircuitBreakerHandle>::new());
    let look = Arc::clone(&handle);
    let events = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&events);
    let observer = observer_fn(move |_: &Event<'_>| {
        let handle = look.get().unwrap();
        _ = (handle.all(), handle.latched(), handle.subscribe());
        _ = handle.status_of(&KeyRef::text("new"));
        if count.fetch_add(1, Ordering::SeqCst) < 20 {
            assert!(handle.force_open_of(&KeyRef::text("new")));
            assert!(handle.reset_of(&KeyRef::text("new")));
        }
    });
    let layer = builder().observer(observer).key_fn(|head| head.header("key")).build().unwrap();
    _ = handle.set(layer.handle());
    let client = layer.layer(service_fn(reply));
    let call = |key, status| client.clone().oneshot(to("/", Some(("key", key)), status));
    for _ in 0..3 {
        call("a", 500).await.unwrap();
    }
    call("a", 200).await.unwrap_err();
    advance(10 * SECOND).await;
    call("a", 200).await.unwrap();
    layer.handle().force_open();
    // One that is made held open.
    call("b", 200).await.unwrap_err();
    layer.handle().reset();
    assert!(events.load(Ordering::SeqCst) > 20);
}

#[tokio::test(start_paused = true)]
async fn peer_gauges_show_several_states_at_once() {
    // One who keeps a gauge a state by transitions always has exactly one at 1.
    let (client, handle) = build(builder().ramp(5 * SECOND));
    let mut transitions = handle.subscribe();
    let mut gauges = std::collections::HashMap::from([(CircuitState::Closed, 1_i32)]);
    for round in 0..50 {
        for _ in 0..9 {
            _ = ask(&client, Status(500)).await;
        }
        advance(10 * SECOND).await;
        _ = ask(&client, Status(if round % 3 == 0 { 500 } else { 200 })).await;
        if round % 7 == 0 {
            handle.force_closed();
        }
        if round % 5 == 0 {
            handle.reset();
        }
        advance(20 * SECOND).await;
        _ = ask(&client, Status(200)).await;
        while let Ok(observed) = transitions.try_recv() {
            *gauges.entry(observed.from).or_default() -= 1;
            *gauges.entry(observed.to).or_default() += 1;
            let lit: Vec<_> = gauges.iter().filter(|(_, gauge)| **gauge != 0).collect();
            assert_eq!(lit, [(&observed.to, &1)]);
        }
        assert_eq!(gauges[&handle.status().state], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn peer_the_cost_grows_with_the_window() {
    /// The time of so many calls, at its best of three.
    async fn time(window: u32) -> Duration {
        let rate = FailureRate::over_calls(window).at(1.0);
        let layer = CircuitBreakerLayer::builder().failure_rate(rate).build().unwrap();
        let mut client = layer.layer(service_fn(reply));
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let start = std::time::Instant::now();
            for _ in 0..2_000 {
                for status in [200, 500] {
                    let call = client.ready().await.unwrap().call(Request::new(Status(status)));
                    call.await.unwrap();
                }
            }
            best = best.min(start.elapsed());
        }
        best
    }

    // A scan of its bits alone would make it a thousand times.
    let (small, large) = (time(100).await, time(1 << 20).await);
    assert!(large < 10 * small, "{large:?} at a million, {small:?} at a hundred");
}
