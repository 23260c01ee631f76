//! Circuits by key, and what shares them.

use super::*;

#[tokio::test(start_paused = true)]
async fn hosts_have_circuits_of_their_own() {
    let layer = builder().by_authority().build().unwrap();
    let client = layer.layer(service_fn(reply));
    for _ in 0..3 {
        client.clone().oneshot(to("http://user:pw@a.test/x", None, 500)).await.unwrap();
    }
    let error = client.clone().oneshot(to("http://a.test/y", None, 200)).await.unwrap_err();
    assert_eq!(error.downcast_ref::<CircuitOpen>().unwrap().circuit(), "upstream/a.test");
    client.clone().oneshot(to("http://b.test/", None, 200)).await.unwrap();
    client.clone().oneshot(to("http://a.test:81/", None, 200)).await.unwrap();
    client.clone().oneshot(to("/", Some(("host", "b.test")), 200)).await.unwrap();
    client.clone().oneshot(to("/", Some(("host", "a.test")), 200)).await.unwrap_err();
    let all = layer.handle().all();
    let names: Vec<_> = all.iter().map(|circuit| &*circuit.name).collect();
    assert_eq!(names[0], "upstream");
    assert_eq!(names.len(), 4);
    let open = layer.handle().status_of(&KeyRef::text("a.test")).unwrap();
    assert_eq!(open.state, CircuitState::Open);
    assert!(layer.handle().status_of(&KeyRef::text("c.test")).is_none());
}

#[tokio::test(start_paused = true)]
async fn status_keyed_breaker_shows_worst_circuit() {
    let layer = builder().by_authority().build().unwrap();
    let (client, handle) = (layer.layer(service_fn(reply)), layer.handle());
    let send = async |uri, status| {
        client.clone().oneshot(to(uri, None, status)).await.unwrap();
    };
    let status = || (handle.status().name.to_string(), handle.status().state);
    assert_eq!(status(), ("upstream".into(), CircuitState::Closed));
    send("http://a.test/", 200).await;
    send("http://a.test/", 200).await;
    send("http://b.test/", 200).await;
    // The one with the most calls, where none has failed; the one that failed last.
    assert_eq!(status(), ("upstream/a.test".into(), CircuitState::Closed));
    send("http://b.test/", 500).await;
    assert_eq!(status(), ("upstream/b.test".into(), CircuitState::Closed));
    for _ in 0..3 {
        send("http://c.test/", 500).await;
    }
    send("http://a.test/", 500).await;
    assert_eq!(status(), ("upstream/c.test".into(), CircuitState::Open));
    assert!(handle.force_closed_of(&KeyRef::text("a.test")));
    assert_eq!(status(), ("upstream/c.test".into(), CircuitState::Open));
    assert!(handle.force_open_of(&KeyRef::text("b.test")));
    assert_eq!(status(), ("upstream/b.test".into(), CircuitState::ForcedOpen));
}

#[tokio::test(start_paused = true)]
async fn by_credential_separates_and_hides_credentials() {
    const SECRET: &str = "Bearer sk-very-secret";
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let layer = builder()
        .by_credential()
        .observer(observer_fn(move |event: &Event<'_>| {
            log.lock().unwrap().push(format!("{event} {event:?}"));
        }))
        .build()
        .unwrap();
    let client = layer.layer(service_fn(reply));
    for header in ["authorization", "x-api-key", "api-key", "x-goog-api-key"] {
        let secret = format!("{SECRET}-{header}");
        let request = |status| to("http://a.test/", Some((header, &secret)), status);
        for _ in 0..3 {
            client.clone().oneshot(request(500)).await.unwrap();
        }
        let mut client = client.clone();
        let future = client.ready().await.unwrap().call(request(200));
        seen.lock().unwrap().push(format!("{future:?}"));
        let error = future.await.unwrap_err();
        seen.lock().unwrap().push(format!("{error} {error:?}"));
    }
    client.clone().oneshot(to("http://a.test/", None, 200)).await.unwrap();
    let handle = layer.handle();
    assert_eq!(handle.all().len(), 5);
    let mut seen = seen.lock().unwrap().clone();
    seen.push(format!("{client:?} {layer:?} {handle:?} {:?}", handle.all()));
    seen.push(format!("{:?}", KeyRef::secret(SECRET.as_bytes())));
    let seen = seen.join(" ");
    assert!(seen.contains("opened"));
    assert!(!seen.contains("secret") && !seen.contains("Bearer") && !seen.contains("sk-"));
}

#[tokio::test(start_paused = true)]
async fn keys_are_bounded_and_those_that_matter_stay() {
    let layer = builder().key_fn(|head| head.header("key")).max_keys(10).build().unwrap();
    let client = layer.layer(service_fn(reply));
    let call =
        async |key: &str, status| client.clone().oneshot(to("/", Some(("key", key)), status)).await;
    for _ in 0..3 {
        call("failing", 500).await.unwrap();
    }
    for number in 0..1_000 {
        call(&number.to_string(), 200).await.unwrap();
        assert!(layer.handle().all().len() <= 11);
    }
    call("failing", 200).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn keys_that_failed_long_ago_make_room() {
    let layer = builder().key_fn(|head| head.header("key")).max_keys(10).build().unwrap();
    let client = layer.layer(service_fn(reply));
    let call =
        async |key: &str, status| client.clone().oneshot(to("/", Some(("key", key)), status)).await;
    for number in 0..5 {
        for _ in 0..3 {
            call(&format!("opened {number}"), 500).await.unwrap();
        }
        call(&format!("failed once {number}"), 500).await.unwrap();
    }
    // Full of circuits that matter: a new key shares the common one.
    call("new", 200).await.unwrap();
    assert!(layer.handle().status_of(&KeyRef::text("new")).is_none());
    advance(3_600 * SECOND).await;
    call("new", 200).await.unwrap();
    assert!(layer.handle().status_of(&KeyRef::text("new")).is_some());
}

#[tokio::test(start_paused = true)]
async fn idle_open_circuit_keeps_backpressure_of_others() {
    let (inner, mut upstream) = mock::pair::<Request<Reply>, Response<()>>();
    upstream.allow(0);
    let layer = builder().key_fn(|head| head.header("key")).max_keys(1).build().unwrap();
    let failing = layer.layer(service_fn(reply));
    for _ in 0..3 {
        failing.clone().oneshot(to("/", Some(("key", "gone")), 500)).await.unwrap();
    }
    let mut client = mock::Spawn::new(layer.layer(inner));
    assert_ready_ok!(client.poll_ready::<Request<Reply>>());
    // Nobody calls the open circuit any more: it must not count for ever. A call finds out.
    advance(3_600 * SECOND).await;
    assert_ready_ok!(client.poll_ready::<Request<Reply>>());
    drop(client.call(Request::new(Status(200))));
    assert_pending!(client.poll_ready::<Request<Reply>>());
    // It is open all the same, and its next call a probe.
    let gone = KeyRef::text("gone");
    assert_eq!(layer.handle().status_of(&gone).unwrap().state, CircuitState::Open);
    let request = |status| to("/", Some(("key", "gone")), status);
    failing.clone().oneshot(request(500)).await.unwrap();
    assert_ready_ok!(client.poll_ready::<Request<Reply>>());
    // One that is forgotten counts no more either.
    advance(3_600 * SECOND).await;
    failing.clone().oneshot(to("/", Some(("key", "new")), 200)).await.unwrap();
    assert!(layer.handle().status_of(&gone).is_none());
    assert_pending!(client.poll_ready::<Request<Reply>>());
}

#[tokio::test(start_paused = true)]
async fn idle_circuit_with_hanging_probe_is_kept() {
    let (inner, mut upstream) = mock::pair::<Request<Reply>, Response<()>>();
    upstream.allow(0);
    let layer = builder().probe_lease(3_600 * SECOND).build().unwrap();
    let failing = layer.layer(service_fn(reply));
    fails(&failing, 3).await;
    let mut client = mock::Spawn::new(layer.layer(inner));
    let mut probes = Vec::new();
    for _ in 0..300 {
        advance(60 * SECOND).await;
        assert_ready_ok!(client.poll_ready::<Request<Reply>>());
        let mut call = task::spawn(client.call(Request::new(Hangs)));
        if call.poll().is_pending() {
            probes.push(call);
        }
    }
    assert_eq!(probes.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_reset_closes_it_and_drops() {
    let (client, handle) = build(builder());
    fails(&client, 2).await;
    handle.reset();
    fails(&client, 2).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
    fails(&client, 1).await;
    rejected(&client).await;
    handle.reset();
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}
