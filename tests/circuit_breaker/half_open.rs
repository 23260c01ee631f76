//! How probes decide.

use std::panic::AssertUnwindSafe;

use super::*;

#[tokio::test(start_paused = true)]
async fn half_open_admits_configured_probes() {
    let (client, handle) = build(builder().half_open_probes(3).half_open_successes(2));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    let mut probes: Vec<_> = (0..3).map(|_| send_later(&client)).collect();
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
    // When a probe ends isn't known.
    assert_eq!(rejected(&client).await, None);
    // A success keeps its place: two are enough, and three were let through.
    let (status, mut probe) = probes.remove(0);
    status.send(200).unwrap();
    assert_ready_ok!(probe.poll());
    assert_eq!(rejected(&client).await, None);
    let (status, mut probe) = probes.remove(0);
    status.send(204).unwrap();
    assert_ready_ok!(probe.poll());
    assert_eq!(handle.status().state, CircuitState::Closed);
    passes(&client, 200).await;
}

#[tokio::test(start_paused = true)]
async fn one_failed_probe_opens_it_again() {
    let (client, handle) = build(builder().half_open_probes(3).half_open_successes(3));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    passes(&client, 200).await;
    let (status, mut probe) = send_later(&client);
    fails(&client, 1).await;
    assert_eq!(rejected(&client).await, Some(10 * SECOND));
    // The other probe is late now.
    advance(10 * SECOND).await;
    passes(&client, 200).await;
    status.send(500).unwrap();
    assert_ready_ok!(probe.poll());
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn probe_with_client_error_closes_circuit() {
    for status in [400, 401, 404, 429, 501] {
        let (client, handle) = build(builder());
        fails(&client, 3).await;
        advance(10 * SECOND).await;
        passes(&client, status).await;
        assert_eq!(handle.status().state, CircuitState::Closed, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn probe_with_neutral_result_releases_slot() {
    let (client, handle) = build(builder());
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    for _ in 0..100 {
        // Dropped.
        let probe = send_later(&client);
        assert_eq!(rejected(&client).await, None);
        drop(probe);
        assert_eq!(handle.status().state, CircuitState::HalfOpen);
    }
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn probe_with_409_proves_life_neutral_failure_does_not() {
    for status in [409, 425] {
        let (client, handle) = build(builder().half_open_probes(2).half_open_successes(2));
        fails(&client, 3).await;
        advance(10 * SECOND).await;
        passes(&client, status).await;
        assert_eq!(handle.status().state, CircuitState::HalfOpen);
        passes(&client, status).await;
        assert_eq!(handle.status().state, CircuitState::Closed);
    }
    // A failure proves nothing, also where it isn't counted.
    let neutral = |verdict: &Verdict| match verdict.cause() {
        Cause::Status(StatusCode::BAD_GATEWAY) | Cause::Connect => CallResult::Neutral,
        _ => CallResult::by_default(verdict),
    };
    let (client, handle) = build(builder().count_fn(neutral));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    for _ in 0..100 {
        passes(&client, 502).await;
        ask(&client, Refused).await.unwrap_err();
        assert_eq!(handle.status().state, CircuitState::HalfOpen);
    }
    passes(&client, 409).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn probe_with_request_error_proves_life() {
    let (client, handle) = build(builder());
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    passes(&client, 404).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn probe_lease_end_admits_new_probes() {
    let (client, handle) =
        build(builder().half_open_probes(2).half_open_successes(2).probe_lease(30 * SECOND));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    let (hung, mut first) = send_later(&client);
    advance(20 * SECOND).await;
    let _second = send_later(&client);
    advance(29 * SECOND).await;
    assert_eq!(rejected(&client).await, None);
    advance(SECOND).await;
    // A new round, in which the hung ones count no more.
    passes(&client, 200).await;
    hung.send(500).unwrap();
    assert_ready_ok!(first.poll());
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_panics_leaks_no_probe() {
    let layer = builder().count_fn(|verdict| {
        assert_ne!(verdict.class(), Class::Rejected, "a bug of the user's");
        CallResult::by_default(verdict)
    });
    let (client, handle) = build(layer);
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    let call = AssertUnwindSafe(ask(&client, Status(404)));
    assert!(call.catch_unwind().await.is_err());
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

/// Counts what is in flight, and how much was at most.
#[derive(Clone, Default)]
struct InFlight(Arc<(AtomicUsize, AtomicUsize)>);

impl InFlight {
    fn enter(&self) -> Self {
        let (now, most) = &*self.0;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        self.clone()
    }

    fn leave(&self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn probes_many_threads_never_exceed_limit() {
    struct Leaves(InFlight);

    impl Drop for Leaves {
        fn drop(&mut self) {
            self.0.leave();
        }
    }

    let in_flight = InFlight::default();
    let counted = in_flight.clone();
    let upstream = service_fn(move |request: Request<u16>| {
        let in_flight = Leaves(counted.enter());
        async move {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            drop(in_flight);
            Ok::<_, BoxError>(Response::builder().status(request.into_body()).body(())?)
        }
    });
    let layer = CircuitBreakerLayer::builder()
        .consecutive_failures(1)
        .open_for(Duration::ZERO)
        .half_open_probes(3)
        .half_open_successes(3)
        .count_fn(|verdict| match verdict.class() {
            // Never closes.
            Class::Success => CallResult::Neutral,
            _ => CallResult::by_default(verdict),
        })
        .build()
        .unwrap();
    let client = layer.layer(upstream);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        client.clone().oneshot(Request::new(500)).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16_u32 {
            let client = client.clone();
            tasks.spawn(async move {
                for step in 0..500 {
                    let mut client = client.clone();
                    let ready = client.ready().await.unwrap();
                    let mut call = Box::pin(ready.call(Request::new(200)));
                    // Some are dropped half-way.
                    if (number + step) % 7 == 0 {
                        _ = call.as_mut().now_or_never();
                    } else {
                        _ = call.await;
                    }
                }
            });
        }
        tasks.join_all().await;
    });
    let (now, most) = &*in_flight.0;
    assert_eq!(now.load(Ordering::SeqCst), 0);
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    // Closed again, it is as if it had never been open.
    layer.handle().reset();
    let (inner, mut upstream) = mock::pair::<Request<Reply>, Response<()>>();
    upstream.allow(0);
    let mut closed = mock::Spawn::new(layer.layer(inner));
    assert_pending!(closed.poll_ready::<Request<Reply>>());
}

#[tokio::test(start_paused = true)]
async fn observer_panic_releases_probe_slot() {
    let (client, handle) = build(builder().observer(observer_fn(|event: &Event<'_>| {
        let Event::CircuitChanged(event) = event else { return };
        assert_ne!(event.to, CircuitState::HalfOpen, "the observer panics");
    })));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    let call = AssertUnwindSafe(ask(&client, Status(200)));
    assert!(call.catch_unwind().await.is_err());
    assert_eq!(handle.status().state, CircuitState::HalfOpen);
    passes(&client, 200).await;
}

#[tokio::test(start_paused = true)]
async fn upstream_panic_releases_probe_slot() {
    let layer = builder().build().unwrap();
    let client = layer.layer(service_fn(reply));
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    let panics = |_: Request<Reply>| -> std::future::Ready<Result<Response<()>, BoxError>> {
        panic!("a bug of the user's")
    };
    let panicking = layer.layer(service_fn(panics));
    let call = AssertUnwindSafe(ask(&panicking, Status(200)));
    assert!(call.catch_unwind().await.is_err());
    assert_eq!(layer.handle().status().state, CircuitState::HalfOpen);
    passes(&client, 200).await;
}
