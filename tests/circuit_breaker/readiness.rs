//! What becomes of the inner service's readiness.

use super::*;

/// Counts its clones and asserts that it was readied before each call.
struct Strict {
    ready: bool,
    clones: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::SeqCst);
        Self { ready: false, clones: Arc::clone(&self.clones) }
    }
}

impl Service<Request<Reply>> for Strict {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<()>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Reply>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        Box::pin(reply(request))
    }
}

#[tokio::test(start_paused = true)]
async fn the_readied_service_is_called_in_place() {
    let clones = Arc::new(AtomicUsize::new(0));
    let inner = Strict { ready: false, clones: Arc::clone(&clones) };
    let mut client = builder().build().unwrap().layer(inner);
    let before = clones.load(Ordering::SeqCst);
    for _ in 0..10 {
        client.ready().await.unwrap().call(Request::new(Status(200))).await.unwrap();
    }
    assert_eq!(clones.load(Ordering::SeqCst), before);
    // On the other paths too, nothing is called that isn't ready.
    for _ in 0..3 {
        for _ in 0..3 {
            client.ready().await.unwrap().call(Request::new(Status(500))).await.unwrap();
        }
        client.ready().await.unwrap().call(Request::new(Status(200))).await.unwrap_err();
        advance(10 * SECOND).await;
        client.ready().await.unwrap().call(Request::new(Status(200))).await.unwrap();
    }
    client.call(Request::new(Status(200))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rejected_call_releases_inner_queue_position() {
    let layer = builder().build().unwrap();
    let inner = ConcurrencyLimit::new(service_fn(reply), 1);
    let mut busy = inner.clone();
    busy.ready().await.unwrap();
    // Asked, and not ready: it stands in the semaphore's queue.
    let mut waiting = mock::Spawn::new(layer.layer(inner.clone()));
    assert_pending!(waiting.poll_ready::<Request<Reply>>());
    fails(&layer.layer(service_fn(reply)), 3).await;
    assert_ready_ok!(waiting.poll_ready::<Request<Reply>>());
    assert!(waiting.call(Request::new(Status(200))).await.is_err());
    // The place that gets free must not go to a handle that doesn't ask.
    drop(busy);
    let mut other = mock::Spawn::new(inner);
    assert_ready_ok!(other.poll_ready::<Request<Reply>>());
}

#[tokio::test(start_paused = true)]
async fn an_unused_readiness_costs_no_probe() {
    let (client, handle) = build(builder());
    fails(&client, 3).await;
    advance(10 * SECOND).await;
    for _ in 0..10 {
        let mut unused = client.clone();
        unused.ready().await.unwrap();
    }
    passes(&client, 200).await;
    assert_eq!(handle.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn poll_ready_inner_error_counts_as_failure() {
    #[derive(Clone)]
    struct Broken;

    impl Service<Request<Reply>> for Broken {
        type Response = Response<()>;
        type Error = io::Error;
        type Future = std::future::Pending<Result<Response<()>, io::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn call(&mut self, _: Request<Reply>) -> Self::Future {
            unreachable!("it is never ready")
        }
    }

    let layer = builder().build().unwrap();
    let mut client = layer.layer(Broken);
    for _ in 0..3 {
        let call = client.ready().await.expect("the error belongs to the call");
        let error = call.call(Request::new(Status(200))).await.unwrap_err();
        assert_eq!(error.downcast::<io::Error>().unwrap().kind(), io::ErrorKind::BrokenPipe);
    }
    assert_eq!(layer.handle().status().calls, 3);
    let error = client.ready().await.unwrap().call(Request::new(Status(200))).await.unwrap_err();
    assert!(error.is::<CircuitOpen>());
    // A probe readies a service of its own, and its failure to do so counts too.
    advance(10 * SECOND).await;
    let error = client.ready().await.unwrap().call(Request::new(Status(200))).await.unwrap_err();
    assert!(error.is::<io::Error>());
    assert_eq!(layer.handle().status().state, CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn probe_dropped_while_waiting_releases_slot() {
    let (inner, mut upstream) = mock::pair::<Request<()>, Response<()>>();
    upstream.allow(0);
    let layer = CircuitBreakerLayer::builder().consecutive_failures(1).build().unwrap();
    let failing = layer.layer(service_fn(reply));
    fails(&failing, 1).await;
    advance(30 * SECOND).await;
    let mut client = layer.layer(inner);
    {
        let call = pin!(client.ready().await.unwrap().call(Request::new(())));
        let mut call = task::spawn(call);
        assert_pending!(call.poll());
        assert_eq!(rejected(&failing).await, None);
    }
    passes(&failing, 200).await;
}

#[tokio::test(start_paused = true)]
async fn waiting_call_circuit_opens_meanwhile_is_rejected() {
    let (inner, mut upstream) = mock::pair::<Request<()>, Response<()>>();
    upstream.allow(0);
    let layer = builder().key_fn(|head| head.header("key")).build().unwrap();
    let failing = layer.layer(service_fn(reply));
    let fail = async |key: &str| {
        for _ in 0..3 {
            let request = Request::builder().header("key", key).body(Status(500)).unwrap();
            failing.clone().oneshot(request).await.unwrap();
        }
    };
    // While one circuit is open, a call of another waits in its future.
    fail("a").await;
    let mut client = layer.layer(inner);
    let request = Request::builder().header("key", "b").body(()).unwrap();
    let mut call = task::spawn(client.ready().await.unwrap().call(request));
    assert_pending!(call.poll());
    fail("b").await;
    upstream.allow(1);
    assert!(call.is_woken());
    let error = assert_ready!(call.poll()).unwrap_err();
    assert_eq!(cause_ref::<CircuitOpen>(&*error).unwrap().circuit(), "upstream/b");
    // It was never sent, and isn't counted.
    assert_pending!(task::spawn(upstream.next_request()).poll());
    assert_eq!(layer.handle().status_of(&KeyRef::text("b")).unwrap().calls, 3);
}

#[tokio::test(start_paused = true)]
async fn poll_ready_circuit_opens_wakes_caller() {
    let (inner, mut upstream) = mock::pair::<Request<Reply>, Response<()>>();
    upstream.allow(0);
    let layer = builder().build().unwrap();
    let failing = layer.layer(service_fn(reply));
    let mut waiting = mock::Spawn::new(layer.layer(inner));
    // Twice, as one that was woken before must hear of it again.
    for _ in 0..2 {
        assert_pending!(waiting.poll_ready::<Request<Reply>>());
        fails(&failing, 2).await;
        assert!(!waiting.is_woken());
        fails(&failing, 1).await;
        assert!(waiting.is_woken());
        assert_ready_ok!(waiting.poll_ready::<Request<Reply>>());
        assert!(waiting.call(Request::new(Status(200))).await.is_err());
        layer.handle().reset();
    }
    // And by one that somebody holds open.
    assert_pending!(waiting.poll_ready::<Request<Reply>>());
    layer.handle().force_open();
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll_ready::<Request<Reply>>());
}

#[tokio::test(start_paused = true)]
async fn poll_ready_circuit_opens_during_poll_is_noticed() {
    /// Opens the circuit when it is asked, and never gets ready.
    #[derive(Clone)]
    struct Opens(CircuitBreakerHandle);

    impl Service<Request<Reply>> for Opens {
        type Response = Response<()>;
        type Error = BoxError;
        type Future = std::future::Pending<Result<Response<()>, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            self.0.force_open();
            Poll::Pending
        }

        fn call(&mut self, _: Request<Reply>) -> Self::Future {
            unreachable!("it is never ready")
        }
    }

    let layer = builder().build().unwrap();
    let mut client = mock::Spawn::new(layer.layer(Opens(layer.handle())));
    assert_ready_ok!(client.poll_ready::<Request<Reply>>());
}
