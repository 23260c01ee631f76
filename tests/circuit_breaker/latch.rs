//! Credentials that the upstream refuses.

use tower_upstream::key::AllCalls;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A latch without random, so that times are exact.
fn latch() -> CredentialLatch {
    let probe_after = OpenDuration::doubling(10 * MINUTE).max(30 * MINUTE).jitter(0.0);
    CredentialLatch::new().probe_after(probe_after)
}

fn latching(latch: CredentialLatch) -> (impl Upstream, CircuitBreakerHandle) {
    build(builder().latch(latch))
}

fn with(credential: &str, reply: Reply) -> Request<Reply> {
    Request::builder().header("authorization", credential).body(reply).unwrap()
}

async fn send(client: &impl Upstream, credential: &str, reply: Reply) -> Option<StatusCode> {
    match client.clone().oneshot(with(credential, reply)).await {
        Ok(response) => Some(response.status()),
        Err(error) => {
            assert!(cause_ref::<CircuitOpen>(&*error).is_some(), "{error}");
            None
        }
    }
}

/// Calls until nothing is sent any more; how many calls were sent.
async fn until_latched(client: &impl Upstream, credential: &str, status: u16) -> usize {
    for sent in 0..100 {
        if send(client, credential, Status(status)).await.is_none() {
            return sent;
        }
    }
    panic!("never latched");
}

async fn is_latched(client: &impl Upstream, credential: &str) -> bool {
    send(client, credential, Status(200)).await.is_none()
}

#[tokio::test(start_paused = true)]
async fn latch_refused_credential_sends_only_probes() {
    let (client, handle) = latching(latch());
    assert_eq!(until_latched(&client, "old", 401).await, 3);
    let latched = handle.latched();
    assert_eq!(latched.len(), 1);
    assert_eq!(latched[0].reason, Some(OpenReason::CredentialRejected));
    assert_eq!(latched[0].cause, Cause::Status(StatusCode::UNAUTHORIZED));
    // A day of calls, ten a minute: one probe after 10 minutes, 20, 30, 30 …
    let mut sent = Vec::new();
    for tenth in 1..=24 * 60 * 10_u32 {
        advance(MINUTE / 10).await;
        if send(&client, "old", Status(401)).await.is_some() {
            sent.push(tenth / 10);
        }
    }
    assert_eq!(sent[..4], [10, 30, 60, 90]);
    assert_eq!(sent.len(), 2 + (24 * 60 - 30) / 30);
    // The upstream's own circuit knows nothing of it.
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn latch_lifted_suspension_is_noticed() {
    let (client, handle) = latching(latch());
    until_latched(&client, "key", 401).await;
    advance(10 * MINUTE).await;
    assert_eq!(send(&client, "key", Status(200)).await, Some(StatusCode::OK));
    assert!(!is_latched(&client, "key").await);
    assert!(handle.latched().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rejection_carries_reason_and_retry_after() {
    let (client, _) = latching(latch());
    until_latched(&client, "key", 401).await;
    advance(MINUTE).await;
    let error = client.clone().oneshot(with("key", Status(200))).await.unwrap_err();
    let open = cause_ref::<CircuitOpen>(&*error).unwrap();
    assert_eq!(open.reason(), OpenReason::CredentialRejected);
    assert_eq!(open.retry_after(), Some(9 * MINUTE));
    let text = error.to_string();
    assert!(text.starts_with("circuit upstream/credential/#"), "{text}");
    assert!(text.ends_with(" is open: credential rejected (status 401); retry in 540.0s"));
}

#[tokio::test(start_paused = true)]
async fn latch_quota_exhausted_lasts_until_hint() {
    let quota = |status| {
        builder().latch(latch()).classify_fn(move |outcome| match outcome.status() {
            Some(seen) if seen == status => {
                Verdict::quota_exhausted().with_hint(outcome.verdict().hint())
            }
            _ => outcome.verdict(),
        })
    };
    let layer = quota(429).build().unwrap();
    let client = layer.layer(service_fn(reply));
    for _ in 0..3 {
        assert!(send(&client, "key", After(429, 3_600)).await.is_some());
    }
    let error = client.clone().oneshot(with("key", Status(200))).await.unwrap_err();
    let open = cause_ref::<CircuitOpen>(&*error).unwrap();
    assert_eq!(open.reason(), OpenReason::QuotaExhausted);
    assert_eq!(open.retry_after(), Some(60 * MINUTE));
}

#[tokio::test(start_paused = true)]
async fn a_rotated_credential_passes_at_once() {
    let (client, _) = latching(latch());
    until_latched(&client, "old", 401).await;
    assert!(!is_latched(&client, "new").await);
    assert!(is_latched(&client, "old").await);
    // And so it is by the other headers.
    let rotated = Request::builder().header("x-api-key", "new").body(Status(200)).unwrap();
    client.clone().oneshot(rotated).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn latch_late_refusals_do_not_affect_new_credential() {
    let (client, handle) = latching(latch());
    let send_later = |credential: &'static str| {
        let (status, later) = oneshot::channel();
        let client = client.clone();
        let call = async move { send(&client, credential, Later(later)).await };
        let mut call = task::spawn(call);
        assert_pending!(call.poll());
        (status, call)
    };
    // Some were sent before anybody looked at credentials, some since.
    let mut late: Vec<_> = (0..50).map(|_| send_later("old")).collect();
    send(&client, "old", Status(401)).await;
    late.extend((0..50).map(|_| send_later("old")));
    until_latched(&client, "old", 401).await;
    assert!(!is_latched(&client, "new").await);
    for (status, mut call) in late {
        status.send(401).unwrap();
        assert_ready!(call.poll());
        assert!(!is_latched(&client, "new").await);
    }
    // Nor those of the same one, once somebody has lifted the latch.
    let (status, mut call) = send_later("new");
    handle.reset();
    status.send(401).unwrap();
    assert_ready!(call.poll());
    assert!(!is_latched(&client, "new").await && !is_latched(&client, "old").await);
}

#[tokio::test(start_paused = true)]
async fn a_reset_lifts_it() {
    let (client, handle) = latching(latch());
    until_latched(&client, "one", 401).await;
    until_latched(&client, "two", 401).await;
    assert_eq!(handle.latched().len(), 2);
    assert!(handle.reset_of(&KeyRef::secret(b"one")));
    assert!(!is_latched(&client, "one").await && is_latched(&client, "two").await);
    handle.reset();
    assert!(!is_latched(&client, "two").await);
    assert!(handle.latched().is_empty());
}

#[tokio::test(start_paused = true)]
async fn latch_single_refusing_endpoint_latches_nothing() {
    let (client, handle) = latching(latch());
    for _ in 0..100 {
        assert!(send(&client, "key", Status(401)).await.is_some());
        assert!(send(&client, "key", Status(200)).await.is_some());
    }
    assert!(handle.latched().is_empty());
    // A 403 is the request's own fault, until a classifier says that it is a suspension.
    for _ in 0..100 {
        assert!(send(&client, "key", Status(403)).await.is_some());
    }
    assert!(handle.latched().is_empty());
}

#[tokio::test(start_paused = true)]
async fn latch_old_refusal_counts_despite_unseen_successes() {
    let (client, handle) = latching(latch());
    let late = client.clone();
    for _ in 0..2 {
        assert!(send(&client, "key", Status(401)).await.is_some());
    }
    // One more that is still under way, from when credentials were watched.
    let (status, later) = oneshot::channel();
    let mut late = task::spawn(async move { send(&late, "key", Later(later)).await });
    assert_pending!(late.poll());
    // A quiet while, and then a day of successes, which nobody watches.
    advance(60 * MINUTE).await;
    for _ in 0..100 {
        assert_eq!(send(&client, "key", Status(200)).await, Some(StatusCode::OK));
        advance(15 * MINUTE).await;
    }
    status.send(401).unwrap();
    assert_ready!(late.poll());
    assert!(send(&client, "key", Status(401)).await.is_some());
    assert!(!is_latched(&client, "key").await, "two refusals in a row aren't three");
    assert!(handle.latched().is_empty());
}

#[tokio::test(start_paused = true)]
async fn latch_403_classified_as_suspension_latches() {
    let layer = builder().latch(latch()).classify_fn(|outcome| match outcome.status() {
        Some(StatusCode::FORBIDDEN) => Verdict::credential_rejected(),
        _ => outcome.verdict(),
    });
    let client = layer.build().unwrap().layer(service_fn(reply));
    assert_eq!(until_latched(&client, "key", 403).await, 3);
}

#[tokio::test(start_paused = true)]
async fn latch_upstream_failures_are_neutral() {
    let (client, _) = build(builder().consecutive_failures(1_000).latch(latch()));
    send(&client, "key", Status(401)).await;
    send(&client, "key", Status(401)).await;
    for status in [500, 503, 429, 404] {
        send(&client, "key", Status(status)).await;
    }
    assert!(send(&client, "key", Status(401)).await.is_some());
    assert!(is_latched(&client, "key").await);
    // Whatever becomes of a probe but a success, the next one is as far away as after a refusal.
    for (minutes, result) in
        [(10, Status(500)), (20, Status(429)), (30, Status(403)), (30, Refused)]
    {
        advance(minutes * MINUTE).await;
        _ = client.clone().oneshot(with("key", result)).await;
        assert!(is_latched(&client, "key").await);
    }
    // Also one that its caller drops once it is sent; one that isn't sent leaves its place.
    advance(30 * MINUTE).await;
    let mut probe = client.clone();
    let call = probe.ready().await.unwrap().call(with("key", Hangs));
    assert!(is_latched(&client, "key").await);
    drop(call);
    assert!(is_latched(&client, "key").await);
}

#[tokio::test(start_paused = true)]
async fn hanging_probe_blocks_further_probes() {
    let (client, _) = latching(latch());
    until_latched(&client, "key", 401).await;
    advance(10 * MINUTE).await;
    let mut hanging = client.clone();
    let call = hanging.ready().await.unwrap().call(with("key", Hangs));
    let mut call = task::spawn(call);
    assert_pending!(call.poll());
    for _ in 0..9 {
        advance(MINUTE).await;
        assert!(is_latched(&client, "key").await);
    }
    advance(MINUTE).await;
    assert!(!is_latched(&client, "key").await);
}

#[tokio::test(start_paused = true)]
async fn a_burst_after_an_idle_night_is_one_probe() {
    let (client, _) = latching(latch());
    until_latched(&client, "key", 401).await;
    advance(12 * 60 * MINUTE).await;
    // All at once, before the first of them is refused again.
    let sent = (0..10).map(|_| {
        let mut client = client.clone();
        assert_ready_ok!(task::spawn(client.ready()).poll());
        let mut call = task::spawn(client.call(with("key", Hangs)));
        let is_sent = call.poll().is_pending();
        (is_sent, call)
    });
    let sent: Vec<_> = sent.collect();
    assert_eq!(sent.iter().filter(|(is_sent, _)| *is_sent).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn latch_without_probe_ends_only_by_reset() {
    let (client, handle) = latching(latch().no_probe());
    until_latched(&client, "key", 401).await;
    for _ in 0..100 {
        advance(24 * 60 * MINUTE).await;
        assert!(is_latched(&client, "key").await);
    }
    handle.reset();
    assert!(!is_latched(&client, "key").await);
}

#[tokio::test(start_paused = true)]
async fn probes_of_many_clients_are_distributed() {
    let times = |seed| async move {
        let (client, handle) = build(builder().seed(seed));
        until_latched(&client, "key", 401).await;
        let status = handle.latched().remove(0);
        status.until.unwrap() - status.at
    };
    let first = times(1).await;
    assert!((10 * MINUTE..=11 * MINUTE).contains(&first), "{first:?}");
    assert_eq!(times(1).await, first);
    assert_ne!(times(2).await, first);
}

#[tokio::test(start_paused = true)]
async fn it_works_beside_circuits_by_key_over_every_host() {
    let layer = builder().by_authority().latch(latch()).build().unwrap();
    let client = layer.layer(service_fn(reply));
    let to = |host: &str, status| {
        let request = Request::builder().uri(format!("http://{host}/"));
        request.header("authorization", "key").body(Status(status)).unwrap()
    };
    for host in ["a", "b", "c"] {
        client.clone().oneshot(to(host, 401)).await.unwrap();
    }
    for host in ["a", "b", "c", "d"] {
        let error = client.clone().oneshot(to(host, 200)).await.unwrap_err();
        let open = cause_ref::<CircuitOpen>(&*error).unwrap();
        assert_eq!(open.reason(), OpenReason::CredentialRejected);
    }
    assert!(layer.handle().all().iter().all(|circuit| circuit.state == CircuitState::Closed));
}

#[tokio::test(start_paused = true)]
async fn latch_unseen_credential_is_never_latched() {
    // Who adds it below the breaker may rotate it there too, and nobody would see.
    let (client, handle) = latching(latch());
    for _ in 0..100 {
        passes(&client, 401).await;
    }
    assert!(handle.latched().is_empty());
    let layer = builder().latch(latch()).credential(AllCalls).build().unwrap();
    let client = layer.layer(service_fn(reply));
    for _ in 0..100 {
        assert!(send(&client, "key", Status(401)).await.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_latch_no_credential_is_latched() {
    let layer = builder().latch(latch()).no_latch().build().unwrap();
    let client = layer.layer(service_fn(reply));
    for _ in 0..100 {
        assert!(send(&client, "key", Status(401)).await.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn latch_watches_credentials_for_limited_time() {
    let looked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&looked);
    let key = tower_upstream::key::request_key_fn(move |request: &Request<Reply>| {
        count.fetch_add(1, Ordering::SeqCst);
        KeyRef::secret(request.headers()["authorization"].as_bytes())
    });
    let layer = builder().latch(latch()).credential(key).build().unwrap();
    let client = layer.layer(service_fn(reply));
    let looks = || looked.swap(0, Ordering::SeqCst);
    for _ in 0..10 {
        send(&client, "key", Status(200)).await;
    }
    assert_eq!(looks(), 0);
    send(&client, "key", Status(401)).await;
    for _ in 0..10 {
        send(&client, "key", Status(200)).await;
    }
    assert_eq!(looks(), 10);
    advance(10 * MINUTE).await;
    send(&client, "key", Status(200)).await;
    looks();
    send(&client, "key", Status(200)).await;
    assert_eq!(looks(), 0);
    // A latched one is looked for as long as it is used.
    until_latched(&client, "key", 401).await;
    for _ in 0..100 {
        advance(9 * MINUTE).await;
        send(&client, "key", Status(401)).await;
    }
    advance(9 * MINUTE).await;
    looks();
    send(&client, "other", Status(200)).await;
    assert_eq!(looks(), 1);
    // One that was given up for good isn't for ever.
    advance(24 * 60 * MINUTE).await;
    send(&client, "other", Status(200)).await;
    looks();
    send(&client, "other", Status(200)).await;
    assert_eq!(looks(), 0);
}

#[tokio::test(start_paused = true)]
async fn latch_many_credentials_is_bounded() {
    let (client, handle) = build(builder().latch(latch()).max_keys(10));
    for number in 0..100 {
        for _ in 0..4 {
            send(&client, &format!("bad {number}"), Status(401)).await;
        }
    }
    assert_eq!(handle.latched().len(), 10);
    assert!(!is_latched(&client, "good").await);
}

#[tokio::test(start_paused = true)]
async fn latch_waiting_call_latched_meanwhile_is_rejected() {
    let (inner, mut upstream) = mock::pair::<Request<Reply>, Response<()>>();
    upstream.allow(0);
    let layer = builder().key_fn(|head| head.header("key")).latch(latch()).build().unwrap();
    let other = layer.layer(service_fn(reply));
    let failing = |status| to("/", Some(("key", "failing")), status);
    for _ in 0..3 {
        other.clone().oneshot(failing(500)).await.unwrap();
    }
    // Credentials are watched, and this call waits in its future.
    send(&other, "key", Status(401)).await;
    let mut client = layer.layer(inner);
    let mut call = task::spawn(client.ready().await.unwrap().call(with("key", Status(200))));
    assert_pending!(call.poll());
    until_latched(&other, "key", 401).await;
    upstream.allow(1);
    let error = assert_ready!(call.poll()).unwrap_err();
    let reason = cause_ref::<CircuitOpen>(&*error).unwrap().reason();
    assert_eq!(reason, OpenReason::CredentialRejected);
}

#[tokio::test(start_paused = true)]
async fn latch_call_rejected_after_wait_is_counted() {
    let (inner, mut upstream) = mock::pair::<Request<Reply>, Response<()>>();
    upstream.allow(0);
    let layer = builder().latch(latch()).build().unwrap();
    let (client, handle) = (layer.layer(service_fn(reply)), layer.handle());
    // Credentials are watched, and a probe waits in its future.
    send(&client, "key", Status(401)).await;
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    let mut waiting = layer.layer(inner);
    let mut call = task::spawn(waiting.ready().await.unwrap().call(with("key", Status(200))));
    assert_pending!(call.poll());
    handle.reset();
    until_latched(&client, "key", 401).await;
    let calls = (handle.status().calls, handle.latched()[0].calls);
    upstream.allow(1);
    assert_ready!(call.poll()).unwrap_err();
    assert_eq!((handle.status().calls, handle.latched()[0].calls), calls);
    // Nor is one in its credential's circuit that the upstream's own circuit rejects.
    handle.reset();
    send(&client, "key", Status(401)).await;
    fails(&client, 3).await;
    assert!(send(&client, "key", Status(200)).await.is_none());
    handle.reset();
    until_latched(&client, "key", 401).await;
    assert_eq!(handle.latched()[0].calls, calls.1 + 1 + 2);
}

#[cfg(feature = "retry")]
#[tokio::test(start_paused = true)]
async fn latch_rejection_is_not_awaited_by_retry() {
    use tower::ServiceBuilder;

    let layer = builder().latch(latch()).build().unwrap();
    let retry = tower_upstream::RetryLayer::builder().deadline(60 * MINUTE).build().unwrap();
    let refuses = service_fn(|_: Request<()>| async {
        Ok::<_, BoxError>(Response::builder().status(401).body(())?)
    });
    let client = ServiceBuilder::new().layer(retry).layer(layer).service(refuses);
    let request = || Request::builder().header("authorization", "key").body(()).unwrap();
    for _ in 0..3 {
        client.clone().oneshot(request()).await.unwrap();
    }
    let start = tokio::time::Instant::now();
    let error = client.clone().oneshot(request()).await.unwrap_err();
    assert!(cause_ref::<CircuitOpen>(&*error).is_some());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[cfg(feature = "rate-limit")]
#[tokio::test(start_paused = true)]
async fn open_circuit_refunds_rate_limit_permit() {
    use tower::ServiceBuilder;
    use tower_upstream::{Quota, RateLimitLayer};

    for verdict in [Verdict::credential_rejected(), Verdict::quota_exhausted()] {
        let layer = builder().latch(latch()).classify_fn(move |outcome| match outcome.status() {
            Some(StatusCode::UNAUTHORIZED) => verdict,
            _ => outcome.verdict(),
        });
        let limit = RateLimitLayer::builder(Quota::per_minute(60)).no_wait().build().unwrap();
        let client = ServiceBuilder::new()
            .layer(limit.clone())
            .layer(layer.build().unwrap())
            .service_fn(reply);
        assert_eq!(until_latched(&client, "key", 401).await, 3);
        for _ in 0..1_000 {
            assert!(is_latched(&client, "key").await);
        }
        assert_eq!(limit.handle().status().remaining, 57);
        assert!(!is_latched(&client, "new").await);
    }
}

#[cfg(feature = "tonic")]
#[tokio::test(start_paused = true)]
async fn a_tonic_client_sees_what_the_server_said() {
    for (verdict, code) in [
        (Verdict::credential_rejected(), tonic::Code::Unauthenticated),
        (Verdict::quota_exhausted(), tonic::Code::ResourceExhausted),
    ] {
        let layer = builder().classify_fn(move |_| verdict).build().unwrap();
        let client = layer.layer(service_fn(reply));
        until_latched(&client, "key", 401).await;
        let error = client.clone().oneshot(with("key", Status(200))).await.unwrap_err();
        assert_eq!(cause_ref::<tonic::Status>(&*error).unwrap().code(), code);
    }
}
